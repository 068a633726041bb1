"""What models may use of this machine: memory and GPUs.

Owns the budget rule (contract 5); `facts` measures. Knows nothing of models and loads nothing heavy: GPUs are
asked about by a short child process, because the daemon must not open one. The neighbours are `core.memory`,
which fits a model into a budget, and `memory_watch`, which measures again and again.
"""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from janagent.children.facts import SPARED_BYTES, MachineFacts, measure
from janagent.children.logs import LogRing
from janagent.children.spawn import Child

log = logging.getLogger(__name__)

RAM_SHARE = 0.8
GPU_SHARE = 0.9
PROBE_ARGV = (sys.executable, "-P", "-m", "janagent.engine", "--probe")


class Gpu(BaseModel):
    """One GPU that llama.cpp puts layers on."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    free_bytes: int = Field(ge=0)
    """When it was asked, which takes some of it."""
    total_bytes: int = Field(ge=0)
    backend: str = ""
    shares_ram: bool = False
    """It has no memory of its own: what lies there takes of the main memory."""


class Probe(BaseModel):
    """What `janagent.engine --probe` prints, as one line of JSON."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    gpus: tuple[Gpu, ...] = ()
    backends: tuple[str, ...] = ()
    """What this build could compute on besides the processor, if it were there: CUDA, Vulkan ..."""
    supports_gpu: bool = False
    llama_cpp: str | None = None


def memory_budget_bytes(
    *, held_bytes: int, explicit_bytes: int | None = None, facts: MachineFacts | None = None
) -> int:
    """What all models together may use: `explicit_bytes` (the setting) when given, else fitted to `facts`.

    min(80 % of RAM or of the cgroup limit, available memory + what our workers hold - 1 GB). `held_bytes` is
    memory that would become available if all our workers ended (`Child.held_bytes`). `facts` are measured
    when absent.
    """
    if explicit_bytes is not None:
        return explicit_bytes
    facts = facts or measure()
    return max(min(memory_capacity_bytes(facts=facts), facts.available_bytes + held_bytes - SPARED_BYTES), 0)


def memory_capacity_bytes(*, explicit_bytes: int | None = None, facts: MachineFacts | None = None) -> int:
    """The most that the budget can ever be: `explicit_bytes`, else 80 % of RAM or of the cgroup limit.

    For decisions that last, such as which file to download: what other programs use at this moment does not
    count.
    """
    if explicit_bytes is not None:
        return explicit_bytes
    facts = facts or measure()
    total = facts.ram_bytes if facts.cgroup is None else min(facts.ram_bytes, facts.cgroup.limit_bytes)
    return int(total * RAM_SHARE)


def gpu_budget_bytes(*, free_bytes: int, held_bytes: int = 0) -> int:
    """90 % of the GPU memory that is free or held by our workers."""
    return int((free_bytes + held_bytes) * GPU_SHARE)


def gpu_capacity_bytes(gpu: Gpu) -> int:
    """The most that `gpu_budget_bytes` can ever be."""
    return int(gpu.total_bytes * GPU_SHARE)


# -- GPUs ------------------------------------------------------------------------------------------------


async def probe(
    *,
    argv: Sequence[str] = PROBE_ARGV,
    limit_s: float = 30.0,
    env: Mapping[str, str] | None = None,
) -> Probe:
    """What a short child says about GPUs and llama.cpp. An empty `Probe`, and a log line, on any failure."""
    logs = LogRing(max_lines=1000)
    try:
        child = await Child.spawn(argv, logs=logs, name="GPU probe", env=env)
    except OSError as error:
        log.warning("GPUs are not used: the probe cannot be started: %s", error)
        return Probe()
    try:
        async with asyncio.timeout(limit_s):
            words = (await child.wait()).message
    except TimeoutError:
        words = f"no answer within {limit_s:g} s"
    finally:
        await child.stop(grace_s=0)
    for line in reversed(logs.lines()):
        if line.text.startswith("{"):
            with contextlib.suppress(ValidationError):
                return Probe.model_validate_json(line.text)
    log.warning("GPUs are not used: the probe said nothing usable; %s; its log: %s", words, logs.text(last=5))
    return Probe()


async def probe_gpus(
    *,
    argv: Sequence[str] = PROBE_ARGV,
    limit_s: float = 30.0,
    env: Mapping[str, str] | None = None,
) -> list[Gpu]:
    """The GPUs that this build of llama.cpp can use; none on any failure."""
    found = await probe(argv=argv, limit_s=limit_s, env=env)
    return list(found.gpus) if found.supports_gpu else []
