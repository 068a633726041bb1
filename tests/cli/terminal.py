"""A real pseudo-terminal with a program in it, for what a person sees and types."""

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from types import TracebackType
from typing import Self

LIMIT_S = 60.0
CTRL_C = "\x03"
CTRL_D = "\x04"


class Terminal:
    """`janagent ARGUMENTS` in a terminal of 100 columns; a context manager that ends the program."""

    def __init__(self, *arguments: object, env: dict[str, str]) -> None:
        self._command = [sys.executable, "-m", "janagent", *map(str, arguments)]
        self._env = env | {"TERM": "xterm", "COLUMNS": "100"}
        self.seen = ""

    def __enter__(self) -> Self:
        self._end, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self._process = subprocess.Popen(
            self._command,
            env=self._env,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
            # Ctrl-C reaches a program only through its controlling terminal.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(inner)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        os.close(self._end)

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())

    def expect(self, text: str) -> str:
        """Wait until `text` appears after what was expected before; returns what came up to its end."""
        deadline = time.monotonic() + LIMIT_S
        while text not in self.seen:
            assert time.monotonic() < deadline, f"{text!r} did not appear in {self.seen!r}"
            if select.select([self._end], [], [], 0.1)[0]:
                data = self._read()
                assert data or text in self.seen, f"ended without {text!r}: {self.seen!r}"
                self.seen += data
        end = self.seen.index(text) + len(text)
        came, self.seen = self.seen[:end], self.seen[end:]
        return came

    def interrupt(self, text: str) -> None:
        """Ctrl-C until `text` appears: one between a prompt and its wait for keys goes unnoticed."""
        deadline = time.monotonic() + LIMIT_S
        while text not in self.seen:
            assert time.monotonic() < deadline, f"{text!r} did not appear in {self.seen!r}"
            self.type(CTRL_C)
            if select.select([self._end], [], [], 1.0)[0]:
                self.seen += self._read()
        self.expect(text)

    def wait(self) -> int:
        """The exit status; what is still written is kept in `seen`."""
        deadline = time.monotonic() + LIMIT_S
        while data := self._read():
            self.seen += data
            assert time.monotonic() < deadline, f"it does not end: {self.seen!r}"
        return self._process.wait(LIMIT_S)

    def _read(self) -> str:
        try:
            return os.read(self._end, 65536).decode("utf-8", "replace")
        except OSError:  # Linux: EIO when the program has closed its end
            return ""
