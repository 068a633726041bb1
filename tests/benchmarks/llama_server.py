"""Owns one program: `llama-server` of the very llama.cpp commit that llama-cpp-python vendors.

The source distribution of llama-cpp-python carries the sources, so no other place is asked. The build is
made once per version into the user's cache folder; `LLAMA_SERVER=path` names another binary. It must not
know what is measured with it; `peers.py` starts it. Run alone (`python -m tests.benchmarks.llama_server`)
it builds and prints the path.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

from platformdirs import user_cache_dir

CACHE = Path(user_cache_dir("janagent"))

# The CPU flags are left to ggml's defaults (GGML_NATIVE, GGML_OPENMP, GGML_LLAMAFILE on), which is what the
# wheel is built with; `machine.py` prints what both binaries say about themselves. Everything that is not the
# server, and everything that would want the network or a browser, is off.
CMAKE_OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
    "LLAMA_OPENSSL": "OFF",
}


class BuildError(RuntimeError):
    """llama-server could not be had; the message says which step failed and where its log is."""


def find() -> Path:
    """The binary, built when it is not there yet. Raises BuildError."""
    if named := os.environ.get("LLAMA_SERVER"):
        path = Path(named).expanduser()
        if not os.access(path, os.X_OK):
            raise BuildError(f"LLAMA_SERVER={named} is not a program")
        return path
    path = folder() / "llama-server"
    return path if path.exists() else build(path)


def folder() -> Path:
    """Where the binary of the installed llama-cpp-python's version is kept."""
    return CACHE / f"llama-server-{version('llama-cpp-python')}"


def build(target: Path) -> Path:
    """Download the sources, build the one target, keep only the binary and the log."""
    target.parent.mkdir(parents=True, exist_ok=True)
    log = target.parent / "build.log"
    print(f"building llama-server once, about 7 minutes on 2 cores; log: {log}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="build-") as scratch:
        sources = _sources(Path(scratch), log)
        output = Path(scratch) / "out"
        cmake = _cmake()
        options = [f"-D{name}={value}" for name, value in CMAKE_OPTIONS.items()]
        logged([cmake, "-S", str(sources), "-B", str(output), *options], log)
        jobs = str(os.cpu_count() or 1)
        logged([cmake, "--build", str(output), "--target", "llama-server", "--parallel", jobs], log)
        # Renamed into place only when whole, so that an interrupted copy is never taken for a build.
        fresh = target.with_suffix(".new")
        shutil.copy2(output / "bin" / "llama-server", fresh)
        fresh.rename(target)
    return target


def _sources(scratch: Path, log: Path) -> Path:
    wanted = f"llama-cpp-python=={version('llama-cpp-python')}"
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--no-binary",
        "llama-cpp-python",
        wanted,
    ]
    logged([*command, "--dest", str(scratch)], log)
    (archive,) = scratch.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(scratch, filter="data")
    archive.unlink()
    (sources,) = scratch.glob("*/vendor/llama.cpp")
    return sources


def _cmake() -> str:
    """The system's cmake, else the one of the installable package `cmake` in a folder of its own."""
    if found := shutil.which("cmake"):
        return found
    home = CACHE / "cmake"
    if not (home / "bin" / "cmake").exists():
        logged([sys.executable, "-m", "venv", str(home)], CACHE / "cmake.log")
        logged([str(home / "bin" / "python"), "-m", "pip", "install", "cmake"], CACHE / "cmake.log")
    return str(home / "bin" / "cmake")


def logged(command: list[str], log: Path) -> None:
    """Run `command` niced, output to the end of `log`. Raises BuildError."""
    # Niced: a first run builds beside whatever else the machine does. SOURCE_DATE_EPOCH would switch native
    # CPU flags off in ggml's build, and the comparison with the wheel would be worth nothing.
    environment = {k: v for k, v in os.environ.items() if k != "SOURCE_DATE_EPOCH"}
    with log.open("ab") as out:
        done = subprocess.run(["nice", "-n", "10", *command], stdout=out, stderr=out, env=environment)
    if done.returncode:
        raise BuildError(f"{Path(command[0]).name} failed with status {done.returncode}, see {log}")


if __name__ == "__main__":
    print(find())
