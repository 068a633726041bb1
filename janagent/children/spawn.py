"""One child process: how it is started, heard, told to stop, and how its end is learnt.

Owns the process, its three pipes and its process group. It must not know what the child is for or what its
status means; `pool`, `machine` and the executor do. The neighbours are `pipes` (bytes), `sinks` (what
they carry), `exits` (words) and `wire` (the other side's view of the same pipes).

The end of a child is learnt from the process alone: a thread waits for it, so that it works the same on
Linux and macOS and does not depend on who still holds a pipe. Our end of a child's stdin is its lifeline. No
other child can inherit it: Python creates descriptors close-on-exec and `Popen` closes all but `pass_fds`.
"""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

import psutil

from janagent.children import wire
from janagent.children.exits import Exit, classify_exit
from janagent.children.logs import LogRing
from janagent.children.pipes import PipeReader, PipeWriter
from janagent.children.sinks import LogSink, StatusQueue
from janagent.redact import is_secret_name

log = logging.getLogger(__name__)

_SUPERVISION = frozenset(
    {"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}
)
"""Variables by which systemd talks to the daemon itself (sd_notify(3), sd_listen_fds(3))."""


class Child:
    """A running or ended child process; made by `spawn`, used on that event loop only."""

    def __init__(
        self, process: subprocess.Popen[bytes], *, name: str, logs: LogRing, stdin: PipeWriter
    ) -> None:
        self.pid = process.pid
        self.name = name
        self.logs = logs
        self.exit: Exit | None = None
        self._process = process
        self._stdin = stdin
        self._readers: list[PipeReader] = []
        self._statuses = StatusQueue(lambda text: self.logs.add(f"janagent: {text}"))
        self._ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._is_term_sent = False
        self._is_kill_sent = False

    @classmethod
    async def spawn(
        cls,
        argv: Sequence[str],
        *,
        logs: LogRing,
        name: str,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
    ) -> "Child":
        """Start `argv` in a session and process group of its own. Raises OSError when that is impossible.

        `env` is laid over the daemon's own environment, which goes along without its secrets. `cwd` is the
        root folder by default, so that no child keeps a disk from being unmounted.
        """
        return cls._launch(argv, logs=logs, name=name, env=child_environment(env), cwd=cwd)

    @classmethod
    def _launch(
        cls, argv: Sequence[str], *, logs: LogRing, name: str, env: dict[str, str], cwd: str
    ) -> "Child":
        # Not asynchronous on purpose: a cancellation between the start and the watch would lose a process
        # that runs. It takes a millisecond.
        with contextlib.ExitStack() as opened:
            stdin_read, stdin_write = _pipe(opened)
            output_read, output_write = _pipe(opened)
            status_read, status_write = _pipe(opened)
            process = subprocess.Popen(
                argv,
                stdin=stdin_read,
                stdout=output_write,
                stderr=output_write,
                pass_fds=(status_write,),
                env=env | {wire.STATUS_FD_VARIABLE: str(status_write)},
                cwd=cwd,
                start_new_session=True,
            )
            opened.pop_all()
        for fd in (stdin_read, output_write, status_write):
            os.close(fd)
        child = cls(process, name=name, logs=logs, stdin=PipeWriter(stdin_write))
        try:
            child._start(output_fd=output_read, status_fd=status_read)
        except BaseException:  # no thread to be had: nobody would ever learn how the process ends
            process.kill()
            process.wait()
            raise
        return child

    def _start(self, *, output_fd: int, status_fd: int) -> None:
        output = LogSink(lambda: self.logs)
        self._readers = [output.read_from(output_fd), self._statuses.read_from(status_fd)]
        for reader in self._readers:
            reader.start()
        waiting = (self._process, asyncio.get_running_loop(), self._on_exit)
        threading.Thread(
            target=_wait_in_thread, args=waiting, name=f"wait for {self.pid}", daemon=True
        ).start()

    def _on_exit(self) -> None:
        """The process is gone; whatever it left in its group goes too, or memory would not be given back."""
        self._signal_group(signal.SIGKILL)
        returncode = self._process.wait()
        try:
            for reader in self._readers:
                reader.finish()
        finally:
            self._stdin.close()
            self.exit = classify_exit(returncode, is_killed_by_us=self._is_kill_sent)
            log.debug("%s (pid %d) ended: %s", self.name, self.pid, self.exit.message)
            self._ended.set_result(self.exit)

    def adopt(self, *, name: str, logs: LogRing) -> None:
        """Call the child `name` and let it write to `logs`; what it wrote so far moves there."""
        logs.take_over(self.logs)
        self.name, self.logs = name, logs

    @property
    def is_alive(self) -> bool:
        """False as soon as the process has ended, even if `wait` has not returned yet."""
        if self.exit is not None or self._process.returncode is not None:
            return False
        if not hasattr(os, "waitid"):
            return True
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:
            return False

    async def send(self, line: bytes) -> None:
        """Write one line to the child's stdin. A child that does not read it is no error: it will exit."""
        await self._stdin.write(line if line.endswith(b"\n") else line + b"\n")

    async def status(self) -> AsyncGenerator[wire.StatusLine, None]:
        """What the child reports, until it closes its status pipe or ends. One reader at a time."""
        while (line := await self._statuses.next()) is not None:
            yield line

    async def wait(self) -> Exit:
        """The end of the child. Any number of waiters, any number of times."""
        return await asyncio.shield(self._ended)

    async def stop(self, *, grace_s: float) -> Exit:
        """End the whole group: SIGTERM, `grace_s` to comply, SIGKILL. At once when `grace_s` is 0."""
        if self.exit is None and grace_s > 0:
            if not self._is_term_sent:
                self._is_term_sent = True
                self._signal_group(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    return await self.wait()
            self.logs.add(f"janagent: {self.name} did not stop within {grace_s:g} s and is killed")
        self.kill()
        return await self.wait()

    def kill(self) -> None:
        """SIGKILL to the group; returns at once, `wait` tells when it has worked."""
        if self.is_alive:
            self._is_kill_sent = True
            self._signal_group(signal.SIGKILL)

    def memory_bytes(self) -> int:
        """Resident memory, mapped model files included; 0 once it ended."""
        return self._memory()[0]

    def held_bytes(self) -> int:
        """The part of `memory_bytes` that nobody gets back before the child ends.

        Linux counts clean pages of a mapped model file as available memory already, so only the rest may be
        added to it; elsewhere this is all resident memory.
        """
        resident, shared = self._memory()
        return max(resident - shared, 0)

    def _memory(self) -> tuple[int, int]:
        if self.exit is None:
            with contextlib.suppress(psutil.Error):
                memory = psutil.Process(self.pid).memory_info()
                return memory.rss, getattr(memory, "shared", 0)
        return 0, 0

    def _signal_group(self, number: signal.Signals) -> None:
        # Before the exit is reaped the group's id cannot belong to anybody else. macOS answers EPERM for a
        # group of which only a zombie is left.
        if self.exit is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The daemon's environment less its secrets and its ties to systemd, then `extra` as it is."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in _SUPERVISION and not is_secret_name(name)
    }
    # Last words before an abort must not die in a buffer; a crash in C code should show its Python frames.
    # And ggml would run a debugger for its backtrace, which holds the dying process for seconds.
    own = {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1", "GGML_NO_BACKTRACE": "1"}
    return inherited | own | dict(extra or {})


def _pipe(opened: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe whose ends are closed should the start fail."""
    read, write = os.pipe()
    opened.callback(os.close, read)
    opened.callback(os.close, write)
    return read, write


def _wait_in_thread(
    process: subprocess.Popen[bytes], loop: asyncio.AbstractEventLoop, on_exit: Callable[[], None]
) -> None:
    if hasattr(os, "waitid"):
        # Without reaping: until the loop has dealt with the rest of the group, its id stays taken.
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    else:
        process.wait()
    try:
        loop.call_soon_threadsafe(on_exit)
    except RuntimeError:  # the loop is closed, nobody is left to hear it
        process.wait()
