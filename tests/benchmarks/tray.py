"""The tray's memory, how soon the menu says what happened, and how it bears a thousand events in ten seconds.

A real session (Xvfb, a bus), the real toolkit, and for the events a server that speaks the daemon's API: a
real daemon does not change a thousand times in ten seconds. Linux only.
"""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from typing import Any

import psutil

from tests.benchmarks.report import Line, Plan, Section, percentile, spread, verdict
from tests.daemons import Daemon, starter_gguf
from tests.tray.bus import Menu
from tests.tray.session import Home, Session, TrayProcess

EVENTS, EVENTS_S = 1000, 10.0
MODELS = 15
MB = 1e6


async def measure(plan: Plan) -> Section:
    """In a thread: everything here blocks."""
    return await asyncio.to_thread(_measure, plan)


def _measure(plan: Plan) -> Section:
    if not sys.platform.startswith("linux"):
        raise RuntimeError("the tray's toolkit is measured on Linux only")
    with Session() as session:
        idle_mb, model_mb, visible_s = _with_a_daemon(session, rounds=plan.rounds * (2 if plan.quick else 6))
        flood = _flood(session)
    seen = spread([1e3 * one for one in visible_s])
    late_ms = 1e3 * percentile(visible_s, 0.95)
    answer_ms = 1e3 * max(flood.answers_s)
    flooded = f"{EVENTS} events in {EVENTS_S:.0f} s: slowest of {len(flood.answers_s)} answers over D-Bus"
    rate = flood.drawn / EVENTS_S
    lines = [
        Line("memory without models", f"{idle_mb:.0f} MB", "< 60 MB", verdict(ok=idle_mb < 60)),
        Line("- with some", f"{model_mb:.0f} MB", "< 60 MB", verdict(ok=model_mb < 60)),
        Line("a file saved to its words, p95", f"{late_ms:.0f} ms", "< 600 ms", verdict(ok=late_ms < 600)),
        Line("- median", seen.text(0, " ms")),
        Line(flooded, f"{answer_ms:.0f} ms", "< 200 ms", verdict(ok=answer_ms < 200)),
        Line("- menus drawn a second", f"{rate:.1f}", "<= 2", verdict(ok=rate <= 2.0)),
        Line("- memory grows by", f"{flood.grown_mb:.1f} MB", "< 3 MB", verdict(ok=flood.grown_mb < 3)),
        Line("- processor", f"{100 * flood.cpu_s / EVENTS_S:.0f} % of a core"),
    ]
    how = f"Xvfb, a session bus without a panel, {MODELS} models in the flood; memory is what only it holds."
    return Section("Tray", how, lines)


def _with_a_daemon(session: Session, *, rounds: int) -> tuple[float, float, list[float]]:
    """Memory without and with models, and seconds from a saved file to its words in the menu."""
    with (
        Home(session, "daemon") as home,
        Daemon(home.folder, env=home.own, root=home.root, hot_load="never") as daemon,
        TrayProcess(home.environment) as tray,
        Menu(session.bus_address, tray.pid) as menu,
    ):
        menu.wait("janagent: no models yet")
        time.sleep(2.0)
        idle_mb = tray.unique_bytes() / MB
        daemon.drop("smol", {}, gguf=starter_gguf())
        menu.wait("smol: *")
        visible_s = []
        for number in range(rounds):
            time.sleep(1.0)  # as on a day without a flood, the last drawing is long over
            saved = time.monotonic()
            daemon.drop("fault", {"parameters": {"init": {"ctx_len": f"x{number}"}}})
            menu.until(lambda root, n=number: any(f'"x{n}"' in label for label in root.labels()))
            visible_s.append(time.monotonic() - saved)
        return idle_mb, tray.unique_bytes() / MB, visible_s


class Flood:
    """What was seen of it."""

    drawn = 0
    grown_mb = 0.0
    cpu_s = 0.0

    def __init__(self) -> None:
        self.answers_s: list[float] = []


def _flood(session: Session) -> Flood:
    """A thousand changes, each of them visible, while somebody looks at the menu all the time."""
    flood = Flood()
    with (
        Home(session, "flood") as home,
        _server() as (url, events),
        TrayProcess(home.environment | {"JANAGENT_PORT": url.rsplit(":", 1)[1]}) as tray,
        Menu(session.bus_address, tray.pid) as menu,
    ):
        menu.wait("janagent: nothing is running")
        _send(events, 50, 2.0)  # what a first drawing takes for good is not growth
        process = psutil.Process(tray.pid)
        before_mb, cpu = tray.unique_bytes() / MB, process.cpu_times()
        sender = threading.Thread(target=_send, args=(events, EVENTS, EVENTS_S))
        sender.start()
        last = None
        while sender.is_alive():
            begun = time.monotonic()
            root = menu.read()
            flood.answers_s.append(time.monotonic() - begun)
            words = [item.label for item in root.items]
            flood.drawn += last is not None and words != last
            last = words
            time.sleep(0.01)
        sender.join()
        after = process.cpu_times()
        flood.cpu_s = after.user + after.system - cpu.user - cpu.system
        menu.wait(f"m{(EVENTS - 1) % MODELS}: {EVENTS - 1} done")
        flood.grown_mb = tray.unique_bytes() / MB - before_mb
    return flood


def _model(number: int) -> dict[str, Any]:
    """The model object after that many changes: every second one moves it to another part of the menu."""
    name = f"m{number % MODELS}"
    body: dict[str, Any] = {
        "id": name,
        "path": f"models/{name}.json",
        "binaries": [{}],
        "state": "downloading",
    }
    if number % 2:
        return body | {"state": "failed", "error": {"code": "engine_failed", "message": f"{number} done"}}
    progress = {"done_bytes": number, "total_bytes": EVENTS, "bytes_per_s": 1e6 * number}
    return body | {"state": "downloading", "progress": progress}


def _send(events: "SimpleQueue[bytes]", count: int, within_s: float) -> None:
    begun = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, begun + within_s * number / count - time.monotonic()))
        events.put(b"event: model\ndata: %b\n\n" % json.dumps(_model(number)).encode())


@contextmanager
def _server() -> Iterator[tuple[str, "SimpleQueue[bytes]"]]:
    """A daemon as far as the tray can tell; its address, and what it is to send."""
    events: SimpleQueue[bytes] = SimpleQueue()
    machine = {"memory_used_bytes": 0, "memory_budget_bytes": 1, "downloads_paused": False, "version": "0"}
    models = [{"id": f"m{n}", "state": "downloaded", "binaries": [{}]} for n in range(MODELS)]
    first = json.dumps({"models": models, "machine": machine}).encode()

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/v1/events" else 404)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            if self.path == "/v1/events":
                self.wfile.write(b"event: snapshot\ndata: %b\n\n" % first)
                while event := events.get():
                    self.wfile.write(event)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", events
        finally:
            events.put(b"")
            server.shutdown()
            thread.join()
