import signal

import pytest

from janagent.children.exits import ExitKind, classify_exit, signal_name
from janagent.children.wire import ExitCode


@pytest.mark.parametrize(
    ("returncode", "kind", "words"),
    [
        (0, ExitKind.CLEAN, "exited normally"),
        (ExitCode.BAD_SPEC, ExitKind.BAD_SPEC, "settings"),
        (ExitCode.LOAD_FAILED, ExitKind.LOAD_FAILED, "could not load the model"),
        (ExitCode.PARENT_GONE, ExitKind.TERMINATED, "lifeline"),
        (1, ExitKind.CRASHED, "exit status 1"),
        (255, ExitKind.CRASHED, "exit status 255"),
        (-signal.SIGKILL, ExitKind.OUT_OF_MEMORY, "killed, probably out of memory (SIGKILL)"),
        (-signal.SIGABRT, ExitKind.CRASHED, "aborted inside llama.cpp"),
        (-signal.SIGILL, ExitKind.CRASHED, "this build of llama.cpp does not fit this processor"),
        (-signal.SIGSEGV, ExitKind.CRASHED, "(SIGSEGV)"),
        (-signal.SIGBUS, ExitKind.CRASHED, "cut short or overwritten"),
        (-signal.SIGTRAP, ExitKind.CRASHED, "crashed (SIGTRAP)"),
        (-signal.SIGTERM, ExitKind.TERMINATED, "(SIGTERM)"),
        (-signal.SIGINT, ExitKind.TERMINATED, "(SIGINT)"),
        (-62, ExitKind.CRASHED, "signal 62"),
    ],
)
def test_every_return_code_has_a_kind_and_words(returncode: int, kind: ExitKind, words: str) -> None:
    exit_ = classify_exit(returncode)
    assert exit_.kind is kind
    assert words in exit_.message
    assert exit_.returncode == returncode


def test_our_own_sigkill_says_nothing_about_memory() -> None:
    exit_ = classify_exit(-signal.SIGKILL, is_killed_by_us=True)
    assert exit_.kind is ExitKind.TERMINATED
    assert "memory" not in exit_.message


def test_every_exit_code_of_our_children_is_understood() -> None:
    assert {classify_exit(code).kind for code in ExitCode} == {
        ExitKind.CLEAN,
        ExitKind.BAD_SPEC,
        ExitKind.LOAD_FAILED,
        ExitKind.CRASHED,
        ExitKind.TERMINATED,
    }


def test_a_signal_without_a_name_is_given_by_number() -> None:
    assert signal_name(signal.SIGHUP) == "SIGHUP"
    assert signal_name(62) == "signal 62"
