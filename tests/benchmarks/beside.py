"""A prompt of 7,500 tokens that arrives beside three streaming answers: how long those stand still."""

import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from tests.benchmarks import peers
from tests.benchmarks.calm import in_turns
from tests.benchmarks.load import ask, body, prompts
from tests.benchmarks.peers import Peer
from tests.benchmarks.report import Line, Plan, Section, spread, verdict

CTX_LEN = 8192
STREAMS = 3
WORDS = 2_560
"""About 7,500 tokens of SmolLM2, which was trained for 8,192."""


async def measure(plan: Plan) -> Section:
    """The longest gap against llama-server's."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="jan-bench-"))
        root = peers.make_root(Path(folder), ctx_len=CTX_LEN)
        ours = await stack.enter_async_context(peers.daemon(root))
        theirs = await stack.enter_async_context(peers.llama_server_peer(ctx_len=CTX_LEN))
        pairs = await in_turns(plan, (ours, theirs), 2, _once)
    gap = spread([mine[0] / other[0] for mine, other in pairs])
    lines = [
        Line(
            "longest gap of three streams, against llama-server",
            gap.text(3, "x"),
            "<= 0.5x",
            verdict(ok=gap.middle <= 0.5),
        )
    ]
    for place, name in enumerate(("janagent", "llama-server")):
        gaps = spread([pair[place][0] for pair in pairs])
        waits = spread([pair[place][1] for pair in pairs])
        what = f"- {name}: longest gap; first token of the long prompt"
        lines.append(Line(what, f"{gaps.text(2, ' s')}; {waits.text(0, ' s')}"))
    return Section("A long prompt beside running answers", "7,500 tokens beside three streams.", lines)


async def _once(peer: Peer, number: int, attempt: int) -> tuple[float, float]:
    """The longest gap of the streams, and the long prompt's time to its first token, in seconds."""
    seed = number * 10 + attempt
    long = " ".join(f"{seed + 2} word{at % 97}" for at in range(WORDS // 2))
    async with peer.target.session() as session:
        streams = [
            asyncio.ensure_future(  # noqa: TID251
                ask(session, peer.target, body(peer.target, prompt, tokens=CTX_LEN // 8))
            )
            for prompt in prompts(STREAMS, seed=seed)
        ]
        await asyncio.sleep(2)
        waited = await ask(session, peer.target, body(peer.target, long, tokens=2))
        answers = await asyncio.gather(*streams)
    for answer in (waited, *answers):
        if answer.broken:
            raise RuntimeError(answer.broken)
    longest = max(answer.longest_gap_s for answer in answers)
    print(f"  {peer.name}: gap {longest:.2f} s, first token {waited.first_token_s:.1f} s", file=sys.stderr)
    return longest, waited.first_token_s
