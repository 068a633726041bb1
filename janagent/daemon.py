"""The daemon, from lock to last breath, as one visible sequence. Called by `janagent serve`.

It assembles: lock, log, runtime, HTTP, signals; and takes apart in the reverse order. It decides nothing.
"""

import asyncio
import contextlib
import ctypes
import errno
import faulthandler
import gc
import logging
import logging.handlers
import os
import resource
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import web

from janagent import __version__, aio, paths
from janagent.config import Settings, url_of
from janagent.http.app import build_app, make_runner
from janagent.lock import DaemonLock, RootHeld
from janagent.redact import RedactingFilter
from janagent.reloading import Terminal, reload
from janagent.runtime import Runtime
from janagent.sdnotify import Notifier, status
from janagent.slices import ask_for_short_slices
from janagent.supervision import Supervision, watchdog

log = logging.getLogger(__name__)

LOG_FILE_BYTES = 5_000_000
LOG_FILES_KEPT = 3
BACKLOG = 1024


class StartFailed(Exception):
    """The daemon cannot run; the message says what to change."""


def run(settings: Settings, *, reread: Callable[[], Settings] = Settings.load) -> int:
    """Serve until a signal or `POST /v1/shutdown`; returns the exit status (1: it could not start).

    `reread` gives the settings as they are now; SIGHUP asks for it.
    """
    notifier = Notifier.from_environment()
    # Inherited as "ignored" it makes the kernel throw exit statuses away: every crash would look clean.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _allow_no_dumps()
    faulthandler.enable()  # a service manager ends a daemon that hangs with SIGABRT; this says where it hung
    ask_for_short_slices()
    try:
        with DaemonLock(settings.root) as lock:
            set_up_logging(settings)
            aio.run(_serve(settings, lock, notifier, reread))
    except (RootHeld, StartFailed, OSError) as error:
        print(f"janagent: {error}", file=sys.stderr)
        return 1
    return 0


def _allow_no_dumps() -> None:
    """A dump of the memory would hold every key, those in the environment of children included, which inherit
    this. Whoever wants one of an engine raises the limit again with prlimit(1)."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def set_up_logging(settings: Settings) -> None:
    """Everything to the log file, and to stderr unless that is this file; secrets are taken out of both."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    path = paths.log_file(settings.root)
    try:
        paths.make_private(path.parent)
        file = logging.handlers.RotatingFileHandler(path, maxBytes=LOG_FILE_BYTES, backupCount=LOG_FILES_KEPT)
        handlers = [file] if _is_stderr(path) else [*handlers, file]
    except OSError as error:
        print(f"janagent: no log file: {error}", file=sys.stderr)
    for handler in handlers:
        handler.addFilter(RedactingFilter())
    logging.basicConfig(
        level=settings.log_level.value.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=handlers,
        force=True,
    )


def _give_back_heap() -> None:
    """What reading the folder needed for a moment goes back to the system: 3 MB after 10,000 manifests.

    glibc keeps it otherwise (malloc_trim(3)); other C libraries have no such call.
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _is_stderr(path: Path) -> bool:
    """The tray starts a daemon so, and the log would hold every line twice."""
    try:
        return os.path.samestat(os.fstat(2), path.stat())
    except OSError:
        return False


async def _serve(
    settings: Settings, lock: DaemonLock, notifier: Notifier, reread: Callable[[], Settings]
) -> None:
    stop = asyncio.Event()
    terminal = Terminal()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    listeners = _listen(settings)  # before anything is started: a taken port is the likeliest failure
    gc.disable()  # what a large folder holds all stays: looking for garbage in it would double the time
    async with AsyncExitStack() as stack:
        for listener in listeners:
            stack.callback(listener.close)
        await stack.enter_async_context(watchdog(notifier))
        notifier.send(status(f"reading {settings.models_dir}"))
        sockets = stack.enter_context(paths.socket_folder())
        runtime = await stack.enter_async_context(Runtime(settings, sockets=sockets))
        _give_back_heap()
        gc.freeze()  # nor does any later collection need to look at it
        gc.enable()
        app = build_app(runtime, settings)
        runner = make_runner(app, settings)
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        await _open(runner, listeners, settings)
        port = listeners[0].getsockname()[1]
        url = url_of(settings.bind_hosts[0], port, tls=settings.tls_cert is not None)
        lock.publish(url)
        _say_ready(url, runtime, settings)
        supervision = await stack.enter_async_context(Supervision(notifier, runtime, url=url))

        def hang_up() -> None:
            if terminal.is_gone:
                stop.set()
            else:
                with supervision.reloading():
                    reload(reread, runtime=runtime, app=app)

        loop.add_signal_handler(signal.SIGHUP, hang_up)
        await _until_stopped(stop, runtime)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, runtime.hurry)
        loop.add_signal_handler(signal.SIGHUP, lambda: None)
        supervision.stopping()
        _arm_dead_man(runtime.settings.longest_stop_s)
        lock.publish("")
        for site in list(runner.sites):
            await site.stop()
        await runtime.drain()


def _arm_dead_man(limit_s: float) -> None:
    """End the process if an orderly end takes too long: a thread may hang in a disk that went away.

    The children end by their lifelines.
    """

    def give_up() -> None:
        log.critical("the orderly end took more than %.0f s; leaving without it", limit_s)
        os._exit(1)

    timer = threading.Timer(limit_s, give_up)
    timer.daemon = True
    timer.start()


async def _until_stopped(stop: asyncio.Event, runtime: Runtime) -> None:
    waits = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(runtime.shutdown_wanted.wait())]  # noqa: TID251
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    log.info("stopping: answers may finish for %.0f s", runtime.settings.drain_s)


def _listen(settings: Settings) -> list[socket.socket]:
    """Bound sockets, the same port on every address. Raises StartFailed in words."""
    listeners: list[socket.socket] = []
    port = settings.port
    for host in settings.bind_hosts:
        try:
            listener = _bind(host, port)
        except OSError as error:
            if listeners and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                continue  # a machine without IPv6
            for made in listeners:
                made.close()
            raise StartFailed(_why_not_bound(host, port, error)) from error
        port = listener.getsockname()[1]
        listeners.append(listener)
    return listeners


def _bind(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
    except BaseException:
        listener.close()
        raise
    return listener


def _why_not_bound(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken by another program; stop it, or set --port"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights; use a port above 1023"
    return f"cannot listen on {host} port {port}: {error.strerror or error}"


async def _open(runner: web.AppRunner, listeners: list[socket.socket], settings: Settings) -> None:
    context = _tls(settings.tls_cert, settings.tls_key)
    for listener in listeners:
        await web.SockSite(runner, listener, ssl_context=context, backlog=BACKLOG).start()


def _tls(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise StartFailed(f"tls_cert {cert} and tls_key {key} cannot be used: {error}") from error
    return context


def _say_ready(url: str, runtime: Runtime, settings: Settings) -> None:
    statuses = runtime.statuses()
    print(f"janagent {__version__} ready on {url}", flush=True)
    print(f"  {len(statuses)} model{'s' * (len(statuses) != 1)} in {settings.models_dir}", flush=True)
    for notice in runtime.notices:
        print(f"  note: {notice}", flush=True)
    for line in next_steps(url, statuses[0].id if statuses else None, settings):
        print(f"  {line}", flush=True)


def next_steps(url: str, model_id: str | None, settings: Settings) -> list[str]:
    """What a person may try now, in another terminal."""
    if model_id is None:
        return [f"drop a .gguf file into {settings.models_dir}, or run: janagent starter"]
    return [
        "try, in another terminal:",
        "  janagent ls",
        f'  janagent chat {model_id} "Why is the sky blue?"',
        f"  curl -s {url}/v1/models",
        "or from the desktop's tray: janagent tray",
    ]
