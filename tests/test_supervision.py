"""A real daemon under a real notify socket: what a service manager hears, and when."""

import asyncio
import itertools
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import psutil
import pytest

from janagent.aio import create_task
from janagent.sdnotify import Notifier
from janagent.supervision import in_words
from tests.daemons import Daemon, chat_body, stream_chat, until
from tests.notify_socket import NotifySocket


@contextmanager
def listening(folder: Path) -> Iterator[tuple[Daemon, NotifySocket]]:
    with (
        NotifySocket(watchdog_s=0.6) as manager,
        Daemon(folder, env=manager.environment, drain_s=60) as daemon,
    ):
        yield daemon, manager


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, NotifySocket]]:
    """A daemon and the ear of its manager, for tests that leave it running."""
    with listening(tmp_path_factory.mktemp("supervised")) as pair:
        yield pair


@pytest.fixture
def supervised(both: tuple[Daemon, NotifySocket]) -> Daemon:
    return both[0]


@pytest.fixture
def manager(both: tuple[Daemon, NotifySocket]) -> NotifySocket:
    return both[1]


def monotonic_s(message: str) -> float:
    told = re.search(r"^MONOTONIC_USEC=(\d+)$", message, re.MULTILINE)
    assert told is not None, message
    return int(told[1]) / 1e6


def test_ready_comes_when_requests_are_answered_and_says_where(
    supervised: Daemon, manager: NotifySocket
) -> None:
    ready = manager.wait("READY=1")[0]
    assert f"STATUS={supervised.url}, 0 models" in ready.splitlines()
    assert f"STATUS=reading {supervised.models}" in manager.messages()[0]


def test_the_status_follows_the_models(supervised: Daemon, manager: NotifySocket, starter: Path) -> None:
    supervised.drop("broken", "{ broken")
    supervised.drop("smol", "{}", gguf=starter)
    manager.wait("2 models: 1 invalid, 1 running")
    assert len(manager.messages("STATUS")) < 20


def test_children_cannot_speak_for_the_daemon(
    supervised: Daemon, manager: NotifySocket, starter: Path
) -> None:
    supervised.drop("smol", "{}", gguf=starter)
    supervised.wait_state("smol", "running")
    children = supervised.children()
    assert children
    secrets = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}
    for child in children:  # one that has just been made has its parent's environment for a moment
        until(lambda child=child: not secrets & set(child.environ()), what="it knows of no manager")


def test_pings_come_twice_per_limit_and_stop_when_the_loop_stands_still(
    supervised: Daemon, manager: NotifySocket
) -> None:
    manager.wait("WATCHDOG=1", count=5)
    times = manager.times("WATCHDOG=1")
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert sorted(gaps)[len(gaps) // 2] < 0.6
    process = psutil.Process(supervised.pid)
    process.suspend()
    until(lambda: process.status() == psutil.STATUS_STOPPED, what="it stands still")
    Notifier(manager.path).send("X_STANDS_STILL=1")  # comes after all that it has said
    manager.wait("X_STANDS_STILL=1")
    count = len(manager.messages("WATCHDOG=1"))
    time.sleep(1.0)
    assert len(manager.messages("WATCHDOG=1")) == count
    process.resume()
    manager.wait("WATCHDOG=1", count=count + 2)


def test_a_loop_that_hangs_is_silent_although_other_threads_run() -> None:
    # The daemon cannot be asked to hang; its watchdog can be run in a loop that does.
    code = (
        "import asyncio, sys, time\n"
        "from janagent.sdnotify import Notifier\n"
        "from janagent.supervision import watchdog\n"
        "async def main():\n"
        "    async with watchdog(Notifier.from_environment()):\n"
        "        await asyncio.sleep(1.5)\n"
        "        print('hangs', flush=True); time.sleep(3)\n"
        "asyncio.run(main())\n"
    )
    with NotifySocket(watchdog_s=0.2) as manager:
        started = time.monotonic()
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, env=manager.environment, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline()
            hangs_at = time.monotonic()
            assert process.wait(60) == 0
        assert len([at for at in manager.times("WATCHDOG=1") if started < at <= hangs_at]) >= 3
        assert [at for at in manager.times("WATCHDOG=1") if at > hangs_at + 1.5] == []


def test_the_daemon_that_a_watchdog_ends_says_where_it_hung(tmp_path: Path) -> None:
    with listening(tmp_path) as (daemon, _):
        children = daemon.kill(signal.SIGABRT)
        until(lambda: "Fatal Python error: Aborted" in "\n".join(daemon.lines), what="the traceback")
        psutil.wait_procs(children, timeout=10)


async def test_stopping_asks_for_the_time_that_answers_may_take_and_pings_go_on(
    tmp_path: Path, starter: Path
) -> None:
    with listening(tmp_path) as (daemon, manager):
        daemon.drop("smol", "{}", gguf=starter)
        await asyncio.to_thread(daemon.wait_state, "smol", "running")
        assert daemon._process is not None
        heard = asyncio.Event()
        body = chat_body("smol", "Count to a thousand.", max_tokens=200, ignore_eos=True)
        async with aiohttp.ClientSession() as session:
            answer = create_task(stream_chat(session, daemon.url, body, on_text=heard.set), name="answer")
            await asyncio.wait_for(heard.wait(), 60)
            daemon._process.send_signal(signal.SIGTERM)
            (stopping,) = await asyncio.to_thread(manager.wait, "STOPPING=1")
            assert "EXTEND_TIMEOUT_USEC=150000000" in stopping.splitlines()
            assert "STATUS=stopping; answers may finish for 60 s" in stopping.splitlines()
            pings = len(manager.messages("WATCHDOG=1"))
            await asyncio.to_thread(manager.wait, "WATCHDOG=1", count=pings + 1)
            assert await answer, "it is whole, or this raises"
        assert await asyncio.to_thread(daemon._process.wait, 60) == 0
        assert manager.messages("STATUS")[-1] == stopping


def test_a_reload_is_told_from_its_beginning_to_its_end(supervised: Daemon, manager: NotifySocket) -> None:
    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    assert supervised._process is not None
    supervised._process.send_signal(signal.SIGHUP)
    (reloading,) = manager.wait("RELOADING=1")
    assert before <= monotonic_s(reloading) <= time.clock_gettime(time.CLOCK_MONOTONIC)
    ready = manager.wait("READY=1", count=2)[-1]
    assert manager.messages("STATUS").index(reloading) < manager.messages("STATUS").index(ready)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({}, "0 models"),
        ({"running": 1}, "1 model: 1 running"),
        ({"downloaded": 2, "invalid": 1, "running": 1}, "4 models: 1 invalid, 2 downloaded, 1 running"),
    ],
)
def test_counts_are_told_in_words(counts: dict[str, int], words: str) -> None:
    assert in_words(counts) == words
