"""What the end of a child process means, in words for a person. Pure.

Owns the reading of exit statuses and signals; knows nothing of processes, models or policy. The neighbours
are `spawn`, which learns the status, and `wire.ExitCode`, which says what our own children mean by theirs.
"""

import signal
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from janagent.children.wire import ExitCode


class ExitKind(StrEnum):
    """Why a child ended."""

    CLEAN = "clean"
    """It ended by itself, or in good order when asked to."""
    BAD_SPEC = "bad_spec"
    """It could not use its spec; the same spec will fail again."""
    LOAD_FAILED = "load_failed"
    """It could not load the model; the same files will fail again."""
    OUT_OF_MEMORY = "out_of_memory"
    """Somebody else sent SIGKILL, which is how the kernel ends a process for memory."""
    CRASHED = "crashed"
    """Native code or Python failed."""
    TERMINATED = "terminated"
    """A signal asked it to end, ours or somebody else's, or its lifeline closed."""


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of one child. `message` is what a person reads after "the engine ended: "; no full stop."""

    kind: ExitKind
    message: str
    returncode: int
    """As in `subprocess`: the exit status, or the signal number negated."""


_STATUSES: Final = {
    ExitCode.OK: (ExitKind.CLEAN, "exited normally"),
    ExitCode.BAD_SPEC: (ExitKind.BAD_SPEC, "could not use its settings"),
    ExitCode.LOAD_FAILED: (ExitKind.LOAD_FAILED, "could not load the model"),
    ExitCode.FETCH_FAILED: (ExitKind.CRASHED, "could not fetch the files"),
    ExitCode.PARENT_GONE: (ExitKind.TERMINATED, "exited because its lifeline to the daemon closed"),
}

_CRASHES: Final = {
    signal.SIGABRT: "aborted inside llama.cpp; the last lines of its log say why",
    signal.SIGILL: "this build of llama.cpp does not fit this processor; "
    "reinstall llama-cpp-python so that it is compiled on this machine",
    signal.SIGSEGV: "crashed in native code with an invalid memory access",
    signal.SIGBUS: "lost a file it had mapped: it was cut short or overwritten, or its disk failed",
    signal.SIGFPE: "crashed in native code with an arithmetic error",
    signal.SIGSYS: "tried a system call that this machine forbids",
    signal.SIGXCPU: "used up its limit of processor time",
    signal.SIGXFSZ: "wrote a file beyond the size limit",
}

_REQUESTS_TO_END: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})


def classify_exit(returncode: int, *, is_killed_by_us: bool = False) -> Exit:
    """The meaning of a return code as `subprocess` gives it.

    `is_killed_by_us`: SIGKILL was ours, so it says nothing about memory.
    """
    if returncode < 0:
        kind, message = _of_signal(-returncode, is_killed_by_us=is_killed_by_us)
    elif returncode in _STATUSES:
        kind, message = _STATUSES[ExitCode(returncode)]
    else:
        kind, message = ExitKind.CRASHED, f"failed with exit status {returncode}; its log says why"
    return Exit(kind, message, returncode)


def _of_signal(number: int, *, is_killed_by_us: bool) -> tuple[ExitKind, str]:
    name = signal_name(number)
    if number == signal.SIGKILL:
        if is_killed_by_us:
            return ExitKind.TERMINATED, f"killed by janagent ({name})"
        return ExitKind.OUT_OF_MEMORY, f"killed, probably out of memory ({name})"
    if number in _REQUESTS_TO_END:
        return ExitKind.TERMINATED, f"ended on request ({name})"
    words = _CRASHES.get(signal.Signals(number)) if number in _KNOWN else None
    return ExitKind.CRASHED, f"{words or 'crashed'} ({name})"


_KNOWN: Final = frozenset(int(s) for s in signal.Signals)


def signal_name(number: int) -> str:
    """`SIGSEGV` for 11; real-time signals, which have no name, by number."""
    return signal.Signals(number).name if number in _KNOWN else f"signal {number}"
