import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from janagent import __version__, lock, paths
from janagent.lock import DaemonLock, RootHeld, find_daemon, find_holder

HOLD = """
import sys, pathlib
from janagent.lock import DaemonLock
with DaemonLock(pathlib.Path(sys.argv[1])) as lock:
    lock.publish("http://127.0.0.1:4242")
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@contextmanager
def another_process_holding(root: Path) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-c", HOLD, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.kill()


def test_the_note_says_who_where_and_which_version(root: Path):
    with DaemonLock(root) as lock:
        lock.publish("http://127.0.0.1:1")
        note = json.loads(paths.lock_file(root).read_text())
    assert note == {
        "pid": os.getpid(),
        "url": "http://127.0.0.1:1",
        "root": str(root),
        "version": __version__,
    }


def test_a_second_start_says_who_holds_the_root(root: Path):
    with another_process_holding(root) as process:
        with pytest.raises(RootHeld) as caught, DaemonLock(root):
            pass
        assert str(process.pid) in str(caught.value)
        assert "http://127.0.0.1:4242" in str(caught.value)
        assert str(root) in str(caught.value)


def test_the_daemon_is_found_by_its_root(root: Path, tmp_path: Path):
    with another_process_holding(root):
        assert find_daemon(root) == "http://127.0.0.1:4242"
        assert find_daemon(tmp_path / "other") is None


def test_the_daemon_is_found_through_a_link_to_its_root(root: Path, tmp_path: Path):
    root.mkdir()
    (tmp_path / "link").symlink_to(root)
    with another_process_holding(root):
        assert find_daemon(tmp_path / "link") == "http://127.0.0.1:4242"


def test_a_daemon_killed_without_warning_holds_nothing(root: Path):
    with another_process_holding(root) as process:
        process.kill()
        process.wait()
        assert paths.lock_file(root).read_text() != ""
        assert find_daemon(root) is None
        with DaemonLock(root):
            pass


def test_a_daemon_that_does_not_listen_yet_has_no_url(root: Path):
    with DaemonLock(root):
        assert find_daemon(root) is None
        holder = find_holder(root)
        assert holder is not None
        assert holder.pid == os.getpid()


def test_the_root_is_free_after_an_orderly_end(root: Path):
    with DaemonLock(root):
        pass
    assert find_holder(root) is None
    with DaemonLock(root) as lock:
        lock.publish("http://127.0.0.1:2")
        assert find_daemon(root) == "http://127.0.0.1:2"


def test_a_shorter_note_leaves_nothing_of_the_longer_one(root: Path):
    with DaemonLock(root) as lock:
        lock.publish("http://a-very-long-name.example:65535")
        lock.publish("http://b:1")
        assert find_daemon(root) == "http://b:1"


def test_a_broken_note_is_nobody(root: Path):
    with DaemonLock(root):
        paths.lock_file(root).write_text("{not json")
        assert find_holder(root) is None
        with pytest.raises(RootHeld, match="another janagent already serves"), DaemonLock(root):
            pass


def test_looking_does_not_create_anything(root: Path, tmp_path: Path):
    assert find_daemon(root) is None
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_looks_at_this_instant_does_not_stop_a_start(
    root: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lock, "_PROBE_GRACE_S", 60.0)  # this reader needs a Python to end
    with DaemonLock(root):
        pass
    shared = (
        "import fcntl, os, sys, time; d = os.open(sys.argv[1], os.O_RDONLY); fcntl.flock(d, fcntl.LOCK_SH);"
        "print('shared', flush=True); time.sleep(0.1)"
    )
    command = [sys.executable, "-c", shared, str(paths.lock_file(root))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"shared\n"
        with DaemonLock(root):
            pass


def test_the_lock_file_is_for_this_user_alone(root: Path):
    with DaemonLock(root):
        assert paths.lock_file(root).stat().st_mode & 0o077 == 0
