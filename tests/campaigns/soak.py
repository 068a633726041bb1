"""Mixed requests for a long time, a third of which leave at some moment: memory stays flat, slots come free.

One real daemon with the real model. What is asked is drawn: chats that go on, streams, forced JSON, forced
calls, several answers, texts, embeddings, prompts that are too long and bodies that are wrong.
"""

import asyncio
import json
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import psutil

from tests.daemons import Daemon, starter_gguf

CLIENTS = 8
SAMPLE_S = 5.0
WARM_SHARE = 0.3
"""Of the time: until caches and allocators have what they keep."""
MAY_GROW = 0.05
SETTLE_S = 30.0
INIT = {"ctx_len": 1024, "n_parallel": 4}
SCHEMA = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 30}}, "required": ["name"]}
TOOL = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}
WORDS = ["river", "stone", "lamp", "winter", "bridge", "horse", "paper", "seven", "garden", "cloud", "iron"]

Body = dict[str, Any]


@dataclass
class Outcome:
    """What came of it. Memory is that of daemon and engine alone, in bytes."""

    statuses: Counter[int] = field(default_factory=Counter)
    left: int = 0
    daemon: list[int] = field(default_factory=list)
    engine: list[int] = field(default_factory=list)

    def check(self) -> None:
        """Raises AssertionError for a failure of the server or memory that grows."""
        wrong = {status: n for status, n in self.statuses.items() if status >= 500 or status == 429}
        assert not wrong, f"answers with {wrong}"
        for name, sizes in (("daemon", self.daemon), ("engine", self.engine)):
            warm = sizes[int(WARM_SHARE * len(sizes)) :]
            half = len(warm) // 2
            before, after = median(warm[:half]), median(warm[half:])
            assert after <= before * (1 + MAY_GROW) + 2**20, (
                f"the {name}'s memory grew from {before / 1e6:.1f} to {after / 1e6:.1f} MB"
            )

    def __str__(self) -> str:
        counts = ", ".join(f"{n} x {status}" for status, n in sorted(self.statuses.items()))
        memory = "; ".join(
            f"{name} {min(sizes) / 1e6:.0f}-{max(sizes) / 1e6:.0f} MB, {sizes[-1] / 1e6:.0f} at the end"
            for name, sizes in (("daemon", self.daemon), ("engine", self.engine))
        )
        return f"{counts}; {self.left} left early; {memory}"


def soak(folder: Path, *, dice: random.Random, minutes: float) -> Outcome:
    """Run it. Raises AssertionError when something is not as it should be."""
    daemon = Daemon(folder, prompt_cache="64MB")
    daemon.models.mkdir(parents=True)
    (daemon.models / "starter.gguf").symlink_to(starter_gguf())
    (daemon.models / "starter.json").write_text(json.dumps({"parameters": {"init": INIT}}))
    with daemon:
        outcome = asyncio.run(_soak(daemon, dice, minutes * 60))
    outcome.check()
    return outcome


async def _soak(daemon: Daemon, dice: random.Random, seconds: float) -> Outcome:
    outcome = Outcome()
    end_s = time.monotonic() + seconds
    async with aiohttp.ClientSession(daemon.url) as session:
        async with session.post("/v1/chat/completions", json=_chat(dice, max_tokens=1)) as first:
            assert first.status == 200, await first.text()
        clients = [
            asyncio.ensure_future(  # noqa: TID251
                _client(daemon.url, random.Random(dice.random()), end_s, outcome)
            )
            for _ in range(CLIENTS)
        ]
        while time.monotonic() < end_s:
            await asyncio.sleep(min(SAMPLE_S, max(0.0, end_s - time.monotonic())))
            _measure(daemon, outcome)
        await asyncio.gather(*clients)
        await _all_free(session)
    return outcome


def _measure(daemon: Daemon, outcome: Outcome) -> None:
    process = psutil.Process(daemon.pid)
    outcome.daemon.append(_own_bytes(process))
    outcome.engine.append(max(map(_own_bytes, process.children())))


def _own_bytes(process: psutil.Process) -> int:
    """Without mapped files, as those of the model count or do not, depending on who else has it mapped; with
    shared memory, where kept conversations are."""
    if not psutil.LINUX:
        return int(process.memory_full_info().uss)
    text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    sizes = re.findall(r"^(?:Anonymous|Pss_Shmem): +(\d+) kB$", text, re.MULTILINE)
    assert len(sizes) == 2, text
    return sum(map(int, sizes)) * 1024


async def _all_free(session: aiohttp.ClientSession) -> None:
    """Every slot comes free, and nothing waits."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        async with session.get("/metrics") as answer:
            text = await answer.text()
        busy = [int(n) for n in re.findall(r"^janagent_engine_requests_\w+\{.*\} (\d+)$", text, re.MULTILINE)]
        assert busy, "no engine runs any more"
        if not any(busy):
            return
        assert time.monotonic() < deadline, f"slots or places in the line are still taken: {busy}"
        await asyncio.sleep(0.5)


async def _client(url: str, dice: random.Random, end_s: float, outcome: Outcome) -> None:
    async with aiohttp.ClientSession(url) as session:
        while time.monotonic() < end_s:
            path, body = dice.choice(KINDS)(dice)
            leaves_after_s = dice.expovariate(1.0) if dice.random() < 1 / 3 else None
            try:
                async with asyncio.timeout(leaves_after_s), session.post(path, json=body) as answer:
                    await answer.read()
                    outcome.statuses[answer.status] += 1
            except TimeoutError:
                outcome.left += 1
            await asyncio.sleep(dice.random() * 0.2)


def _words(dice: random.Random, n: int) -> str:
    return " ".join(dice.choice(WORDS) for _ in range(n))


def _chat(dice: random.Random, **fields: Any) -> Body:
    turns = [
        {"role": role, "content": _words(dice, dice.randrange(2, 40))}
        for _ in range(dice.randrange(3))
        for role in ("user", "assistant")
    ]
    system = {"role": "system", "content": f"You speak of {dice.choice(WORDS)}."}
    messages = [system, *turns, {"role": "user", "content": _words(dice, 8)}]
    return {"model": "starter", "messages": messages, "max_tokens": dice.randrange(1, 60), **fields}


def _plain(dice: random.Random) -> tuple[str, Body]:
    return "/v1/chat/completions", _chat(dice)


def _stream(dice: random.Random) -> tuple[str, Body]:
    options = {"stream": True, "stream_options": {"include_usage": True}, "logprobs": dice.random() < 0.3}
    return "/v1/chat/completions", _chat(dice, **options)


def _several(dice: random.Random) -> tuple[str, Body]:
    return "/v1/chat/completions", _chat(dice, n=dice.randrange(2, 6), seed=dice.randrange(9))


def _json(dice: random.Random) -> tuple[str, Body]:
    shape = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}
    return "/v1/chat/completions", _chat(dice, response_format=shape, stream=dice.random() < 0.5)


def _call(dice: random.Random) -> tuple[str, Body]:
    return "/v1/chat/completions", _chat(
        dice, tools=[TOOL], tool_choice="required", stream=dice.random() < 0.5
    )


def _text(dice: random.Random) -> tuple[str, Body]:
    repeated = _words(dice, 30)  # so that something can be guessed
    prompt = f"{repeated}\n{repeated}\n{repeated[:40]}"
    return "/v1/completions", {"model": "starter", "prompt": prompt, "max_tokens": 40, "temperature": 0}


def _vectors(dice: random.Random) -> tuple[str, Body]:
    texts = [_words(dice, dice.randrange(1, 50)) for _ in range(dice.randrange(1, 20))]
    return "/v1/embeddings", {"model": "starter", "input": texts}


def _too_long(dice: random.Random) -> tuple[str, Body]:
    return "/v1/completions", {"model": "starter", "prompt": _words(dice, 3000)}


def _wrong(dice: random.Random) -> tuple[str, Body]:
    return "/v1/chat/completions", {"model": "starter", "messages": dice.choice([[], "a", None, [1]])}


def _nobody(dice: random.Random) -> tuple[str, Body]:
    return "/v1/chat/completions", _chat(dice) | {"model": "nobody"}


KINDS = (
    _plain,
    _plain,
    _stream,
    _stream,
    _stream,
    _several,
    _json,
    _call,
    _text,
    _vectors,
    _too_long,
    _wrong,
    _nobody,
)
