"""Real processes: the lock of the tray, daemons that start, crash and cannot start."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from janagent.lock import find_holder
from janagent.tray.launcher import PAUSES_S, AlreadyThere, Launcher, TrayLock
from janagent.tray.options import Given
from tests.daemons import until


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CONFIG", "STATE", "DATA", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.setenv("JANAGENT_OFFLINE", "true")
    monkeypatch.setenv("JANAGENT_PORT", "0")
    monkeypatch.setenv("JANAGENT_SPARE_WORKER", "false")
    return tmp_path


@pytest.fixture
def root(home: Path) -> Path:
    (home / "root" / "models").mkdir(parents=True)
    return home / "root"


@pytest.fixture
def launcher(root: Path) -> Launcher:
    return Launcher(Given(root=root), log_file=root.parent / "log" / "x.log")


def test_a_second_tray_is_told_which_process_is_the_first():
    with TrayLock(), pytest.raises(AlreadyThere, match=f"process {os.getpid()}"), TrayLock():
        pass
    with TrayLock():
        pass


def test_a_killed_tray_leaves_no_lock():
    code = """if True:
        import time
        from janagent.tray.launcher import TrayLock
        with TrayLock():
            print(flush=True)
            time.sleep(60)
    """
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(AlreadyThere, match=f"process {other.pid}"), TrayLock():
            pass
        other.kill()
    with TrayLock():
        pass


def test_a_daemon_is_started_detached_with_its_words_in_the_log(launcher: Launcher, root: Path):
    launcher.start(now=0)
    try:
        holder = until(lambda: (found := find_holder(root)) and found.url and found)
        process = psutil.Process(holder.pid)
        assert process.terminal() is None
        assert os.getsid(holder.pid) == holder.pid, "a session of its own"
        assert Path(process.cwd()) == Path("/")
        assert launcher.is_running
        launcher.start(now=1)
        assert launcher.ended(now=1) is None
    finally:
        launcher.end()
    until(lambda: not launcher.is_running)
    assert launcher.ended(now=2) == "", "an orderly end is no news"
    assert not launcher.again(now=1e9)
    lines = "\n".join(file.read_text() for file in (root.parent / "state").rglob("*.log")).splitlines()
    assert any("stopping: answers may finish" in line for line in lines)


def test_what_the_daemon_says_before_it_gives_up_is_told(root: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = root.parent / "janagent.toml"
        config.write_text('host = "127.0.0.1"\n')
        log_file = root.parent / "log" / "x.log"
        log_file.parent.mkdir()
        log_file.write_text("janagent: something of last week\n")
        os.environ["JANAGENT_PORT"] = str(port)
        launcher = Launcher(Given(root=root, config=config), log_file=log_file)
        launcher.start(now=0)
        until(lambda: not launcher.is_running)
    assert f"port {port} on 127.0.0.1 is taken by another program" in (launcher.ended(now=1) or "")
    assert launcher.ended(now=1) is None, "it is told once"
    assert not launcher.again(now=1e9), "another start would fail in the same way"


def test_a_crashed_daemon_is_started_again_a_few_times(launcher: Launcher, root: Path):
    launcher._command = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    now = 0.0
    for pause_s in PAUSES_S:
        launcher.start(now=now)
        until(lambda: not launcher.is_running)
        assert launcher.ended(now=now) == "janagent was ended by signal 9; it is started again"
        assert not launcher.again(now=now + pause_s - 0.1)
        assert launcher.again(now=now + pause_s)
        now += pause_s
    launcher.start(now=now)
    until(lambda: not launcher.is_running)
    assert launcher.ended(now=now) == "janagent was ended by signal 9 too often"
    assert not launcher.again(now=1e9)


def test_one_that_ran_long_may_crash_again(launcher: Launcher):
    launcher._command = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    for number in range(2 * len(PAUSES_S)):
        launcher.start(now=1000.0 * number)
        until(lambda: not launcher.is_running)
        assert "started again" in (launcher.ended(now=1000.0 * number + 500) or "")


def test_another_daemon_makes_a_second_start_needless(launcher: Launcher):
    launcher._command = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    launcher.start(now=0)
    until(lambda: not launcher.is_running)
    launcher.ended(now=0)
    launcher.give_up()
    assert not launcher.again(now=1e9)


def test_what_is_meant_for_the_tray_alone_is_not_handed_on(
    launcher: Launcher, root: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/never")
    out = root / "environment"
    code = f"import os; open({str(out)!r}, 'w').write(' '.join(os.environ))"
    launcher._command = [sys.executable, "-c", code]
    launcher.start(now=time.monotonic())
    until(lambda: not launcher.is_running)
    assert "NOTIFY_SOCKET" not in out.read_text().split()
    assert "HOME" in out.read_text().split()


def test_without_a_place_for_the_log_it_starts_all_the_same(root: Path):
    (root / "file").write_text("")
    launcher = Launcher(Given(root=root), log_file=root / "file" / "x.log")
    launcher.start(now=0)
    assert launcher.is_running
    os.kill(launcher._process.pid, signal.SIGKILL)  # type: ignore[union-attr]
    until(lambda: not launcher.is_running)
    assert "signal 9" in (launcher.ended(now=0) or "")
