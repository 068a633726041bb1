"""Tests that need a systemd of their own are left out, and named at the end, where none can be started."""

import os
import sys
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
def nowhere(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a person whose systemd does not answer, as in a container. systemctl is the real one."""
    (tmp_path / "runtime").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    return home


@pytest.fixture
def no_systemctl(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without systemd: nothing of it on the path."""
    empty = tmp_path / "bin"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))


LAUNCHCTL = """#!/bin/sh
echo "$*" >> "$LAUNCHD/calls"
verb=$1; label=${2##*/}
case $verb in
bootstrap)
    label=$(basename "$3" .plist)
    test ! -e "$LAUNCHD/$label" || exit 37
    echo 77 > "$LAUNCHD/$label" ;;
bootout) rm "$LAUNCHD/$label" 2>/dev/null || { echo "Boot-out failed: 3: No such process" >&2; exit 3; } ;;
kickstart) echo 78 > "$LAUNCHD/$label" ;;
kill) label=${3##*/}; : > "$LAUNCHD/$label" ;;
print) test -e "$LAUNCHD/$label" || exit 113
    printf '%s = {\\n\\tstate = running\\n' "$2"
    pid=$(cat "$LAUNCHD/$label")
    test -z "$pid" || printf '\\tpid = %s\\n}\\n' "$pid" ;;
enable) ;;
*) exit 64 ;;
esac
"""
"""Remembers which agents it was given, and every call. What launchd really does, only a Mac can tell."""


@pytest.fixture
def mac(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Mac, as far as `janagent.service` looks; the folder in which its launchctl remembers."""
    folder, tools = tmp_path / "launchd", tmp_path / "tools"
    for made in (folder, tools):
        made.mkdir()
    (tools / "launchctl").write_text(LAUNCHCTL)
    (tools / "launchctl").chmod(0o755)
    monkeypatch.setenv("LAUNCHD", str(folder))
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sys, "platform", "darwin")
    return folder
