"""What the daemon costs: the same worker asked through the daemon and straight on its Unix socket, in turns.

The socket is found by looking at the daemon's children, so that both ways end in one process with one cache.
"""

import sys
import tempfile
from functools import partial
from pathlib import Path

import aiohttp
import psutil

from tests.benchmarks import peers
from tests.benchmarks.calm import undisturbed, wait
from tests.benchmarks.load import Burst, Target, ask, body, burst
from tests.benchmarks.report import Line, Plan, Section, Spread, percentile, spread, verdict

CLIENTS = (1, 4)
QUESTION = "Say hello."


async def measure(plan: Plan) -> Section:
    """Throughput ratio and added first-token time."""
    with tempfile.TemporaryDirectory(prefix="jan-bench-") as folder:
        async with peers.daemon(peers.make_root(Path(folder))) as daemon:
            through = daemon.target
            await burst(through, 1, tokens=8, seed=999)
            (path,) = worker_sockets(daemon.process)
            straight = Target("http://engine", through.model, path, through.extra)
            lines = [await _throughput(through, straight, clients, plan) for clients in CLIENTS]
            lines.append(await _first_token(through, straight, plan))
    return Section(
        "Proxy cost", "One worker, asked through the daemon and straight on its socket in turns.", lines
    )


def worker_sockets(daemon: psutil.Process) -> set[str]:
    """Unix sockets on which the daemon's children listen: one for each loaded model."""
    found = set()
    for child in daemon.children(recursive=True):
        try:
            connections = child.net_connections(kind="unix")
        except psutil.Error:
            continue
        # An accepted connection carries the listener's path too, so one worker gives one name.
        found |= {
            str(connection.laddr) for connection in connections if str(connection.laddr).startswith("/")
        }
    return found


async def _throughput(through: Target, straight: Target, clients: int, plan: Plan) -> Line:
    pairs = []
    for number in range(plan.rounds * 2):
        order = [through, straight] if number % 2 else [straight, through]
        got = await undisturbed(plan, partial(_turns, order, clients, plan.tokens, number))
        pairs.append((got[id(through)], got[id(straight)]))
        print(
            f"  {clients}: {pairs[-1][0].tokens_per_s:.1f} / {pairs[-1][1].tokens_per_s:.1f}", file=sys.stderr
        )
    ratio = spread([mine.tokens_per_s / direct.tokens_per_s for mine, direct in pairs])
    ok = ratio.middle >= 0.98
    what = f"tokens/s through the daemon, {clients} client{'s' if clients > 1 else ''}"
    return Line(what, ratio.text(3, "x"), ">= 0.98x", verdict(ok=ok))


async def _turns(
    ways: list[Target], clients: int, tokens: int, number: int, attempt: int
) -> dict[int, Burst]:
    """Each way once, with prompts that nobody had before: the engine remembers, so that the second way would
    gain by the first one's."""
    seed = number * 10 + clients + attempt * 1000
    return {
        id(way): await burst(way, clients, tokens=tokens, seed=seed + place * 5000)
        for place, way in enumerate(ways)
    }


async def _first_token(through: Target, straight: Target, plan: Plan) -> Line:
    """A few tokens of one short prompt, over and over: the engine's part is small and alike."""
    added_ms = []
    await wait(plan)
    async with through.session() as outer, straight.session() as inner:
        for _ in range(20 if plan.quick else 100):
            mine, direct = await _first_s(outer, through), await _first_s(inner, straight)
            added_ms.append((mine - direct) * 1000)
    middle = Spread(percentile(added_ms, 0.5), percentile(added_ms, 0.25), percentile(added_ms, 0.75))
    figure = f"{middle.text(2, ' ms')}, quartiles"
    return Line("first token later through the daemon", figure, "< 2 ms", verdict(ok=middle.middle < 2.0))


async def _first_s(session: aiohttp.ClientSession, way: Target) -> float:
    answer = await ask(session, way, body(way, QUESTION, tokens=4))
    if answer.broken:
        raise RuntimeError(answer.broken)
    return answer.first_token_s
