"""Eight short questions, four at a time, that share one long system prompt, as assistants are asked: when
nobody had it before, when one request did, and when it comes back after other conversations took every slot.

Each round has a system prompt of its own, so that nothing is left over from the round before.
"""

import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from tests.benchmarks import peers
from tests.benchmarks.calm import in_turns
from tests.benchmarks.load import Burst, Target, burst
from tests.benchmarks.peers import Peer
from tests.benchmarks.report import Line, Plan, Section, spread, verdict

QUESTIONS = (
    "may I bring my dog?",
    "when is breakfast?",
    "where do I park?",
    "is there a pool?",
    "can I pay by card?",
    "who has the key?",
    "how late may I come?",
    "which room is quiet?",
)
CLIENTS = len(QUESTIONS)
TOKENS = 32
RULES = 54
OTHER_RULES = 12
SLOTS = 4
WHEN = ("a new one", "known from one request", "back after others")
Round = tuple[Burst, ...]
"""A burst for each of `WHEN`."""


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
        for server in (ours, theirs):
            await burst(server.target, 1, tokens=8, seed=999)
        pairs = await in_turns(plan, (ours, theirs), max(2, plan.rounds - 2), _round)
    return Section(
        "One shared system prompt",
        f"{CLIENTS} short questions, {SLOTS} at a time on {SLOTS} slots, {TOKENS} tokens each.",
        [line for at, what in enumerate(WHEN) for line in _lines(what, pairs, at)],
    )


async def _round(server: Peer, number: int, attempt: int) -> Round:
    place, target = number * 10 + attempt, server.target
    new, known = (_system(place + at, RULES - number % 3) for at in (0, 200))
    got = [await _eight(target, seed=number, system=new)]
    await burst(target, 1, tokens=8, seed=number, system=known)
    got.append(await _eight(target, seed=number + 300, system=known))
    for other in range(2):
        system = _system(place + 400 + other, OTHER_RULES)
        await burst(target, SLOTS, tokens=8, seed=other, system=system)
    got.append(await _eight(target, seed=number + 500, system=new))
    print(f"  {server.name}: {', '.join(f'{b.tokens_per_s:.1f}' for b in got)} tok/s", file=sys.stderr)
    return tuple(got)


async def _eight(target: Target, *, seed: int, system: str) -> Burst:
    asked = [f"Guest {seed * CLIENTS + at} asks: {question}" for at, question in enumerate(QUESTIONS)]
    return await burst(
        target, CLIENTS, tokens=TOKENS, seed=seed, system=system, at_a_time=SLOTS, questions=asked
    )


def _lines(what: str, pairs: list[tuple[Round, Round]], at: int) -> list[Line]:
    bursts = [(mine[at], theirs[at]) for mine, theirs in pairs]
    speed = spread([mine.tokens_per_s / theirs.tokens_per_s for mine, theirs in bursts])
    first = spread([mine.first_token_p50_s / theirs.first_token_p50_s for mine, theirs in bursts])
    lines = [
        Line(
            f"{what}: tokens/s against llama-server",
            speed.text(2, "x"),
            ">= 8x",
            verdict(ok=speed.middle >= 8),
        ),
        Line(f"{what}: first token p50", first.text(3, "x"), "<= 0.067x", verdict(ok=first.middle <= 1 / 15)),
    ]
    for place, name in enumerate(("janagent", "llama-server")):
        tokens = spread([pair[place].tokens_per_s for pair in bursts])
        waited = spread([pair[place].first_token_p50_s for pair in bursts])
        lines.append(
            Line(f"- {name}: tokens/s; first token p50", f"{tokens.text(1)}; {waited.text(2, ' s')}")
        )
    return lines


def _system(number: int, rules: int) -> str:
    """About 22 tokens of SmolLM2 a rule, different from the first word on in each round."""
    lines = (
        f"Rule {at}: if a guest of house {number * 7 + at} asks about topic {at * 13 % 47}, answer politely."
        for at in range(rules)
    )
    return f"{number + 3} houses belong to this hotel. " + " ".join(lines)
