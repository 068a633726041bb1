import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from janagent import flock


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """The same file, opened twice: these lock each other out even within one process."""
    opened = [os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT) for _ in range(2)]
    yield opened[0], opened[1]
    for fd in opened:
        with contextlib.suppress(OSError):  # by the test
            os.close(fd)


def test_one_has_it_and_the_other_sees_that(two: tuple[int, int]):
    mine, other = two
    assert flock.take(mine, within_s=0)
    assert flock.is_taken(other)
    assert not flock.take(other, within_s=0)


def test_a_look_holds_it_up_only_until_it_is_over(two: tuple[int, int]):
    mine, other = two
    assert not flock.is_taken(other)
    assert not flock.take(mine, within_s=0.01)
    threading.Timer(0.1, os.close, (other,)).start()
    assert flock.take(mine, within_s=60)


def test_what_cannot_be_locked_is_taken_by_nobody():
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    assert not flock.is_taken(reading)
