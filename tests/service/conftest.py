"""Tests that need a systemd of their own are left out, and named at the end, where none can be started."""

import os
from pathlib import Path

import pytest

from janagent.service.plan import Facts
from tests.service.own_systemd import why_not

REASON = why_not()
collect_ignore = ["test_own_systemd.py"] if REASON else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if REASON:
        terminalreporter.write_line(f"left out: tests/service/test_own_systemd.py ({REASON})", yellow=True)


@pytest.fixture
def facts() -> Facts:
    """As on some machine."""
    return Facts("/opt/janagent/bin/python", stop_s=120)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new person's, whom no service manager knows."""
    for name in [name for name in os.environ if name.startswith(("XDG_", "JANAGENT_", "DBUS_"))]:
        monkeypatch.delenv(name)
    made = tmp_path / "home"
    made.mkdir()
    monkeypatch.setenv("HOME", str(made))
    return made


@pytest.fixture
def no_systemctl(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without systemd: nothing of it on the path."""
    empty = tmp_path / "bin"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
