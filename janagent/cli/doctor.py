"""`doctor`: looks at everything that must be right on this machine, and says what to do where it is not.

Changes nothing. Each check is one function that returns `Check`s; none of them raises for what it looks at.
"""

from __future__ import annotations

import errno
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from janagent import __version__, paths, words
from janagent.cli import output
from janagent.cli.options import Config, Json, Root
from janagent.cli.output import Exit
from janagent.lock import find_holder

if TYPE_CHECKING:
    from janagent.children.machine import Probe
    from janagent.config import Settings

INOTIFY = Path("/proc/sys/fs/inotify")
PROBE_LIMIT_S = 60.0
LITTLE_DISK_BYTES = 5 * 10**9


class Verdict(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


STYLES = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAULT: "red"}


@dataclass(frozen=True, slots=True)
class Check:
    """One line: what was looked at, how it is, and in a sentence what that means."""

    name: str
    verdict: Verdict
    message: str


def doctor(root: Root = None, config: Config = None, as_json: Json = False) -> None:
    """Look at this machine and say what is missing. Exits with 1 when there is a fault."""
    checks = list(examine(root, config))
    if as_json:
        output.print_json([asdict(check) for check in checks])
    else:
        shown = output.table("CHECK", "", "")
        for check in checks:
            verdict = output.cell(check.verdict, STYLES[check.verdict])
            shown.add_row(output.cell(check.name), verdict, output.cell(check.message))
        output.console().print(shown)
    if any(check.verdict is Verdict.FAULT for check in checks):
        raise typer.Exit(Exit.FAULT)


def examine(root: Path | None, config: Path | None) -> Iterator[Check]:
    """Every check, in the order in which a person would mend things."""
    from janagent.config import ConfigError, Settings, config_in_use

    yield check_python()
    yield from check_llama()
    try:
        settings = Settings.load({"root": root}, config=config)
        file = config_in_use(config)
    except ConfigError as error:
        yield Check("settings", Verdict.FAULT, str(error))
        return
    told = f"from {file}" if file else f"defaults; a file of your own would be {paths.config_file()}"
    yield Check("settings", Verdict.OK, told)
    yield check_root(settings)
    yield check_disk(settings)
    yield check_port(settings)
    yield check_memory(settings)
    yield from check_watches(settings)


def check_python() -> Check:
    """The interpreter and the machine."""
    from janagent.children.facts import usable_cores

    machine = f"{platform.system()} {platform.machine()}, cores for models: {usable_cores()}"
    told = f"janagent {__version__}, Python {platform.python_version()}, {machine}"
    return Check("python", Verdict.OK, told)


def check_llama() -> Iterator[Check]:
    """llama_cpp and its GPUs, tried in a child: a build for another processor dies with SIGILL."""
    from janagent.children.machine import PROBE_ARGV, Probe

    advice = "reinstall it for this machine: pip install --force-reinstall --no-cache-dir llama-cpp-python"
    try:
        done = subprocess.run(PROBE_ARGV, capture_output=True, text=True, timeout=PROBE_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        yield Check("llama.cpp", Verdict.FAULT, f"cannot be tried: {error}")
        return
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        cause = f"dies with signal {-done.returncode}" if done.returncode < 0 else last
        yield Check("llama.cpp", Verdict.FAULT, f"{cause}; {advice}")
        return
    facts = [line for line in done.stdout.splitlines() if line.startswith("{")]
    probe = Probe.model_validate_json(facts[-1]) if facts else Probe()
    yield Check("llama.cpp", Verdict.OK, f"llama-cpp-python {probe.llama_cpp or 'of unknown version'}")
    yield from check_gpus(probe)


def check_gpus(probe: Probe) -> Iterator[Check]:
    """The GPUs that models will be put on, or why there are none."""
    for gpu in probe.gpus:
        free = f"{words.size(gpu.free_bytes)} of {words.size(gpu.total_bytes)} free"
        shared = ", a part of the main memory" if gpu.shares_ram else ""
        yield Check("gpu", Verdict.OK, f"{gpu.name} ({gpu.backend}), {free}{shared}")
    if probe.gpus:
        return
    if not probe.backends:
        told = "this build of llama.cpp uses the processor only; README, GPUs, says how to get one for a GPU"
        yield Check("gpu", Verdict.OK, told)
        return
    told = f"this build of llama.cpp could use {' or '.join(probe.backends)}, but sees no such GPU:"
    advice = "look whether its driver works (nvidia-smi, rocm-smi, vulkaninfo), and at CUDA_VISIBLE_DEVICES"
    yield Check("gpu", Verdict.WARNING, f"{told} {advice}")


def check_root(settings: Settings) -> Check:
    """The root and its models folder are there and can be written."""
    root, models = settings.root, settings.models_dir
    if not root.is_dir():
        if root == paths.default_root():
            return Check("root", Verdict.OK, f"{root} will be created by the first start")
        return Check("root", Verdict.FAULT, f"{root} is not there; mount it, or create it: mkdir -p {root}")
    if not models.is_dir():
        return Check("root", Verdict.WARNING, f"{models} is not there; create it, or: janagent starter")
    if not os.access(models, os.R_OK | os.X_OK):
        return Check("root", Verdict.FAULT, f"{models} cannot be read by this user")
    if not os.access(models, os.W_OK):
        return Check("root", Verdict.WARNING, f"{models} is read-only: nothing can be fetched or deleted")
    return Check("root", Verdict.OK, f"{models} can be read and written")


def check_disk(settings: Settings) -> Check:
    """Room for a model or two."""
    place = settings.root
    while not place.exists():
        place = place.parent
    free_bytes = shutil.disk_usage(place).free
    little = free_bytes < LITTLE_DISK_BYTES
    text = f"{words.size(free_bytes)} free at {place}"
    return Check("disk", Verdict.WARNING if little else Verdict.OK, text)


def check_port(settings: Settings) -> Check:
    """Our daemon listens, or the port is free."""
    if (holder := find_holder(settings.root)) is not None:
        where = holder.url or "not listening yet"
        told = f"janagent {holder.version} (process {holder.pid}) serves {settings.root}: {where}"
        return Check("daemon", Verdict.OK, told)
    for host in settings.bind_hosts:
        if not _is_free(host, settings.port):
            told = f"port {settings.port} on {host} is taken by another program; stop it, or set port"
            return Check("daemon", Verdict.FAULT, told)
    return Check("daemon", Verdict.OK, f"not running; port {settings.port} is free")


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
    except OSError as error:
        return error.errno not in (errno.EADDRINUSE, errno.EACCES)
    return True


def check_memory(settings: Settings) -> Check:
    """What models may use."""
    from janagent.children import machine

    budget_bytes = machine.memory_budget_bytes(held_bytes=0, explicit_bytes=settings.memory_budget)
    why = "memory_budget" if settings.memory_budget else "fitted to this machine"
    told = f"models may use {words.size(budget_bytes)} ({why})"
    if settings.gpu_memory_budget is not None:
        told += f" and {words.size(settings.gpu_memory_budget)} of the GPUs (gpu_memory_budget)"
    return Check("memory", Verdict.OK, told)


def check_watches(settings: Settings) -> Iterator[Check]:
    """The kernel's limits on watched folders (inotify(7)); only Linux has them."""
    if not INOTIFY.is_dir() or not settings.models_dir.is_dir():
        return
    folders = 1 + sum(len(names) for _, names, _ in os.walk(settings.models_dir))
    limit = int((INOTIFY / "max_user_watches").read_text())
    if folders > limit // 2:
        wanted = max(524288, 4 * folders)
        told = f"{folders} folders need watches and the limit is {limit}; raise it:"
        yield Check("watches", Verdict.WARNING, f"{told} sysctl fs.inotify.max_user_watches={wanted}")
    else:
        yield Check("watches", Verdict.OK, f"{folders} folders to watch, the limit is {limit}")
