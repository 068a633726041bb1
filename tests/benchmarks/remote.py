"""What a remote model costs: one API asked through the daemon and straight, in turns, by streaming clients.

The API (`paced`) sends each stream 50 tokens a second, as a busy GPU does, and is a process of its own; it,
the clients and the daemon share this machine. What the daemon can carry at most is shown by the same without
a pace.
"""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import psutil

from janagent import aio
from tests.benchmarks import peers
from tests.benchmarks.calm import undisturbed, wait
from tests.benchmarks.load import Burst, Target, burst
from tests.benchmarks.report import Line, Plan, Section, spread, verdict

PACE = 50.0
CLIENTS = (1, 32)
MANY = 256
KB = 1_000


async def measure(plan: Plan) -> Section:
    """Throughput and first token as ratios; many clients; memory of an open stream."""
    async with _upstream(PACE) as paced, _upstream(0) as unpaced:
        with tempfile.TemporaryDirectory(prefix="jan-bench-") as folder:
            root = Path(folder)
            _write(root, "paced", paced)
            _write(root, "unpaced", unpaced)
            async with peers.daemon(root) as daemon:
                url = daemon.target.base_url
                lines = []
                for clients in CLIENTS:
                    ways = Target(url, "paced"), Target(paced, "paced")
                    lines += await _compared(*ways, clients, plan)
                lines += await _many(Target(url, "paced"), daemon.process, plan)
                ways = Target(url, "unpaced"), Target(unpaced, "unpaced")
                lines.append(await _unpaced(*ways, plan))
    how = f"Each stream gets {PACE:.0f} tokens a second, from a remote API or through the daemon, in turns."
    return Section("Remote models", how, lines)


@asynccontextmanager
async def _upstream(tokens_per_s: float) -> AsyncIterator[str]:
    command = [sys.executable, "-m", "tests.benchmarks.paced", str(tokens_per_s)]
    async with peers.started(command, r"ready on (\S+)", dict(os.environ)) as (_, url, _ready_s):
        yield url


def _write(root: Path, name: str, origin: str) -> None:
    (root / "models").mkdir(parents=True, exist_ok=True)
    manifest = {"origin": origin, "import_format": "openai"}
    (root / "models" / f"{name}.json").write_text(json.dumps(manifest))


async def _turns(ways: list[Target], clients: int, tokens: int, attempt: int) -> list[Burst]:
    """Each way once; the order changes with the attempt."""
    got = {}
    for way in ways if attempt % 2 else ways[::-1]:
        got[id(way)] = await burst(way, clients, tokens=tokens, seed=attempt)
    return [got[id(way)] for way in ways]


async def _compared(mine: Target, direct: Target, clients: int, plan: Plan) -> list[Line]:
    tokens = plan.tokens
    await burst(mine, clients, tokens=2, seed=0)
    pairs = []
    for _ in range(plan.rounds):
        pairs.append(await undisturbed(plan, partial(_turns, [mine, direct], clients, tokens)))
    broken = [why for pair in pairs for one in pair for why in one.broken]
    ratio = spread([through.tokens_per_s / straight.tokens_per_s for through, straight in pairs])
    later = spread(
        [(through.first_token_p50_s - straight.first_token_p50_s) * 1000 for through, straight in pairs]
    )
    who = f"{clients} client{'s' if clients > 1 else ''}"
    ok = ratio.middle >= 0.98 and not broken
    return [
        Line(f"tokens/s, {who}", ratio.text(3, "x"), ">= 0.98x", verdict(ok=ok)),
        Line(f"first token later, {who}", later.text(1, " ms"), ""),
    ]


async def _many(mine: Target, daemon: psutil.Process, plan: Plan) -> list[Line]:
    """256 streams at once: none may fail, and each may take only so much memory."""
    await wait(plan)
    before = daemon.memory_full_info().uss
    most = before

    async def watch() -> None:
        nonlocal most
        while True:
            await asyncio.sleep(0.25)
            most = max(most, daemon.memory_full_info().uss)

    watcher = aio.create_task(watch(), name="memory of the daemon")
    try:
        got = await burst(mine, MANY, tokens=plan.tokens, seed=1)
    finally:
        await aio.cancel_and_wait(watcher)
    each_kb = (most - before) / MANY / KB
    return [
        Line(f"failures, {MANY} clients", str(len(got.broken)), "0", verdict(ok=not got.broken)),
        Line(
            f"tokens/s, {MANY} clients",
            f"{got.tokens_per_s:,.0f} of {MANY * PACE:,.0f}",
            "",
            verdict(ok=True),
        ),
        Line("memory of an open stream", f"{each_kb:.0f} kB", "< 100 kB", verdict(ok=each_kb < 100)),
    ]


async def _unpaced(mine: Target, direct: Target, plan: Plan) -> Line:
    pairs = []
    for _ in range(plan.rounds):
        pairs.append(await undisturbed(plan, partial(_turns, [mine, direct], 32, plan.tokens)))
    through = spread([one.tokens_per_s for one, _ in pairs])
    straight = spread([two.tokens_per_s for _, two in pairs])
    figure = f"{through.middle:,.0f} through, {straight.middle:,.0f} straight"
    return Line("tokens/s at most, 32 clients", figure, "")
