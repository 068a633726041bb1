"""The command becomes the process of the icon; tests/tray has what that one does."""

import os
import sys

import pytest

from janagent.cli.app import run
from tests.cli.conftest import Run


def test_it_becomes_the_process_of_the_icon_with_its_flags(monkeypatch: pytest.MonkeyPatch):
    calls: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(os, "execv", lambda program, command: calls.append((program, command)))
    assert run(["tray", "--root", "/a b", "--config", "c.toml"]) == 0
    flags = ["--root", "/a b", "--config", "c.toml"]
    assert calls == [(sys.executable, [sys.executable, "-m", "janagent.tray", *flags])]


def test_where_no_tray_can_be_shown_it_says_why_and_exits_with_3(cli: Run):
    done = cli("tray", env={"DISPLAY": "", "WAYLAND_DISPLAY": ""})
    assert done.returncode == 3
    assert done.stderr.startswith("janagent: there is no display")
    assert done.stdout == ""


def test_a_wrong_flag_is_wrong_usage(cli: Run):
    assert cli("tray", "--colour", "red").returncode == 2
