"""First token of a downloaded, unloaded model: janagent (with its warm spare) against llama-server's router.

Both hold the model's file in the page cache; each is asked after a stop of the model and a pause in which
janagent makes its next spare, as it would between two uses of a model.
"""

import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import aiohttp

from tests.benchmarks import peers
from tests.benchmarks.calm import undisturbed
from tests.benchmarks.load import Target, ask, body
from tests.benchmarks.report import Line, Plan, Section, spread, verdict

PAUSE_S = 2.0
QUESTION = "Say hello."


async def measure(plan: Plan) -> Section:
    """Seconds from the request to the first token, and their ratio."""
    async with AsyncExitStack() as stack:
        root = peers.make_root(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jan-bench-"))))
        daemon = await stack.enter_async_context(peers.daemon(root, hot_load="never"))
        router = await stack.enter_async_context(peers.router(root / "models"))
        times: dict[str, list[float]] = {"janagent": [], "router": []}
        for number in range(plan.rounds * 2):
            order = [("janagent", daemon.target), ("router", router.target)]
            turns = order if number % 2 else order[::-1]
            for name, took_s in (await undisturbed(plan, partial(_turns, turns))).items():
                times[name].append(took_s)
            print(f"  {times['janagent'][-1]:.3f} / {times['router'][-1]:.3f} s", file=sys.stderr)
    ratio = spread([mine / theirs for mine, theirs in zip(*times.values(), strict=True)])
    lines = [
        Line(
            "cold first token against the router's",
            ratio.text(2, "x"),
            "<= 1.0x",
            verdict(ok=ratio.middle <= 1.0),
        ),
        *(Line(f"cold first token, {name}", spread(found).text(3, " s")) for name, found in times.items()),
    ]
    how = f"{plan.rounds * 2} interleaved rounds, medians (least-greatest)."
    return Section("Cold start", how, lines)


async def _turns(turns: list[tuple[str, Target]], attempt: int) -> dict[str, float]:
    await _stop_ours(dict(turns)["janagent"])
    await _stop_theirs(dict(turns)["router"])
    await asyncio.sleep(PAUSE_S)
    return {name: await _first_token_s(target) for name, target in turns}


async def _first_token_s(target: Target) -> float:
    async with target.session() as session:
        answer = await ask(session, target, body(target, QUESTION, tokens=4))
    if answer.broken:
        raise RuntimeError(f"{target.base_url}: {answer.broken}")
    return answer.first_token_s


async def _stop_ours(target: Target) -> None:
    async with (
        target.session() as session,
        session.put(f"{target.base_url}/v1/models/{target.model}/stop") as answer,
    ):
        answer.raise_for_status()


async def _stop_theirs(target: Target) -> None:
    """Unload and wait until the router itself says so; a model that is not loaded is refused with 400."""
    async with target.session() as session:
        async with session.post(f"{target.base_url}/models/unload", json={"model": target.model}) as answer:
            await answer.read()
        async with asyncio.timeout(30):
            while await _status(session, target) != "unloaded":  # noqa: ASYNC110 - another program's state
                await asyncio.sleep(0.05)


async def _status(session: aiohttp.ClientSession, target: Target) -> str:
    async with session.get(f"{target.base_url}/models") as answer:
        for model in (await answer.json())["data"]:
            if model["id"] == target.model:
                return str(model["status"]["value"])
    raise RuntimeError(f"the router does not list {target.model}")
