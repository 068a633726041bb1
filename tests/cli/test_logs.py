import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.fixture
def log(home: Path, root: Path, cli: Run) -> Path:
    """Where the daemon of `root` writes, learnt from the sentence about its absence."""
    done = cli("logs", "--root", root)
    assert done.returncode == 1
    file = Path(done.stderr[done.stderr.rindex("(") + 1 : done.stderr.rindex(")")])
    file.parent.mkdir(parents=True)
    return file


def test_before_the_first_start_a_sentence_names_the_file(cli: Run, root: Path, home: Path):
    done = cli("logs", "--root", root)
    assert done.returncode == 1
    assert f"no daemon of {root} has written a log yet ({home}" in done.stderr


def test_the_daemons_last_lines_are_printed(cli: Run, root: Path, log: Path):
    log.write_text("".join(f"line {number}\n" for number in range(500)))
    done = cli("logs", "--root", root, "-n", 2)
    assert done.stdout == "line 498\nline 499\n"
    assert len(cli("logs", "--root", root).stdout.splitlines()) == 200


def test_a_log_cannot_steer_the_terminal(cli: Run, root: Path, log: Path):
    log.write_bytes(b"a\x1b[2Jb\xff\n")
    assert cli("logs", "--root", root).stdout == "a�[2Jb�\n"


def test_follow_prints_what_is_appended_and_survives_a_rotation(
    environment: dict[str, str], root: Path, log: Path
):
    log.write_text("old\n")
    command = [sys.executable, "-m", "janagent", "logs", "--root", str(root), "--follow"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "old\n"
        with log.open("a") as writer:
            writer.write("whole\nhalf")
            writer.flush()
            assert following.stdout.readline() == "whole\n"
            writer.write(" and half\n")
        assert following.stdout.readline() == "half and half\n"
        log.rename(log.with_suffix(".log.1"))
        log.write_text("new\n")
        assert following.stdout.readline() == "new\n"
        following.send_signal(signal.SIGINT)
        assert following.wait(timeout=60) == 130
