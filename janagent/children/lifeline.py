"""A child program's pipes to its parent: stdin, which carries the spec and keeps the child alive, and the
status lines. The other ends are in `spawn`; the programs are `engine` and `fetch`.

A small daemon thread reads stdin, because it must notice the parent's death while the main thread is inside a
C call that takes minutes. It must not know what the spec means.
"""

import errno
import os
import queue
import select
import sys
import threading

from janagent.children.wire import STATUS_FD_VARIABLE, ExitCode, Stats, StatusLine, encode

_BLOCK_BYTES = 65536
_MAX_SPEC_BYTES = 1 << 20


class Lifeline:
    """Reads the first line of stdin, then exits the whole process at end-of-file."""

    def __init__(self) -> None:
        self._first: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def start(self) -> None:
        """Start the reading thread; there is no stop, it lives as long as the process."""
        threading.Thread(target=self._read, name="lifeline", daemon=True).start()

    def first_line(self) -> bytes:
        """Wait for the first line, without its newline. Never returns if the parent goes away before."""
        return self._first.get()

    def _read(self) -> None:
        head = b""
        given = False
        while block := _read_stdin():
            if given:
                continue
            head += block
            if b"\n" in head or len(head) > _MAX_SPEC_BYTES:
                self._first.put(head.partition(b"\n")[0])
                given, head = True, b""
        # os._exit, because a C call that cannot be interrupted must not keep the process.
        os._exit(ExitCode.PARENT_GONE)


def _read_stdin() -> bytes:
    try:
        return os.read(0, _BLOCK_BYTES)
    except OSError:
        return b""


class StatusPipe:
    """Writes status lines to the descriptor the parent named; to stderr when started by hand."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        #: set once the worker listens; from then on its end is a crash, not a failed load
        self.is_ready = False

    @classmethod
    def from_environment(cls) -> "StatusPipe":
        """The pipe named by JANAGENT_STATUS_FD.

        The variable is removed, so that no grandchild inherits it.
        """
        named = os.environ.pop(STATUS_FD_VARIABLE, "")
        fd = int(named) if named.isdigit() else sys.stderr.fileno()
        if named:
            os.set_inheritable(fd, False)
            os.set_blocking(fd, False)
        return cls(fd)

    def send(self, message: StatusLine) -> None:
        """Write one line. Stats are dropped when the pipe is full, so a busy parent never stalls answers."""
        line = encode(message)
        with self._lock:
            while line:
                try:
                    line = line[os.write(self._fd, line) :]
                except BlockingIOError:
                    if isinstance(message, Stats):
                        return
                    select.select([], [self._fd], [], 1.0)
                except OSError as error:
                    if error.errno in (errno.EPIPE, errno.EBADF):
                        os._exit(ExitCode.PARENT_GONE)
                    raise
