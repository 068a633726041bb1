"""The protocol of sd_notify(3), spoken to a real socket."""

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from janagent import sdnotify
from janagent.sdnotify import Notifier
from tests.notify_socket import NotifySocket


def test_a_message_is_one_datagram_of_its_lines() -> None:
    with NotifySocket() as manager:
        Notifier(manager.path).send("READY=1", sdnotify.status("two models"))
        assert manager.wait("READY") == ["READY=1\nSTATUS=two models"]


def test_a_line_cannot_smuggle_another_one_in() -> None:
    with NotifySocket() as manager:
        Notifier(manager.path).send(sdnotify.status("a model\nMAINPID=1"))
        assert manager.wait("STATUS") == ["STATUS=a model MAINPID=1"]


@pytest.mark.parametrize("name", [f"janagent-test-{os.getpid()}"] if sys.platform == "linux" else [])
def test_the_at_sign_stands_for_an_abstract_address(name: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(f"\0{name}")
        ear.settimeout(30)
        Notifier(f"@{name}").send("READY=1")
        assert ear.recv(100) == b"READY=1"


def test_without_a_manager_nothing_is_said_and_nothing_fails() -> None:
    notifier = Notifier.from_environment({"WATCHDOG_USEC": "1000000"})
    notifier.send("READY=1")
    assert not notifier.is_heard
    assert notifier.watchdog_s is None


def test_a_manager_that_is_gone_is_no_error() -> None:
    Notifier("/nowhere/at/all").send("READY=1")


def test_the_variables_are_taken_out_of_the_environment() -> None:
    environment = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "", "HOME": "/h"}
    notifier = Notifier.from_environment(environment)
    assert environment == {"HOME": "/h"}
    assert notifier.watchdog_s == 30


@pytest.mark.parametrize(
    ("usec", "pid", "expected"),
    [
        ("2000000", str(os.getpid()), 2.0),
        ("2000000", "1", None),
        ("0", "", None),
        ("soon", "", None),
        ("", "", None),
    ],
)
def test_a_watchdog_is_one_that_means_this_process(usec: str, pid: str, expected: float | None) -> None:
    environment = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}
    assert Notifier.from_environment(environment).watchdog_s == expected


def test_a_manager_that_does_not_read_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sdnotify, "SEND_LIMIT_S", 0.05)
    path = str(tmp_path / "deaf")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(path)
        notifier = Notifier(path)
        began = time.monotonic()
        for _ in range(20):  # Linux keeps ten datagrams for whoever does not read
            notifier.send("WATCHDOG=1" + "x" * 1000)
        assert time.monotonic() - began < 5


def test_times_are_in_microseconds() -> None:
    assert sdnotify.extend_timeout(1.5) == "EXTEND_TIMEOUT_USEC=1500000"
    told = int(sdnotify.monotonic_usec().removeprefix("MONOTONIC_USEC="))
    assert abs(told / 1e6 - time.clock_gettime(time.CLOCK_MONOTONIC)) < 5
