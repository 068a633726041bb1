"""A large folder: start, list, drop-to-listed, idle cost and memory with 10,000 manifests in 1,000 folders.

The manifests describe models whose binaries are not there, and fetching is switched off, so that the folder
alone is measured. Memory is the daemon's own resident set (what `ps` shows); the part that it shares with
nobody (USS) stands beside it. A second daemon with ten real models gives the figure of an ordinary folder.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

import aiohttp

from janagent import aio
from tests.benchmarks import peers
from tests.benchmarks.calm import tree_s, undisturbed, wait
from tests.benchmarks.peers import Peer
from tests.benchmarks.report import Line, Plan, Section, percentile, spread, verdict

FOLDERS = 1_000
IN_EACH = 10
EVENT_LIMIT_S = 10.0
MB = 1_000_000


async def measure(plan: Plan) -> Section:
    """All figures of the folder, the big one first."""
    with tempfile.TemporaryDirectory(prefix="jan-bench-") as folder:
        root = Path(folder)
        await asyncio.to_thread(_fill, root / "models")
        starts = [await undisturbed(plan, partial(_start_s, root)) for _ in range(1 if plan.quick else 4)]
        async with peers.daemon(root, offline="true") as daemon:
            lines = [_line("ready with 10,000 manifests", starts, 2.0, "s")]
            lines += await _lists(daemon, plan)
            lines += await _drops(daemon, root / "models", plan)
            await wait(plan)
            lines += [await _idle(daemon, plan), _memory("with 10,000 manifests", daemon, 120)]
    lines.append(await _ten_models(plan))
    how = f"{FOLDERS * IN_EACH:,} manifests in {FOLDERS:,} folders; drops are timed by `/v1/events`."
    return Section("A large folder", how, lines)


def _fill(models: Path) -> None:
    for number in range(FOLDERS):
        folder = models / f"author-{number % 40:02}" / f"repo-{number:04}"
        folder.mkdir(parents=True)
        for at in range(IN_EACH):
            (folder / f"model-{number:04}-{at}.json").write_bytes(_manifest(number * IN_EACH + at))


def _manifest(number: int) -> bytes:
    """As the specification's own example has it."""
    return json.dumps(
        {
            "origin": f"bench/model-{number:05}-GGUF",
            "import_format": "thebloke",
            "download_url": f"model-{number:05}.Q2_K.gguf",
            "parameters": {
                "init": {"ctx_len": 2048, "ngl": 100, "embedding": True, "n_parallel": 4},
                "runtime": {"temperature": "0.7", "token_limit": "2048", "top_k": "", "top_p": ".."},
            },
            "metadata": {"engine": "llamacpp"},
        },
        indent=2,
    ).encode()


def _line(what: str, values: list[float], limit: float, unit: str) -> Line:
    found = spread(values)
    text = found.text(2 if unit == "s" else 0, f" {unit}")
    return Line(what, text, f"< {limit:g} {unit}", verdict(ok=found.middle < limit))


async def _start_s(root: Path, attempt: int) -> float:
    async with peers.daemon(root, offline="true") as daemon:
        return daemon.ready_s


async def _lists(daemon: Peer, plan: Plan) -> list[Line]:
    times_ms, size, number = [], 0, 0
    async with daemon.target.session() as session:
        for _ in range(5 if plan.quick else 20):
            begun = perf_counter()
            async with session.get(f"{daemon.target.base_url}/v1/models") as answer:
                body = await answer.read()
            times_ms.append((perf_counter() - begun) * 1000)
            size, number = len(body), len(json.loads(body)["data"])
    whole = number == FOLDERS * IN_EACH
    listed = Line("models listed when ready", f"{number:,}", f"{FOLDERS * IN_EACH:,}", verdict(ok=whole))
    return [listed, _line(f"GET /v1/models ({size / MB:.1f} MB)", times_ms, 100, "ms")]


async def _drops(daemon: Peer, models: Path, plan: Plan) -> list[Line]:
    """Write a manifest somewhere in the tree and wait for its event."""
    random, times_ms, lost = Random(7), [], 0
    async with _listed(daemon) as listed:
        for number in range(30 if plan.quick else 200):
            at = random.randrange(FOLDERS)
            path = models / f"author-{at % 40:02}" / f"repo-{at:04}" / f"dropped-{number:03}.json"
            seen = listed.setdefault(path.stem, asyncio.get_running_loop().create_future())
            path.write_bytes(_manifest(FOLDERS * IN_EACH + number))
            begun = perf_counter()
            try:
                async with asyncio.timeout(EVENT_LIMIT_S):
                    times_ms.append((await seen - begun) * 1000)
            except TimeoutError:
                lost += 1
                times_ms.append(EVENT_LIMIT_S * 1000)
            # Not in step with any timer of the daemon's.
            await asyncio.sleep(random.uniform(0.05, 0.25))
    middle, late = percentile(times_ms, 0.5), percentile(times_ms, 0.99)
    count = f"{len(times_ms)} drops" + (f", {lost} never listed" if lost else "")
    return [
        Line(f"drop to listed, p50 ({count})", f"{middle:.0f} ms", "< 50 ms", verdict(ok=middle < 50)),
        Line("drop to listed, p99", f"{late:.0f} ms", "< 250 ms", verdict(ok=late < 250)),
    ]


@asynccontextmanager
async def _listed(daemon: Peer) -> AsyncIterator[dict[str, asyncio.Future[float]]]:
    """Futures by model id, each set to the moment at which `/v1/events` first told of that model."""
    waiting: dict[str, asyncio.Future[float]] = {}
    begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def follow(response: aiohttp.ClientResponse) -> None:
        async for kind, data in sse(response):
            if kind == "snapshot":
                begun.set_result(None)
            elif kind == "model" and (future := waiting.get(data["id"])) and not future.done():
                future.set_result(perf_counter())

    forever = aiohttp.ClientTimeout(total=None)
    async with daemon.target.session() as session:
        url = f"{daemon.target.base_url}/v1/events"
        async with session.get(url, timeout=forever) as response:
            reader = aio.create_task(follow(response), name="events")
            async with asyncio.timeout(30):
                await begun
            yield waiting
            await aio.cancel_and_wait(reader)


async def sse(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any]]:
    """Kind and JSON of each server-sent event, of any length: a snapshot has several MB."""
    buffer = bytearray()
    async for chunk in response.content.iter_any():
        buffer += chunk
        while (end := buffer.find(b"\n\n")) >= 0:
            block, buffer = bytes(buffer[:end]), buffer[end + 2 :]
            fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if b": " in line[1:])
            if b"data" in fields:
                yield fields.get(b"event", b"message").decode(), json.loads(fields[b"data"])


async def _idle(daemon: Peer, plan: Plan) -> Line:
    """CPU of the daemon and its children over a time that holds slow rescans, nothing happening."""
    await asyncio.sleep(3)
    window_s = 15 if plan.quick else 120
    before, begun = tree_s(daemon.process), perf_counter()
    await asyncio.sleep(window_s)
    percent = (tree_s(daemon.process) - before) / (perf_counter() - begun) * 100
    return Line(f"idle CPU over {window_s} s", f"{percent:.2f} %", "< 0.5 %", verdict(ok=percent < 0.5))


def _memory(what: str, daemon: Peer, limit_mb: int) -> Line:
    info = daemon.process.memory_full_info()
    mb = info.rss / MB
    figure = f"{mb:.0f} MB ({info.uss / MB:.0f} MB its own)"
    return Line(f"daemon memory {what}", figure, f"< {limit_mb} MB", verdict(ok=mb < limit_mb))


async def _ten_models(plan: Plan) -> Line:
    with tempfile.TemporaryDirectory(prefix="jan-bench-") as folder:
        models = Path(folder) / "models"
        for number in range(10):
            (models / f"model-{number}").mkdir(parents=True)
            peers.place_model(models / f"model-{number}" / f"model-{number}.gguf")
        async with peers.daemon(Path(folder)) as daemon, daemon.target.session() as session:
            for _ in range(3):
                async with session.get(f"{daemon.target.base_url}/v1/models") as answer:
                    await answer.read()
            await asyncio.sleep(2)
            return _memory("with ten models", daemon, 70)
