"""The limits of inotify, met for real; collected on Linux only (see conftest).

In a process of its own, and where the system allows it in a user namespace of its own, so that nobody else
meets them.
"""

import signal
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "root" / "models"
    (folder / "a").mkdir(parents=True)
    return folder


LIMITED_SCRIPT = """
import asyncio, ctypes, os, sys
from pathlib import Path
from janagent.folder.watch import Watcher
what, models = sys.argv[1], Path(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
limit = {"instances": 0, "watches": 10}[what]
held = []
try:
    if libc.unshare(0x10000000):  # CLONE_NEWUSER
        raise OSError(ctypes.get_errno(), "unshare")
    Path(f"/proc/sys/user/max_inotify_{what}").write_text(str(limit))
except OSError:
    while (descriptor := libc.inotify_init()) >= 0:  # no namespaces here: use up the real limit for a moment
        held.append(descriptor)
async def main():
    woken = asyncio.Event()
    def wake(folders, closed):
        if folders is None:
            woken.set()
    async with Watcher(models, wake=wake, poll_s=0.1) as watcher:
        notice = watcher.notice
        if notice is None:  # room at first: fill it with a new folder
            for n in range(20):
                (models / f"new{n}").mkdir()
            async with asyncio.timeout(60):
                while (notice := watcher.notice) is None:
                    await asyncio.sleep(0.05)
        async with asyncio.timeout(60):
            await woken.wait()
        print(notice)
asyncio.run(main())
"""


def _notice_under_limit(what: str, models: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED_SCRIPT, what, str(models)], capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_an_inotify_instance_it_polls_and_names_the_limit(models: Path) -> None:
    notice = _notice_under_limit("instances", models)
    assert "fs.inotify.max_user_instances" in notice
    assert "sudo sysctl fs.inotify.max_user_instances=" in notice


def test_when_the_watches_run_out_below_models_it_polls_and_names_the_limit(models: Path) -> None:
    for n in range(30):
        (models / f"d{n}").mkdir()
    assert "fs.inotify.max_user_watches" in _notice_under_limit("watches", models)


def test_when_the_watches_run_out_later_it_is_noticed_too(models: Path) -> None:
    assert "fs.inotify.max_user_watches" in _notice_under_limit("watches", models)


OVERFLOW_SCRIPT = """
import asyncio, sys
from pathlib import Path
from janagent.folder.watch import Watcher
async def main():
    everything = asyncio.Event()
    def wake(folders, closed):
        if folders is None:
            everything.set()
    async with Watcher(Path(sys.argv[1]), wake=wake):
        print("ready", flush=True)
        await everything.wait()
        print("all", flush=True)
asyncio.run(main())
"""


def test_when_the_kernel_drops_events_everything_is_looked_at(models: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    with subprocess.Popen(
        [sys.executable, "-c", OVERFLOW_SCRIPT, str(models)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGSTOP)
            for n in range(limit // 2 + 10):  # two events each at least
                file = models / "a" / f"x{n % 2}"
                file.touch()
                file.unlink()
            process.send_signal(signal.SIGCONT)
            assert process.stdout.readline() == "all\n"
        finally:
            process.kill()
