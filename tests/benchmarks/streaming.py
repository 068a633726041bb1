"""Streaming chat through the daemon against llama-server and `python -m llama_cpp.server`.

All servers are up at once and asked in turns, in an order that moves on by one each round, with the same
prompts in one round and other prompts in the next. Ratios are made within a round, so that a slow minute of
the machine hits both sides of them.
"""

import sys
import tempfile
from collections import defaultdict
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from statistics import fmean

from tests.benchmarks import peers
from tests.benchmarks.calm import undisturbed
from tests.benchmarks.load import Burst, burst
from tests.benchmarks.peers import Peer
from tests.benchmarks.report import Line, Plan, Section, parity, spread, table, verdict

CLIENTS = (1, 4, 8)
Results = dict[tuple[str, int], list[Burst]]


async def measure(plan: Plan) -> Section:
    """Tokens a second, first-token time and broken streams at 1, 4 and 8 clients."""
    async with AsyncExitStack() as stack:
        if plan.only_engine:
            servers = [await stack.enter_async_context(peers.worker())]
        else:
            root = peers.make_root(
                Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jan-bench-")))
            )
            servers = [await stack.enter_async_context(peers.daemon(root))]
        servers.append(await stack.enter_async_context(peers.llama_server_peer()))
        if not plan.only_engine:
            servers.append(await stack.enter_async_context(peers.llama_cpp_server()))
        results = await _rounds(servers, plan)
    ours, reference, *others = (server.name for server in servers)
    lines = [line for clients in CLIENTS for line in _against(results, ours, reference, clients)]
    lines += [_broken(results, ours), *(_other(results, ours, name) for name in others)]
    how = (
        f"{plan.tokens} tokens an answer, {plan.rounds} interleaved rounds, one answer a client and round; "
        "ratios are medians of the rounds' own ratios (least-greatest)."
    )
    return Section("Streaming chat", how, lines, _details(results))


async def _rounds(servers: list[Peer], plan: Plan) -> Results:
    results: Results = defaultdict(list)
    for server in servers:
        await burst(server.target, 1, tokens=8, seed=999)
    for number in range(plan.rounds):
        at = number % len(servers)
        for clients in CLIENTS:
            turns = partial(_turns, servers[at:] + servers[:at], clients, plan.tokens, number)
            for name, got in (await undisturbed(plan, turns)).items():
                results[name, clients].append(got)
    return results


async def _turns(
    servers: list[Peer], clients: int, tokens: int, number: int, attempt: int
) -> dict[str, Burst]:
    """Each server once, with the same prompts; a repeated attempt has others, which nobody has in a cache."""
    found = {}
    for server in servers:
        seed = number * 10 + clients + attempt * 1000
        got = found[server.name] = await burst(server.target, clients, tokens=tokens, seed=seed)
        print(f"  round {number + 1}, {clients} clients: {server.name} {_text(got)}", file=sys.stderr)
    return found


def _text(got: Burst) -> str:
    if got.broken:
        return f"broken: {len(got.broken)} ({got.broken[0]})"
    return f"{got.tokens_per_s:.1f} tok/s, first token {got.first_token_p50_s * 1000:.0f} ms"


def _against(results: Results, ours: str, reference: str, clients: int) -> list[Line]:
    pairs = list(zip(results[ours, clients], results[reference, clients], strict=True))
    speed = spread([mine.tokens_per_s / theirs.tokens_per_s for mine, theirs in pairs])
    first = spread([mine.first_token_p50_s / theirs.first_token_p50_s for mine, theirs in pairs])
    who = f"{clients} client{'s' if clients > 1 else ''}, against {reference}"
    return [
        Line(f"tokens/s, {who}", speed.text(2, "x"), ">= 1.0x", parity(speed)),
        Line(f"first token p50, {who}", first.text(2, "x"), "<= 1.0x", verdict(ok=first.low <= 1.0)),
    ]


def _broken(results: Results, ours: str) -> Line:
    answers = [
        answer
        for (name, _), bursts in results.items()
        if name == ours
        for b in bursts
        for answer in b.answers
    ]
    broken = sum(answer.broken is not None for answer in answers)
    return Line("broken streams", f"{broken} of {len(answers)}", "0", verdict(ok=broken == 0))


def _other(results: Results, ours: str, name: str) -> Line:
    """A server that breaks streams has no speed to compare with, so each client count speaks for itself."""
    words = []
    for clients in CLIENTS:
        pairs = list(zip(results[ours, clients], results[name, clients], strict=True))
        broken = sum(len(theirs.broken) for _, theirs in pairs)
        ratio = spread(
            [mine.tokens_per_s / theirs.tokens_per_s for mine, theirs in pairs if not theirs.broken] or [0]
        )
        total = clients * len(pairs)
        words.append(f"{clients}: " + (f"{broken} of {total} broken" if broken else f"{ratio.middle:.2f}x"))
    return Line(f"tokens/s against {name}, by clients", ", ".join(words))


def _details(results: Results) -> str:
    rows = []
    for (name, clients), bursts in sorted(results.items(), key=lambda item: item[0][1]):
        speed = spread([got.tokens_per_s for got in bursts])
        first = spread([got.first_token_p50_s * 1000 for got in bursts])
        longest = spread([got.first_token_max_s * 1000 for got in bursts])
        mean_tokens = fmean(answer.tokens for got in bursts for answer in got.answers)
        broken = sum(len(got.broken) for got in bursts)
        figures = [speed.text(1), first.text(0), longest.text(0), f"{mean_tokens:.0f}", str(broken)]
        rows.append([str(clients), name, *figures])
    head = [
        "clients",
        "server",
        "tokens/s",
        "first token p50, ms",
        "first token max, ms",
        "tokens/answer",
        "broken",
    ]
    return table(head, rows)
