"""Eight requests on four slots that share one long system prompt, as agents and assistants send them.

Each round has a system prompt of its own, so that nothing is left over from the round before.
"""

import sys
import tempfile
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from tests.benchmarks import peers
from tests.benchmarks.calm import undisturbed
from tests.benchmarks.load import Burst, burst
from tests.benchmarks.peers import Peer
from tests.benchmarks.report import Line, Plan, Section, spread, verdict

CLIENTS = 8
TOKENS = 32
RULES = 54


async def measure(plan: Plan) -> Section:
    """Tokens a second and first-token time against llama-server."""
    async with AsyncExitStack() as stack:
        if plan.only_engine:
            ours = await stack.enter_async_context(peers.worker())
        else:
            root = peers.make_root(
                Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jan-bench-")))
            )
            ours = await stack.enter_async_context(peers.daemon(root))
        theirs = await stack.enter_async_context(peers.llama_server_peer())
        pairs: list[tuple[Burst, Burst]] = []
        for server in (ours, theirs):
            await burst(server.target, 1, tokens=8, seed=999)
        for number in range(max(2, plan.rounds - 2)):
            order = [ours, theirs] if number % 2 else [theirs, ours]
            got = await undisturbed(plan, partial(_turns, order, number))
            pairs.append((got[ours.name], got[theirs.name]))
    return Section(
        "One shared system prompt", f"{CLIENTS} requests on 4 slots, {TOKENS} tokens each.", _lines(pairs)
    )


async def _turns(servers: list[Peer], number: int, attempt: int) -> dict[str, Burst]:
    system, found = _system(number * 10 + attempt), {}
    for server in servers:
        got = await burst(server.target, CLIENTS, tokens=TOKENS, seed=number, system=system)
        print(f"  {server.name}: {got.tokens_per_s:.1f} tok/s {got.broken or ''}", file=sys.stderr)
        found[server.name] = got
    return found


def _lines(pairs: list[tuple[Burst, Burst]]) -> list[Line]:
    ratio = spread([mine.tokens_per_s / theirs.tokens_per_s for mine, theirs in pairs])
    lines = [
        Line("tokens/s against llama-server", ratio.text(2, "x"), ">= 1.0x", verdict(ok=ratio.middle >= 1))
    ]
    for at, name in enumerate(("janagent", "llama-server")):
        speed = spread([pair[at].tokens_per_s for pair in pairs])
        first = spread([pair[at].first_token_p50_s for pair in pairs])
        lines.append(Line(f"{name}: tokens/s; first token p50", f"{speed.text(1)}; {first.text(2, ' s')}"))
    return lines


def _system(number: int) -> str:
    """About 1,200 tokens of SmolLM2, different from the first word on in each round."""
    rules = (
        f"Rule {at}: if a guest of house {number * 7 + at} asks about topic {at * 13 % 47}, answer politely."
        for at in range(RULES - number % 3)
    )
    return f"{number + 3} houses belong to this hotel. " + " ".join(rules)
