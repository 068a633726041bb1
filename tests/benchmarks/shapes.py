"""What a forced shape costs: JSON of a schema against free text, and what it costs those who talk beside it.

The same daemon, model and prompts; only `response_format` differs. The schema asks for one long text, so that
answers of both kinds have the same number of tokens.
"""

import asyncio
import json
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.benchmarks import peers
from tests.benchmarks.calm import undisturbed
from tests.benchmarks.load import Burst, Target, burst
from tests.benchmarks.report import Line, Plan, Section, spread, verdict

STORY = {
    "type": "object",
    "properties": {"story": {"type": "string", "minLength": 2000}},
    "required": ["story"],
    "additionalProperties": False,
}
SHAPE = {"type": "json_schema", "json_schema": {"name": "story", "strict": True, "schema": STORY}}


async def measure(plan: Plan) -> Section:
    """Both ratios."""
    with tempfile.TemporaryDirectory(prefix="jan-bench-") as folder:
        async with peers.daemon(peers.make_root(Path(folder))) as daemon:
            free = daemon.target
            shaped = replace(free, extra={"response_format": SHAPE})
            await burst(shaped, 1, tokens=8, seed=999)  # the first one builds the tokenizer
            lines = [await _alone(shaped, free, plan), await _beside(shaped, free, plan)]
    return Section("Forced shapes", f"JSON of a schema: {json.dumps(STORY['properties'])}", lines)


async def _turns(ways: list[Target], tokens: int, attempt: int) -> list[Burst]:
    got = {}
    for way in ways if attempt % 2 else ways[::-1]:
        got[id(way)] = await burst(way, 1, tokens=tokens, seed=attempt)
    return [got[id(way)] for way in ways]


async def _alone(shaped: Target, free: Target, plan: Plan) -> Line:
    pairs = [
        await undisturbed(plan, partial(_turns, [shaped, free], plan.tokens)) for _ in range(plan.rounds)
    ]
    ratio = spread([mine.tokens_per_s / other.tokens_per_s for mine, other in pairs])
    return Line(
        "tokens/s of JSON against free text", ratio.text(3, "x"), ">= 0.95x", verdict(ok=ratio.middle >= 0.95)
    )


async def _mixed(first: Target, free: Target, tokens: int, attempt: int) -> float:
    """Tokens/s of three free answers beside one of `first`'s."""
    one = asyncio.ensure_future(burst(first, 1, tokens=tokens * 2, seed=attempt + 500))  # noqa: TID251
    got = await burst(free, 3, tokens=tokens, seed=attempt)
    await one
    return got.tokens_per_s


async def _beside(shaped: Target, free: Target, plan: Plan) -> Line:
    ratios = []
    for _ in range(plan.rounds):
        mine = await undisturbed(plan, partial(_mixed, shaped, free, plan.tokens))
        other = await undisturbed(plan, partial(_mixed, free, free, plan.tokens))
        ratios.append(mine / other)
    ratio = spread(ratios)
    what = "tokens/s of three others beside JSON, against beside free text"
    return Line(what, ratio.text(3, "x"), ">= 0.9x", verdict(ok=ratio.middle >= 0.9))
