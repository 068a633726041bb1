"""What prompt lookup brings where an answer repeats a text with one change, and what it costs elsewhere.

The same engine with and without: a request with a `seed` gets no guesses. Tokens a second from the first one
on, so that the prompt, which a seed computes anew, does not count.
"""

import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.benchmarks import peers
from tests.benchmarks.calm import undisturbed
from tests.benchmarks.load import Target, ask, body
from tests.benchmarks.report import Line, Plan, Section, Spread, spread, verdict

TEXT = (
    "The cat sat on the mat. The dog lay by the door. The bird sang in the tree. The fish swam in the pond. "
    "The cow stood in the field. The horse ran on the road. The pig slept in the mud. The hen sat on the egg."
)
REPEAT = f"Repeat this text, with {{}} replaced by {{}}:\n{TEXT}"
CHANGES = (("cat", "fox"), ("dog", "wolf"), ("hen", "duck"), ("mud", "straw"), ("pond", "lake"))
STORY = "Tell a story about {} and {} in many long sentences, none of which is like another."


async def measure(plan: Plan) -> Section:
    """Both ratios."""
    with tempfile.TemporaryDirectory(prefix="jan-bench-") as folder:
        async with peers.daemon(peers.make_root(Path(folder))) as daemon:
            repeating = await _ratio(daemon.target, REPEAT, plan)
            free = await _ratio(daemon.target, STORY, plan)
    lines = [
        Line(
            "tokens/s of a text repeated with one change",
            repeating.text(2, "x"),
            ">= 1.5x",
            verdict(ok=repeating.middle >= 1.5),
        ),
        Line("tokens/s of a story", free.text(2, "x"), ">= 0.98x", verdict(ok=free.middle >= 0.98)),
    ]
    return Section("Prompt lookup", "With guesses against without, greedy, one client.", lines)


async def _ratio(target: Target, question: str, plan: Plan) -> Spread:
    ratios = []
    for number in range(plan.rounds):
        what = question.format(*CHANGES[number % len(CHANGES)])
        got = await undisturbed(plan, partial(_both_ways, target, what))
        ratios.append(got[0] / got[1])
        print(f"  {got[0]:.0f} / {got[1]:.0f} tok/s", file=sys.stderr)
    return spread(ratios)


async def _both_ways(target: Target, question: str, attempt: int) -> list[float]:
    asked = {
        **body(replace(target, extra={}), question, tokens=80),
        "temperature": 0.0,
    }
    plain = {**asked, "seed": 1}
    rates = []
    async with target.session() as session:
        for request in (asked, plain) if attempt % 2 else (plain, asked):
            answer = await ask(session, target, request)
            if answer.broken:
                raise RuntimeError(answer.broken)
            rates.append(answer.tokens_per_s)
    return rates if attempt % 2 else rates[::-1]
