"""Processes around the tray: at most one tray for each user, and the daemon that it starts where none runs.

A daemon from here is detached (a session of its own, the log in the user's state folder): it goes on when the
tray or the desktop session ends. One that was started here and crashes is started again, with growing pauses.
"""

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from janagent import paths
from janagent.tray.options import Given

PAUSES_S = (1.0, 5.0, 30.0)
"""Before a crashed daemon is started again; after the last one it is left to the person."""
STEADY_S = 120.0
"""A daemon that ran so long crashes for the first time again."""
_FORGET = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "PYSTRAY_BACKEND", "DESKTOP_STARTUP_ID")
"""Meant for the tray alone."""


class AlreadyThere(Exception):
    """This user has a tray; `pid` is its process."""

    def __init__(self, pid: str) -> None:
        super().__init__(f"the tray is there already (process {pid or 'unknown'})")


class TrayLock:
    """`with TrayLock():` entering raises AlreadyThere or OSError. The kernel drops it with the process."""

    def __init__(self) -> None:
        self._file: int | None = None

    def __enter__(self) -> Self:
        folder = paths.make_private(paths.state_dir())
        self._file = os.open(folder / "tray.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(self._file, 32, 0).decode(errors="replace").strip()
            os.close(self._file)
            raise AlreadyThere(pid) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)


class Launcher:
    """The daemon that is started here, if any. `now` is `time.monotonic()`. For one thread."""

    def __init__(self, given: Given, *, log_file: Path) -> None:
        self._command = [sys.executable, "-m", "janagent", "serve", *given.flags()]
        self._log_file = log_file
        self._process: subprocess.Popen[bytes] | None = None
        self._log_begin = 0
        self._started_at = 0.0
        self._crashes = 0
        self._again_at: float | None = None

    @property
    def is_running(self) -> bool:
        """The process that was started here is alive; it need not answer yet."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, now: float) -> None:
        """Start a daemon, detached. Raises OSError."""
        if self.is_running:
            return
        self._again_at, self._started_at = None, now
        environment = {name: value for name, value in os.environ.items() if name not in _FORGET}
        log = self._open_log()
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd="/",
                env=environment,
                start_new_session=True,
            )
        finally:
            if log != subprocess.DEVNULL:
                os.close(log)

    def _open_log(self) -> int:
        """The daemon's own log file: what it says before it can log, and what C code says, goes there too."""
        try:
            paths.make_private(self._log_file.parent)
            log = os.open(self._log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._log_begin = os.fstat(log).st_size
            return log
        except OSError:
            return subprocess.DEVNULL

    def ended(self, *, now: float) -> str | None:
        """Why the daemon that was started here has ended, once; None while there is nothing to tell.

        One that crashed is started again by `again`, a few times.
        """
        if self._process is None or (status := self._process.poll()) is None:
            return None
        self._process = None
        if status == 0:
            return ""
        if now - self._started_at > STEADY_S:
            self._crashes = 0
        if status > 0:
            return self._last_words() or f"janagent ended with exit status {status}"
        if self._crashes < len(PAUSES_S):
            self._again_at = now + PAUSES_S[self._crashes]
            self._crashes += 1
            return f"janagent was ended by signal {-status}; it is started again"
        return f"janagent was ended by signal {-status} too often"

    def again(self, *, now: float) -> bool:
        """It is time to start it again."""
        return self._again_at is not None and now >= self._again_at

    def give_up(self) -> None:
        """Do not start it again: somebody else did."""
        self._again_at = None

    def end(self) -> None:
        """Tell the daemon that was started here to end, even if it does not listen yet."""
        self._again_at = None
        if self.is_running:
            assert self._process is not None
            self._process.terminate()

    def _last_words(self) -> str:
        """What the daemon printed for the person before it gave up."""
        try:
            with self._log_file.open("rb") as log:
                log.seek(self._log_begin)
                said = log.read(65536).decode(errors="replace").splitlines()
        except OSError:
            return ""
        told = [line.removeprefix("janagent: ") for line in said if line.startswith("janagent: ")]
        return told[-1] if told else ""
