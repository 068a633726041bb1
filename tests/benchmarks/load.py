"""Owns the streaming clients: asks OpenAI-shaped servers from this one process, and times the answers.

It must not know which server it talks to beyond a `Target`. Work per chunk is kept tiny (bytes are
collected and parsed after the last one), because the clients share the machine's cores with the server that
they measure.
"""

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from time import perf_counter
from typing import Any

import aiohttp

ANSWER_LIMIT_S = 180.0

_WHO = [
    "A lighthouse keeper",
    "Two rival bakers",
    "An old clockmaker",
    "The last beekeeper",
    "A night train driver",
]
_WHERE = [
    "in a drowned city",
    "on a moon of Saturn",
    "near the salt desert",
    "under the northern ice",
    "at the world fair",
]
_WHAT = [
    "finds a map",
    "loses a bet",
    "hears a strange song",
    "repairs a broken robot",
    "writes a letter to the sea",
]


@dataclass(frozen=True)
class Target:
    """Where to ask: an OpenAI base URL without `/v1`, over TCP or, with `socket_path`, a Unix socket."""

    base_url: str
    model: str
    socket_path: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    """Request fields of this server alone: how it is told to write on beyond the end of the text."""

    def session(self) -> aiohttp.ClientSession:
        """A session whose connections go there; the caller closes it."""
        limit = aiohttp.ClientTimeout(total=ANSWER_LIMIT_S)
        if self.socket_path:
            return aiohttp.ClientSession(connector=aiohttp.UnixConnector(self.socket_path), timeout=limit)
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=limit)


@dataclass(frozen=True)
class Answer:
    """One streamed answer. `broken` says why it is not a whole one, `None` when it is."""

    tokens: int
    first_token_s: float
    broken: str | None = None
    longest_gap_s: float = 0.0
    """Between two pieces after the first token."""
    last_s: float = 0.0
    """When the last piece came."""
    text: str = ""

    @property
    def tokens_per_s(self) -> float:
        """From the first token on."""
        return (self.tokens - 1) / (self.last_s - self.first_token_s)


@dataclass(frozen=True)
class Burst:
    """What some clients, asking at the same moment, got."""

    wall_s: float
    answers: Sequence[Answer]

    @property
    def tokens_per_s(self) -> float:
        """All tokens over the time until the last answer ended."""
        return sum(answer.tokens for answer in self.answers) / self.wall_s

    @property
    def first_token_p50_s(self) -> float:
        """Of the clients that got a token."""
        return median(self._firsts())

    @property
    def first_token_max_s(self) -> float:
        """The client that waited longest."""
        return max(self._firsts())

    @property
    def broken(self) -> list[str]:
        """One reason per broken stream."""
        return [answer.broken for answer in self.answers if answer.broken]

    def _firsts(self) -> list[float]:
        return [answer.first_token_s for answer in self.answers if answer.tokens] or [float("nan")]


def prompts(number: int, *, seed: int) -> list[str]:
    """Different from their first word on: nothing but the template's own prefix can be shared."""
    made = []
    for client in range(number):
        at = seed * 31 + client * 7
        who, where, what = _WHO[at % 5], _WHERE[(at // 5) % 5], _WHAT[(at // 3) % 5]
        made.append(
            f"{seed * 100 + client + 11} days ago: {who} {where} {what}. Tell the whole story in many long "
            "paragraphs, with names, dialogue and the weather."
        )
    return made


def body(target: Target, prompt: str, *, tokens: int, system: str = "") -> dict[str, Any]:
    """The request that every server gets; sampling is spelt out, so that all run the same samplers."""
    before = [{"role": "system", "content": system}] if system else []
    return {
        "model": target.model,
        "messages": [*before, {"role": "user", "content": prompt}],
        "max_tokens": tokens,
        "temperature": 0.8,
        "top_k": 40,
        "top_p": 0.95,
        "min_p": 0.05,
        "stream": True,
        "stream_options": {"include_usage": True},
        **target.extra,
    }


async def burst(
    target: Target,
    clients: int,
    *,
    tokens: int,
    seed: int,
    system: str = "",
    at_a_time: int | None = None,
    questions: Sequence[str] | None = None,
) -> Burst:
    """`clients` conversations, all started at once or `at_a_time` of them; returns when all have ended. They
    begin with `questions`, or with requests for long stories."""
    places = asyncio.Semaphore(at_a_time or clients)

    async def answered(session: aiohttp.ClientSession, prompt: str) -> Answer:
        async with places:
            return await ask(session, target, body(target, prompt, tokens=tokens, system=system))

    async with target.session() as session:
        begun = perf_counter()
        asked = questions or prompts(clients, seed=seed)
        answers = await asyncio.gather(*(answered(session, one) for one in asked[:clients]))
        return Burst(perf_counter() - begun, answers)


async def ask(session: aiohttp.ClientSession, target: Target, request: dict[str, Any]) -> Answer:
    """One streamed chat; never raises for what the server does."""
    received = bytearray()
    first: float | None = None
    last = longest = 0.0
    begun = perf_counter()
    try:
        async with session.post(f"{target.base_url}/v1/chat/completions", json=request) as response:
            if response.status != 200:
                return Answer(0, 0.0, f"HTTP {response.status}: {(await response.text())[:200]}")
            async for chunk in response.content.iter_any():
                received += chunk
                now = perf_counter() - begun
                if first is not None:
                    last, longest = now, max(longest, now - last)
                elif any(map(_content, events(bytes(received)))):
                    first = last = now
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return Answer(0, first or 0.0, f"{type(error).__name__}: {error}"[:200])
    judged = _judged(bytes(received), first, ended_s=perf_counter() - begun)
    text = "".join(map(_content, events(bytes(received))))
    return replace(judged, longest_gap_s=longest, last_s=last, text=text)


def events(received: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects of the whole `data:` lines so far; `[DONE]` is left out."""
    for block in received.replace(b"\r\n", b"\n").split(b"\n\n")[:-1]:
        for line in block.split(b"\n"):
            if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
                yield json.loads(line[5:])


def _content(event: dict[str, Any]) -> str:
    choices = event.get("choices") or [{}]
    return (choices[0].get("delta") or {}).get("content") or ""


def _judged(received: bytes, first: float | None, *, ended_s: float) -> Answer:
    """An answer of a few bytes of one unfinished character has no text, and is whole all the same."""
    usage, pieces, reason = None, 0, None
    for event in events(received):
        if "error" in event:
            return Answer(0, first or 0.0, f"error event: {event['error']}"[:200])
        pieces += bool(_content(event))
        reason = (event.get("choices") or [{}])[0].get("finish_reason") or reason
        usage = event.get("usage") or usage
    # Without usage the pieces are counted: a token each, but for characters split over tokens.
    tokens = int(usage["completion_tokens"]) if usage else pieces
    if reason is None or b"[DONE]" not in received[-64:]:
        return Answer(tokens, first or 0.0, f"the stream ended early, after {pieces} pieces")
    return Answer(tokens, ended_s if first is None else first)
