"""Twenty edits in a row of a running model's `init` while four clients stream: no request may fail.

Each edit changes `ctx_len`, which asks for a new worker; the next edit is made when the new worker listens
and another answer has ended, so that every edit is a real switch under load.
"""

import asyncio
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from janagent import aio
from tests.benchmarks import peers
from tests.benchmarks.load import Answer, Target, ask, body, prompts
from tests.benchmarks.peers import Peer
from tests.benchmarks.proxy import worker_sockets
from tests.benchmarks.report import Line, Plan, Section, spread, verdict

CLIENTS = 4
SWITCH_LIMIT_S = 60.0


@dataclass
class _Tally:
    answers: list[Answer] = field(default_factory=list)
    is_over: bool = False


async def measure(plan: Plan) -> Section:
    """Failed requests over all edits, and how long a switch took."""
    edits = 4 if plan.quick else 20
    tally = _Tally()
    with tempfile.TemporaryDirectory(prefix="jan-bench-") as folder:
        root = peers.make_root(Path(folder))
        async with peers.daemon(root) as daemon:
            clients = [
                aio.create_task(_client(daemon.target, tally, number), name=f"client {number}")
                for number in range(CLIENTS)
            ]
            try:
                await _until(lambda: len(tally.answers) >= CLIENTS, "the first answers")
                switches = [await _edit(daemon, root, tally, number) for number in range(edits)]
            finally:
                tally.is_over = True
                await asyncio.wait(clients, timeout=60)
                await aio.cancel_and_wait(*clients)
    broken = [answer.broken for answer in tally.answers if answer.broken]
    for reason in broken[:5]:
        print(f"  failed: {reason}", file=sys.stderr)
    figure = f"{len(broken)} of {len(tally.answers)}"
    lines = [
        Line(f"failed requests over {edits} edits", figure, "0", verdict(ok=not broken)),
        Line("from the save to the new worker", spread(switches).text(2, " s")),
    ]
    return Section("Edits under load", f"{CLIENTS} clients stream without a pause.", lines)


async def _client(target: Target, tally: _Tally, number: int) -> None:
    async with target.session() as session:
        for turn in range(10_000):
            if tally.is_over:
                return
            (prompt,) = prompts(1, seed=turn * CLIENTS + number)
            tally.answers.append(await ask(session, target, body(target, prompt, tokens=24)))
            if tally.answers[-1].broken:
                await asyncio.sleep(0.2)


async def _edit(daemon: Peer, root: Path, tally: _Tally, number: int) -> float:
    before = worker_sockets(daemon.process)
    manifest = root / "models" / "bench.json"
    init = f'"ctx_len": {1024 + 64 * (number % 8)}, "n_parallel": {peers.SLOTS}'
    begun = perf_counter()
    # As editors save: a new file renamed over the old one, and every other time written in place.
    if number % 2:
        manifest.write_text(f'{{"parameters": {{"init": {{{init}}}}}}}')
    else:
        fresh = manifest.with_name("bench.json.tmp")
        fresh.write_text(f'{{"parameters": {{"init": {{{init}}}}}}}')
        fresh.rename(manifest)
    await _until(
        lambda: bool(worker_sockets(daemon.process) - before), f"the new worker of edit {number + 1}"
    )
    took = perf_counter() - begun
    done = len(tally.answers)
    await _until(lambda: len(tally.answers) >= done + CLIENTS, "answers after the switch")
    print(f"  edit {number + 1}: {took:.2f} s, {done} answers so far", file=sys.stderr)
    return took


async def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = perf_counter() + SWITCH_LIMIT_S
    while not condition():
        if perf_counter() > deadline:
            raise TimeoutError(f"{what} did not come within {SWITCH_LIMIT_S:.0f} s")
        await asyncio.sleep(0.05)
