"""A real daemon under a real notify socket: what a service manager hears, and when."""

import asyncio
import itertools
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from janagent.supervision import in_words
from tests.daemons import Daemon, chat_body, until
from tests.notify_socket import NotifySocket


@pytest.fixture
def manager() -> Iterator[NotifySocket]:
    with NotifySocket(watchdog_s=0.6) as listening:
        yield listening


@pytest.fixture
def supervised(tmp_path: Path, manager: NotifySocket) -> Iterator[Daemon]:
    with Daemon(tmp_path, env=manager.environment, drain_s=60) as daemon:
        yield daemon


def monotonic_s(message: str) -> float:
    told = re.search(r"^MONOTONIC_USEC=(\d+)$", message, re.MULTILINE)
    assert told is not None, message
    return int(told[1]) / 1e6


def test_ready_comes_when_requests_are_answered_and_says_where(
    supervised: Daemon, manager: NotifySocket
) -> None:
    (ready,) = manager.wait("READY=1")
    assert f"STATUS={supervised.url}, 0 models" in ready.splitlines()
    assert f"STATUS=reading {supervised.models}" in manager.messages()[0]


def test_the_status_follows_the_models(supervised: Daemon, manager: NotifySocket, starter: Path) -> None:
    supervised.drop("broken", "{ broken")
    supervised.drop("smol", "{}", gguf=starter)
    manager.wait("2 models: 1 invalid, 1 running")
    assert len(manager.messages("STATUS")) < 10


def test_children_cannot_speak_for_the_daemon(
    supervised: Daemon, manager: NotifySocket, starter: Path
) -> None:
    supervised.drop("smol", "{}", gguf=starter)
    supervised.wait_state("smol", "running")
    children = supervised.children()
    assert children
    for child in children:
        assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & set(child.environ())


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
        "        await asyncio.sleep(0.7)\n"
        "        print('hangs', flush=True); time.sleep(1.5)\n"
        "asyncio.run(main())\n"
    )
    with NotifySocket(watchdog_s=0.2) as manager:
        started = time.monotonic()
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, env=manager.environment, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline()
            hangs_at = time.monotonic()
            assert process.wait(30) == 0
        assert len([at for at in manager.times("WATCHDOG=1") if started < at <= hangs_at]) >= 3
        assert [at for at in manager.times("WATCHDOG=1") if at > hangs_at + 0.3] == []


def test_the_daemon_that_a_watchdog_ends_says_where_it_hung(
    supervised: Daemon, manager: NotifySocket
) -> None:
    children = supervised.kill(signal.SIGABRT)
    until(lambda: "Fatal Python error: Aborted" in "\n".join(supervised.lines), what="the traceback")
    psutil.wait_procs(children, timeout=10)


async def test_stopping_asks_for_the_time_that_answers_may_take_and_pings_go_on(
    supervised: Daemon, manager: NotifySocket, starter: Path
) -> None:
    supervised.drop("smol", "{}", gguf=starter)
    await asyncio.to_thread(supervised.wait_state, "smol", "running")
    body = chat_body("smol", "Count to a thousand.", max_tokens=60, ignore_eos=True, stream=True)
    async with (
        aiohttp.ClientSession(supervised.url) as session,
        session.post("/v1/chat/completions", json=body) as answer,
    ):
        assert await answer.content.readline()
        assert supervised._process is not None
        supervised._process.send_signal(signal.SIGTERM)
        (stopping,) = await asyncio.to_thread(manager.wait, "STOPPING=1")
        assert "EXTEND_TIMEOUT_USEC=150000000" in stopping.splitlines()
        assert "STATUS=stopping; answers may finish for 60 s" in stopping.splitlines()
        pings = len(manager.messages("WATCHDOG=1"))
        await asyncio.to_thread(manager.wait, "WATCHDOG=1", count=pings + 1)
        assert "[DONE]" in (await answer.content.read()).decode()
        assert await asyncio.to_thread(supervised._process.wait, 30) == 0
    assert manager.messages("STATUS")[-1] == stopping


def test_a_reload_is_told_from_its_beginning_to_its_end(supervised: Daemon, manager: NotifySocket) -> None:
    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    assert supervised._process is not None
    supervised._process.send_signal(signal.SIGHUP)
    (reloading,) = manager.wait("RELOADING=1")
    assert before <= monotonic_s(reloading) <= time.clock_gettime(time.CLOCK_MONOTONIC)
    manager.wait("READY=1", count=2)
    assert manager.messages("=1\n")[-2:] == [reloading, manager.messages("READY=1")[-1]]


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
