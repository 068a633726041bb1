"""What a picture costs: the first question about it, the second one, and those who talk meanwhile.

SmolLM2-135M with a projector of random weights in the size of SmolVLM's (ViT-B: 12 layers of 768, here 576
tokens a picture): what is computed is real, what is said about the pictures is nonsense.
"""

import asyncio
import itertools
import json
import os
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from tests.benchmarks import peers
from tests.benchmarks.calm import in_turns
from tests.benchmarks.load import Target, ask, body, prompts
from tests.benchmarks.peers import Peer
from tests.benchmarks.report import Line, Plan, Section, spread, verdict
from tests.engine.pictures import picture, shown
from tests.gguf_files import write_projector

TOKENS = 8
"""Of an answer about a picture."""
BEFORE_TOKENS, BESIDE_TOKENS = 64, 400
"""Of the answer that is listened to meanwhile: before the picture comes, and at most."""


@dataclass(frozen=True)
class Seen:
    """One round with one server; seconds."""

    first_s: float
    """First token of the first question about a picture."""
    second_s: float
    """First token of another question about it."""
    gap_s: float
    """Longest silence of another answer while a picture was encoded."""
    calm_gap_s: float
    """The same while nothing else happened."""


async def measure(plan: Plan) -> Section:
    """Against llama-server with the same two files."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jan-bench-")))
        root = peers.make_root(folder)
        projector = write_projector(
            root / "models" / "mmproj.gguf", embedding_length=576, image_size=336, layers=13, width=768
        )
        os.utime(projector, (0, 0))  # not a file that may still be written
        ours = await stack.enter_async_context(peers.daemon(root))
        theirs = await stack.enter_async_context(peers.llama_server_peer(projector=projector))
        for server in (ours, theirs):
            await _question(server.target, seed=1, words="Warm up.")
        pairs = await in_turns(plan, (ours, theirs), plan.rounds, _seen)
    return Section("Pictures", (__doc__ or "").split("\n\n")[1], _lines(pairs))


def _lines(pairs: list[tuple[Seen, Seen]]) -> list[Line]:
    again = spread([mine.second_s / mine.first_s for mine, _ in pairs])
    first = spread([mine.first_s / other.first_s for mine, other in pairs])
    gap = spread([mine.gap_s / other.gap_s for mine, other in pairs])
    lines = [
        Line(
            "first token of the second question about a picture, against the first",
            again.text(2, "x"),
            "<= 0.5x",
            verdict(ok=again.middle <= 0.5),
        ),
        Line(
            "first token of the first question, against llama-server",
            first.text(2, "x"),
            "<= 1.0x",
            verdict(ok=first.low <= 1.0),
        ),
        Line(
            "longest gap of another answer while a picture is encoded, against llama-server",
            gap.text(2, "x"),
            "<= 0.5x",
            verdict(ok=gap.middle <= 0.5),
        ),
    ]
    for at, name in enumerate(("janagent", "llama-server")):
        taken = [
            spread([getattr(pair[at], what) for pair in pairs]).text(2, " s")
            for what in ("first_s", "second_s", "gap_s", "calm_gap_s")
        ]
        what = f"{name}: first; second question; longest gap with and without a picture"
        lines.append(Line(what, "; ".join(taken)))
    return lines


async def _seen(server: Peer, number: int, attempt: int) -> Seen:
    seed = 10 * (100 * number + attempt) + 2
    first_s = await _question(server.target, seed=seed, words="What is this?")
    second_s = await _question(server.target, seed=seed, words="Which colours has it?")
    gap_s, calm_gap_s = await _beside(server.target, seed=seed + 1)
    return Seen(first_s, second_s, gap_s, calm_gap_s)


def _asked(target: Target, *, seed: int, words: str) -> dict[str, object]:
    asked = body(target, "", tokens=TOKENS)
    return asked | {"messages": shown(picture(seed, width=640, height=480, form="JPEG"), words)}


async def _question(target: Target, *, seed: int, words: str) -> float:
    """Seconds to the first token of an answer about picture `seed`."""
    async with target.session() as session:
        answer = await ask(session, target, _asked(target, seed=seed, words=words))
    assert answer.broken is None, answer.broken
    return answer.first_token_s


async def _beside(target: Target, *, seed: int) -> tuple[float, float]:
    """Longest gap of a streamed answer between a question about a picture and its answer, and before that."""
    (prompt,) = prompts(1, seed=seed)
    times: list[float] = []
    is_underway, is_enough = asyncio.Event(), asyncio.Event()

    async def listen() -> None:
        async with (
            target.session() as session,
            session.post(
                f"{target.base_url}/v1/chat/completions", json=body(target, prompt, tokens=BESIDE_TOKENS)
            ) as response,
        ):
            async for line in response.content:
                if line.startswith(b"data: {") and json.loads(line[6:]).get("choices"):
                    times.append(perf_counter())
                if len(times) == BEFORE_TOKENS:
                    is_underway.set()
                if is_enough.is_set():
                    return

    listener = asyncio.ensure_future(listen())  # noqa: TID251
    listener.add_done_callback(lambda _task: is_underway.set())
    try:
        await is_underway.wait()
        assert len(times) >= BEFORE_TOKENS, "the answer that is listened to broke"
        begun = perf_counter()
        taken_s = await _question(target, seed=seed, words="What is this?")
        ended = begun + taken_s
        await asyncio.sleep(0.1)
    finally:
        is_enough.set()
        await listener
    before = [at for at in times if at <= begun]
    during = [begun, *(at for at in times if begun < at <= ended), ended]
    return _longest(during), _longest(before)


def _longest(times: list[float]) -> float:
    return max(later - earlier for earlier, later in itertools.pairwise(times))
