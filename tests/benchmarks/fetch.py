"""One large file from the tests' hub: janagent's fetcher against curl with sha256sum, and huggingface_hub.

Every contender is a process of its own and reads from the same hub on loopback; curl alone, which checks
nothing, is shown beside them. Then the same file through the daemon, which must answer meanwhile, and many
small manifests at once.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter

import aiohttp
import psutil

from janagent import aio
from janagent.children import wire
from janagent.fetch.transfer import Limits
from janagent.folder.records import record_path
from tests.benchmarks import blocked, peers
from tests.benchmarks.calm import undisturbed
from tests.benchmarks.report import Line, Plan, Section, spread, verdict
from tests.fetch.hub import TestHub
from tests.gguf_files import write_model

LARGE_BYTES = 2_000_000_000
QUICK_BYTES = 50_000_000
MANIFESTS = 200
QUICK_MANIFESTS = 10
MEMORY_LIMIT_MB = 120
BLOCKED_LIMIT_MS = 50
MAX_DOWNLOADS = 2
IDLE_S = 5.0
LIMIT_S = 300.0
REPO, NAME = "bench/large", "large.gguf"
MANIFEST = "bench.json"
HUB_DOWNLOAD = """
import sys, time
from huggingface_hub import hf_hub_download
begun = time.perf_counter()
hf_hub_download(sys.argv[2], sys.argv[3], endpoint=sys.argv[1], local_dir=sys.argv[4], token=False)
print(time.perf_counter() - begun)
"""
"""It tells its time itself: the imports of a library are not its transfer."""


async def measure(plan: Plan) -> Section:
    """Seconds of each contender and their ratios, the fetcher's memory, and the daemon's part."""
    size_bytes = QUICK_BYTES if plan.quick else LARGE_BYTES
    times: dict[str, list[float]] = {
        "janagent": [],
        "curl + sha256sum": [],
        "huggingface_hub": [],
        "curl": [],
    }
    memory: list[float] = []
    with tempfile.TemporaryDirectory(prefix="jan-bench-") as folder, TestHub() as hub:
        source = Path(folder) / "source"
        await asyncio.to_thread(_fill, source, size_bytes)
        hub.add_repo(REPO, {NAME: source})
        for number in range(plan.rounds):
            contenders = _contenders(hub, memory)
            order = list(contenders.items())[:: 1 if number % 2 else -1]
            for name, took_s in (await undisturbed(plan, partial(_turns, order, Path(folder)))).items():
                times[name].append(took_s)
            print(
                "  " + " / ".join(f"{name} {took[-1]:.2f} s" for name, took in times.items()), file=sys.stderr
            )
        calm = await undisturbed(plan, lambda attempt: _blocked(hub))
    many = await _many(QUICK_MANIFESTS if plan.quick else MANIFESTS)
    lines = []
    for name in ("curl + sha256sum", "huggingface_hub"):
        ratio = spread([theirs / mine for theirs, mine in zip(times[name], times["janagent"], strict=True)])
        lines.append(
            Line(f"throughput against {name}", ratio.text(2, "x"), ">= 1.0x", verdict(ok=ratio.middle >= 1.0))
        )
    lines += [
        Line(f"throughput, {name}", spread([size_bytes / 1e6 / s for s in took]).text(0, " MB/s"))
        for name, took in times.items()
    ]
    most = max(memory)
    lines.append(
        Line(
            "fetcher memory, most",
            f"{most:.0f} MB",
            f"< {MEMORY_LIMIT_MB} MB",
            verdict(ok=most < MEMORY_LIMIT_MB),
        )
    )
    how = f"{plan.rounds} interleaved rounds of {size_bytes / 1e9:g} GB over loopback, medians."
    return Section("Fetching", how, [*lines, *calm, *many])


def _fill(path: Path, size_bytes: int) -> None:
    """A real model, so that it can be one in the end, and what no file system can compress."""
    write_model(path, embedding_length=16)
    with path.open("ab") as file:
        for start in range(path.stat().st_size, size_bytes, 1 << 20):
            file.write(os.urandom(min(1 << 20, size_bytes - start)))


def _contenders(hub: TestHub, memory: list[float]) -> dict[str, Callable[[Path], Awaitable[float]]]:
    url = f"{hub.url}/{REPO}/resolve/main/{NAME}"
    curl = 'curl -sfL -o "$1/large.gguf" "$0"'
    return {
        "janagent": partial(_ours, hub, memory),
        "curl + sha256sum": lambda folder: _timed(
            ["sh", "-c", f'{curl} && sha256sum "$1/large.gguf"', url, str(folder)]
        ),
        "huggingface_hub": lambda folder: _theirs(hub, folder),
        "curl": lambda folder: _timed(["sh", "-c", curl, url, str(folder)]),
    }


async def _turns(
    order: Sequence[tuple[str, Callable[[Path], Awaitable[float]]]], folder: Path, attempt: int
) -> dict[str, float]:
    times = {}
    for name, fetch in order:
        with tempfile.TemporaryDirectory(dir=folder) as target:
            times[name] = await fetch(Path(target))
            found = (Path(target) / NAME).stat().st_size
            if found != (folder / "source").stat().st_size:
                raise RuntimeError(f"{name} brought {found} bytes")
    return times


async def _timed(command: Sequence[str]) -> float:
    begun = perf_counter()
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    if await asyncio.wait_for(process.wait(), LIMIT_S):
        raise RuntimeError(f"{command[0]} ended with {process.returncode}")
    return perf_counter() - begun


async def _theirs(hub: TestHub, folder: Path) -> float:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HUB_DOWNLOAD, hub.url, REPO, NAME, str(folder)),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"HF_HUB_DISABLE_PROGRESS_BARS": "1"},
    )
    output, _ = await asyncio.wait_for(process.communicate(), LIMIT_S)
    return float(output)


async def _ours(hub: TestHub, memory: list[float], folder: Path) -> float:
    """From the start of the program to its end, its own imports included."""
    (folder / MANIFEST).write_text("{}")
    spec = wire.FetchSpec(
        key=MANIFEST,
        model_id="bench",
        folder=str(folder),
        record_path=str(record_path(folder, MANIFEST)),
        origin=REPO,
        hub_endpoint=hub.url,
    )
    with Path(os.devnull).open("wb") as statuses:  # noqa: ASYNC230 - no file that could block
        begun = perf_counter()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "janagent.fetch"),
            stdin=asyncio.subprocess.PIPE,
            pass_fds=[statuses.fileno()],
            env=os.environ | {wire.STATUS_FD_VARIABLE: str(statuses.fileno())},
        )
        assert process.stdin is not None
        # The pipe stays open: its end would tell the fetcher to go.
        process.stdin.write(wire.encode(spec))
        over = aio.create_task(process.wait(), name="fetcher")
        async with asyncio.timeout(LIMIT_S):
            while not (await asyncio.wait([over], timeout=0.02))[0]:
                try:
                    memory.append(psutil.Process(process.pid).memory_info().rss / 1e6)
                except psutil.NoSuchProcess:
                    break
            await over
        took_s = perf_counter() - begun
    if process.returncode:
        raise RuntimeError(f"the fetcher ended with {process.returncode}")
    return took_s


async def _blocked(hub: TestHub) -> list[Line]:
    """The large file once more, through the daemon, which must answer all the while."""
    with tempfile.TemporaryDirectory(prefix="jan-bench-") as folder:
        models = Path(folder) / "models"
        models.mkdir()
        async with (
            peers.daemon(Path(folder), hot_load="never", hub_endpoint=hub.url) as peer,
            peer.target.session() as session,
        ):
            url = peer.target.base_url
            async with blocked.asking(url) as idle:
                await asyncio.sleep(IDLE_S)
            async with blocked.asking(url) as busy:
                (models / "large").mkdir()
                (models / "large" / "model.json").write_text(f'{{"origin": "{REPO}"}}')
                await _all_there(session, url, 1)
    limit = BLOCKED_LIMIT_MS
    return [
        Line(
            "the daemon's event loop blocked while it fetches, at most",
            f"{busy.longest_ms:.0f} ms ({len(busy.took_s)} answers)",
            f"< {limit} ms",
            verdict(ok=busy.longest_ms < limit),
        ),
        Line("- the same while nothing happens", f"{idle.longest_ms:.0f} ms ({len(idle.took_s)} answers)"),
    ]


async def _all_there(session: aiohttp.ClientSession, url: str, count: int) -> int:
    """Wait until so many models are downloaded; returns how many are."""
    deadline, there = perf_counter() + LIMIT_S, 0
    while there < count and perf_counter() < deadline:
        await asyncio.sleep(0.1)
        async with session.get(f"{url}/v1/health") as response:
            counts = (await response.json())["counts"]
        there = counts.get("downloaded", 0)
        if counts.get("failed", 0) + counts.get("invalid", 0):
            async with session.get(f"{url}/v1/models") as response:
                models = (await response.json())["data"]
            for model in models:
                if model["state"] in ("failed", "invalid"):
                    raise RuntimeError(f"{model['id']} is {model['state']}: {model['error']}")
    return there


async def _many(count: int) -> list[Line]:
    """So many manifests dropped at once, each with a small real model of its own."""
    with tempfile.TemporaryDirectory(prefix="jan-bench-") as folder, TestHub() as hub:
        models, source = Path(folder) / "root" / "models", Path(folder) / "source"
        models.mkdir(parents=True)
        for number in range(count):
            path = write_model(source / f"m{number}.gguf", embedding_length=16, seed=number)
            hub.add_repo(f"bench/m{number}", {path.name: path})
        settings = {"hot_load": "never", "hub_endpoint": hub.url, "max_downloads": str(MAX_DOWNLOADS)}
        async with (
            peers.daemon(models.parent, **settings) as peer,
            peer.target.session() as session,
        ):
            begun = perf_counter()
            for number in range(count):
                (models / f"m{number}").mkdir()
                (models / f"m{number}" / "model.json").write_text(f'{{"origin": "bench/m{number}"}}')
            there = await _all_there(session, peer.target.base_url, count)
            took_s = perf_counter() - begun
    most, bound = hub.most_connections, MAX_DOWNLOADS * (Limits().connections + 1)
    return [
        Line(
            f"{count} manifests at once, downloaded",
            f"{there} in {took_s:.1f} s",
            "all",
            verdict(ok=there == count),
        ),
        Line(
            f"- connections open at once, {MAX_DOWNLOADS} downloads at a time, most",
            str(most),
            f"<= {bound}",
            verdict(ok=most <= bound),
        ),
    ]
