"""A desktop session without a desktop: an X server, a session bus, a home; and trays that run in it."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

LIMIT_S = 60.0
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
  </policy>
</busconfig>
"""
"""No service folders: what happens to be installed on the machine is not started by itself."""


class Session:
    """Xvfb and a private bus; a context manager."""

    def __init__(self) -> None:
        # Not pytest's folder: its path is too long for a socket.
        self.folder = Path(tempfile.mkdtemp(prefix="jtray-", dir="/tmp"))
        self.display = ""
        self.bus_address = f"unix:path={self.folder / 'bus'}"
        self.x: subprocess.Popen[bytes] | None = None
        self.bus: subprocess.Popen[bytes] | None = None
        self._ends = ExitStack()

    def __enter__(self) -> Self:
        try:
            self.start_display()
            self.start_bus()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_display(self) -> None:
        """An X server on the first free number, which it tells itself."""
        reading, writing = os.pipe()
        command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "800x600x24", "-nolisten", "tcp"]
        self.x = self._start(command, pass_fds=(writing,))
        os.close(writing)
        with os.fdopen(reading) as told:
            number = told.readline().strip()
        assert number, "Xvfb did not start"
        self.display = f":{number}"

    def start_bus(self) -> None:
        """A session bus at an address that stays the same."""
        file = self.folder / "session.conf"
        (self.folder / "bus").unlink(missing_ok=True)
        file.write_text(BUS.format(socket=self.folder / "bus"))
        command = ["dbus-daemon", f"--config-file={file}", "--nofork", "--nopidfile", "--print-address"]
        self.bus = self._start(command, stdout=subprocess.PIPE)
        assert self.bus.stdout is not None
        assert self.bus.stdout.readline(), "dbus-daemon did not start"

    def start(self, home: "Home", *command: str) -> None:
        """Another program of the desktop, ended with the session."""
        self._start(list(command), env=home.environment)

    def _start(self, command: list[str], **more: object) -> "subprocess.Popen[bytes]":
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process: subprocess.Popen[bytes] = subprocess.Popen(command, **{**streams, **more})  # type: ignore[call-overload]
        self._ends.enter_context(process)
        self._ends.callback(end, process)
        return process


class Home:
    """A person's home in the session, with a root in it; a context manager. Daemons of it end with it."""

    def __init__(self, session: Session, name: str) -> None:
        self.session = session
        self.folder = session.folder / name
        self.root = self.folder / "root"
        self.state = self.folder / "state" / "janagent"

    def __enter__(self) -> Self:
        (self.root / "models").mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for daemon in self.daemons():
            daemon.terminate()
            daemon.wait(LIMIT_S)

    @property
    def own(self) -> dict[str, str]:
        """What makes it a home."""
        home = str(self.folder)
        own = {f"XDG_{name}_HOME": f"{home}/{name.lower()}" for name in ("CONFIG", "STATE", "DATA", "CACHE")}
        own |= {"HOME": home, "XDG_RUNTIME_DIR": str(self.session.folder), "TMPDIR": home}
        return own | {"JANAGENT_ROOT": str(self.root), "JANAGENT_OFFLINE": "true", "JANAGENT_PORT": "0"}

    @property
    def environment(self) -> dict[str, str]:
        """What its programs run with; nothing of the machine's own desktop gets through."""
        hidden = ("JANAGENT_", "XDG_", "WAYLAND_", "DBUS_", "PYSTRAY_", "GTK_", "GDK_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        desktop = {
            "DISPLAY": self.session.display,
            "DBUS_SESSION_BUS_ADDRESS": self.session.bus_address,
            "GDK_BACKEND": "x11",
            "GSETTINGS_BACKEND": "memory",
            "NO_AT_BRIDGE": "1",
        }
        return {**kept, **self.own, **desktop}

    def daemons(self) -> list[psutil.Process]:
        """Daemons that serve from this home, whoever started them."""
        found = []
        for note in (self.state / "daemons").glob("*.lock"):
            with contextlib.suppress(ValueError, KeyError, psutil.Error):
                found.append(psutil.Process(json.loads(note.read_text())["pid"]))
        return found


def end(process: "subprocess.Popen[bytes]") -> None:
    """SIGTERM, then SIGKILL."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()


class TrayProcess:
    """`janagent tray` as a process; a context manager that kills what is left of it."""

    def __init__(self, environment: Mapping[str, str], *flags: str) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "janagent", "tray", *flags],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        # Always read: a full pipe would hold the toolkit's thread.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, within_s: float = LIMIT_S) -> int:
        """The exit status; an AssertionError if it does not end."""
        try:
            status = self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the tray did not end within {within_s} s: {self.lines}") from None
        self._reader.join(LIMIT_S)
        return status

    @property
    def said(self) -> str:
        return "\n".join(self.lines)

    @property
    def complaints(self) -> list[str]:
        """What it said, less what GTK has to say of panels and displays: (program:pid): Gdk-WARNING ..."""
        return [
            line for line in self.lines if line and not re.match(r"\(.*:\d+\): \S+-(WARNING|CRITICAL)", line)
        ]

    def unique_bytes(self) -> int:
        """Memory that only this process holds (USS)."""
        return int(psutil.Process(self.pid).memory_full_info().uss)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_alive:
            self._process.kill()
            self._process.wait()
        self._reader.join(LIMIT_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
