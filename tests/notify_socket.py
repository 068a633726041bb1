"""A service manager's ear: a real notify socket (sd_notify(3)) that keeps what it hears, with the time."""

import os
import socket
import tempfile
import threading
import time
from types import TracebackType
from typing import Self

from tests.daemons import until


class NotifySocket:
    """A context manager. `environment` is what a manager would give the daemon."""

    def __init__(self, *, watchdog_s: float | None = None) -> None:
        self.path = os.path.join(tempfile.mkdtemp(prefix="jn-", dir="/tmp"), "notify")
        self.environment = {"NOTIFY_SOCKET": self.path}
        if watchdog_s is not None:
            self.environment["WATCHDOG_USEC"] = str(int(watchdog_s * 1e6))
        self.heard: list[tuple[float, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> Self:
        self._socket.bind(self.path)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.sendto(b"", self.path)
        self._thread.join()
        self._socket.close()
        os.unlink(self.path)
        os.rmdir(os.path.dirname(self.path))

    def _listen(self) -> None:
        while message := self._socket.recv(65536):
            self.heard.append((time.monotonic(), message.decode()))

    def messages(self, word: str = "") -> list[str]:
        """What was heard so far and has `word` in it."""
        return [message for _, message in self.heard if word in message]

    def times(self, word: str) -> list[float]:
        """When it was heard, seconds on the monotonic clock."""
        return [at for at, message in self.heard if word in message]

    def wait(self, word: str, *, count: int = 1, within_s: float = 60.0) -> list[str]:
        """`count` messages with `word`; an AssertionError, with all that was heard, if they do not come."""
        try:
            until(lambda: len(self.messages(word)) >= count, within_s=within_s, what=word)
        except AssertionError:
            raise AssertionError(f"not heard: {word!r}, but {self.messages()}") from None
        return self.messages(word)
