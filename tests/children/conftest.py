"""Every test here starts real processes; none may be left when it ends."""

import asyncio
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from janagent.children.logs import LogRing
from janagent.children.spawn import Child

T = TypeVar("T")
PROGRAMS = Path(__file__).parent / "programs"
DEADLINE_S = 60.0
"""For what must happen; nothing here takes a second on an idle machine."""
MARK = "JANAGENT_TESTED_BY"


def program(name: str, *arguments: object) -> list[str]:
    """The command that runs one of `programs/`."""
    return [sys.executable, "-P", str(PROGRAMS / f"{name}.py"), *map(str, arguments)]


async def until(condition: Callable[[], bool], *, what: str) -> None:
    """Wait for something that has no event of its own."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"still not so after {DEADLINE_S} s: {what}"
        await asyncio.sleep(0.01)


async def within(awaitable: Awaitable[T]) -> T:
    """`awaitable` with the deadline of these tests."""
    return await asyncio.wait_for(awaitable, DEADLINE_S)


def is_running(pid: int) -> bool:
    """False for a process that has ended, reaped or not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def marked_processes(mark: str) -> list[psutil.Process]:
    """All processes on the machine that descend from a test, whoever their parent is now."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture(autouse=True)
def no_process_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails a test that leaves a process behind; ends that process."""
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    yield
    end = time.monotonic() + DEADLINE_S
    while (left := marked_processes(mark)) and time.monotonic() < end:
        time.sleep(0.02)
    words = [f"{process.pid} {process.name()}" for process in left]
    for process in left:
        process.kill()
    assert not words, f"processes left behind: {words}"


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Awaitable[Child]]]:
    """Starts a program of `programs/` by name; whatever still runs at the end is killed."""
    children: list[Child] = []

    async def start_program(name: str, *arguments: object, **options: object) -> Child:
        options.setdefault("logs", LogRing())
        child = await Child.spawn(program(name, *arguments), name=name, **options)  # type: ignore[arg-type]
        children.append(child)
        return child

    yield start_program
    for child in children:
        await within(child.stop(grace_s=0))


async def logged(child: Child, text: str) -> str:
    """The first line of the child's log that contains `text`, waiting for it."""

    async def find() -> str:
        async for line in child.logs.follow():
            if text in line.text:
                return line.text
        raise AssertionError(f"the log ended without {text!r}: {child.logs.text()}")

    return await within(find())
