"""The child's pipes, with real descriptors in a real child."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from janagent.children import wire
from janagent.children.lifeline import StatusPipe

READS_ONE_LINE = """
import sys, time
from janagent.children.lifeline import Lifeline
lifeline = Lifeline()
lifeline.start()
print(lifeline.first_line().decode(), flush=True)
{then}
"""


def child(then: str) -> "subprocess.Popen[bytes]":
    code = READS_ONE_LINE.format(then=then)
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_the_first_line_is_given_and_the_end_of_stdin_ends_the_process():
    with child("time.sleep(60)") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"the spec\nmore that nobody reads\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"the spec\n"
        process.stdin.close()
        assert process.wait(30) == wire.ExitCode.PARENT_GONE


def test_a_c_call_that_never_returns_does_not_keep_the_process():
    with child("import ctypes; ctypes.CDLL(None).pause()") as process:
        assert process.stdin is not None
        process.stdin.write(b"x\n")
        process.stdin.close()
        assert process.wait(30) == wire.ExitCode.PARENT_GONE


def test_the_parent_may_go_before_the_first_line():
    with child("") as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == wire.ExitCode.PARENT_GONE


@pytest.fixture
def pipe() -> tuple[int, int]:
    """A pipe whose writing end never blocks, as the daemon's status pipe."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    return read, write


def test_a_status_line_is_one_line_of_json(pipe: tuple[int, int]):
    read, write = pipe
    StatusPipe(write).send(wire.Loading(progress=0.5))
    assert wire.parse_status(os.read(read, 1000).splitlines()[0]) == wire.Loading(progress=0.5)
    os.close(read)
    os.close(write)


def test_stats_are_dropped_when_nobody_reads(pipe: tuple[int, int]):
    read, write = pipe
    status = StatusPipe(write)
    for steps in range(5000):
        status.send(wire.Stats(live=1, queued=0, steps=steps))
    lines = os.read(read, 1 << 20).splitlines()
    assert 0 < len(lines) < 5000
    assert all(wire.parse_status(line) for line in lines)
    os.close(read)
    os.close(write)


def test_a_status_pipe_without_a_reader_ends_the_process(tmp_path: Path):
    code = (
        "import os, signal; from janagent.children.wire import Spare; "
        "from janagent.children.lifeline import StatusPipe; "
        "StatusPipe.from_environment().send(Spare())"
    )
    read, write = os.pipe()
    os.close(read)
    env = os.environ | {wire.STATUS_FD_VARIABLE: str(write)}
    done = subprocess.run([sys.executable, "-c", code], env=env, pass_fds=(write,), check=False)
    os.close(write)
    assert done.returncode == wire.ExitCode.PARENT_GONE
