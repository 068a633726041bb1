"""Finding, losing and finding again, with real daemons and without a toolkit."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from janagent.tray import client
from janagent.tray.follower import Follower
from janagent.tray.launcher import Launcher
from janagent.tray.options import Given, read
from janagent.tray.services import Failed
from janagent.tray.state import Change, Link, State
from tests.daemons import Daemon, until
from tests.tray.session import Home


class Stopped(BaseException):
    """Ends the thread of a follower, which has no end of its own."""


@dataclass
class FakeManager:
    """A service manager that starts what it is told to."""

    start_it: Callable[[], None]
    calls: list[str] = field(default_factory=list)

    def is_installed(self) -> bool:
        return True

    def start(self) -> None:
        self.calls.append("start")
        self.start_it()

    def stop(self) -> None:
        self.calls.append("stop")

    def login_enabled(self) -> bool | None:
        return True

    def set_login(self, enabled: bool, /) -> None:
        self.calls.append(f"login {enabled}")


@dataclass
class NoManager(FakeManager):
    def is_installed(self) -> bool:
        return False


@pytest.fixture(autouse=True)
def in_home(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in home.own.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JANAGENT_SPARE_WORKER", "false")
    monkeypatch.setattr(client, "CONNECT_S", 60.0)


class Following:
    """A follower on its thread; a context manager."""

    def __init__(self, home: Home, manager: FakeManager | None = None) -> None:
        self.state = State()
        self.snapshots = 0
        self.changes: list[Change] = []
        given = Given()
        options = read(given)
        self.launcher = Launcher(given, log_file=Path(options.log_file))
        self.follower = Follower(
            given,
            options,
            state=self.state,
            launcher=self.launcher,
            services=manager or NoManager(lambda: None),
            begin=self._begin,
            changed=self.changes.extend,
        )
        self._is_over = False
        self.follower._wake.wait = self._rest  # type: ignore[method-assign]
        self._thread = threading.Thread(target=self._run)

    def _begin(self) -> None:
        self.snapshots += 1

    def _rest(self, timeout: float | None = None) -> bool:
        if self._is_over:
            raise Stopped
        time.sleep(0.02)
        return False

    def _run(self) -> None:
        try:
            self.follower.run()
        except Stopped:
            pass

    def __enter__(self) -> "Following":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        if self.follower.endpoint is not None:
            try:
                client.call(self.follower.endpoint, "POST", "/v1/shutdown")
            except client.Unreachable:
                pass
        self.launcher.end()
        until(lambda: not self.launcher.is_running)
        self._thread.join(30)
        assert not self._thread.is_alive()

    def until(self, link: Link, reason: str = "") -> None:
        until(
            lambda: (view := self.state.view()).link is link and reason in view.reason,
            what=f"{link} {reason}, not {self.state.view()}",
        )


def links_of(following: Following) -> list[Link]:
    """What the tray is told from now on."""
    seen: list[Link] = []
    real = following.state.set

    def told(**fields: Any) -> None:
        if "link" in fields:
            seen.append(fields["link"])
        real(**fields)

    following.state.set = told  # type: ignore[method-assign]
    return seen


def test_a_daemon_that_runs_is_followed(home: Home, served: Daemon):
    with Following(home) as following:
        following.until(Link.CONNECTED)
        assert following.follower.endpoint is not None
        assert following.follower.endpoint.url == served.url
        assert not following.launcher.is_running, "none was started beside it"
        served.drop("broken", "{ nonsense")
        until(lambda: [c.after.id for c in following.changes if c.after] == ["broken"])
        assert following.snapshots == 1


def test_the_port_of_another_program_is_told_in_the_daemon_s_words(
    home: Home, monkeypatch: pytest.MonkeyPatch
):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("JANAGENT_PORT", str(port))
        monkeypatch.setenv("JANAGENT_HOST", "127.0.0.1")
        monkeypatch.setattr(client, "CONNECT_S", 0.3)
        with Following(home) as following:
            following.until(Link.ABSENT, f"port {port} on 127.0.0.1 is taken by another program")
            assert home.daemons() == []


def test_a_service_that_is_installed_is_started_through_its_manager(home: Home):
    daemon = Daemon(home.folder, env=home.own, root=home.root, spare_worker=False)
    manager = FakeManager(daemon.start)
    with Following(home, manager) as following:
        following.until(Link.CONNECTED)
        assert manager.calls == ["start"]
        assert not following.launcher.is_running
    daemon.stop()


def test_a_manager_that_fails_is_told(home: Home):
    def fail() -> None:
        raise Failed("systemctl is not there")

    with Following(home, FakeManager(fail)) as following:
        following.until(Link.ABSENT, "janagent cannot be started: systemctl is not there")


def assert_said_to_be_ending(following: Following, end: Callable[[], object]) -> None:
    following.until(Link.CONNECTED)
    seen = links_of(following)
    end()
    following.until(Link.ABSENT)
    assert Link.ENDING in seen
    assert Link.STARTING not in seen


def test_a_daemon_that_is_ending_is_said_to_be(home: Home, served: Daemon):
    with Following(home) as following:
        assert_said_to_be_ending(following, served.stop)


def test_one_that_was_started_here_is_ending_too(home: Home):
    with Following(home) as following:
        assert_said_to_be_ending(
            following, lambda: client.call(following.follower.endpoint, "POST", "/v1/shutdown")
        )


def test_one_that_is_killed_is_not_ending(home: Home):
    with Following(home) as following:
        following.until(Link.CONNECTED)
        seen = links_of(following)
        (daemon,) = home.daemons()
        daemon.kill()
        until(lambda: Link.STARTING in seen)
        following.until(Link.CONNECTED)
        assert Link.ENDING not in seen


def test_one_that_a_person_started_is_not_started_again(home: Home, served: Daemon):
    with Following(home) as following:
        following.until(Link.CONNECTED)
        served.kill()
        following.until(Link.ABSENT)
        time.sleep(0.5)
        assert home.daemons() == []
        following.follower.start_daemon()
        following.until(Link.CONNECTED)
        assert following.launcher.is_running


def test_a_fault_of_ours_does_not_stop_the_following(
    home: Home, served: Daemon, caplog: pytest.LogCaptureFixture
):
    following = Following(home)
    following.follower._begin = lambda: 1 / 0  # type: ignore[assignment,return-value]
    with following:
        until(lambda: "following the daemon failed" in caplog.text)
        following.follower._begin = following._begin
        following.until(Link.CONNECTED)
        until(lambda: following.snapshots)
