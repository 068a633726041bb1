"""OpenAI's answer shapes: whole objects, and streaming chunks with as little work per token as possible.

Pure: knows neither sockets nor threads. All bytes of a stream are made here.
"""

import json
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring as quote
from typing import Any

from janagent.engine.calls import Arguments, Call, Piece, Words
from janagent.engine.reader import AnswerReader
from janagent.engine.sampling import TokenChances
from janagent.engine.work import Finish, TokenReport

DONE = b"data: [DONE]\n\n"

PieceOf = Callable[[int], bytes]


def compact(value: Any) -> str:
    """JSON without spaces, non-ASCII text as it is."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Token counts of one request, all its answers together.

    `cached` of the prompt were not computed again.
    """

    prompt: int
    completion: int
    cached: int = 0

    def shown(self) -> dict[str, Any]:
        """OpenAI's usage object."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """What all objects of one answer share."""

    id: str
    created: int
    model: str
    is_chat: bool
    fingerprint: str

    @classmethod
    def new(cls, *, model: str, is_chat: bool, fingerprint: str) -> "Envelope":
        """An envelope with a fresh id and the present time."""
        prefix = "chatcmpl-" if is_chat else "cmpl-"
        return cls(
            id=prefix + secrets.token_hex(14),
            created=int(time.time()),
            model=model,
            is_chat=is_chat,
            fingerprint=fingerprint,
        )

    def head(self, *, streaming: bool) -> dict[str, Any]:
        """The fields before `choices`."""
        kind = "text_completion"
        if self.is_chat:
            kind = "chat.completion.chunk" if streaming else "chat.completion"
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


@dataclass(kw_only=True)
class Choice:
    """One finished or growing answer of a whole (not streamed) response."""

    texts: list[str] = field(default_factory=list)
    reports: list[TokenReport] = field(default_factory=list)
    finish: Finish | None = None
    said: dict[str, Any] = field(default_factory=dict)
    """What `read` found: fields of the message."""

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.texts)

    def read(self, reader: AnswerReader) -> None:
        """Tell thoughts, words and calls apart."""
        pieces = [*reader.feed(self.text), *reader.finish()]
        words = "".join(p.text for p in pieces if isinstance(p, Words) and not p.is_thought)
        thoughts = "".join(p.text for p in pieces if isinstance(p, Words) and p.is_thought)
        calls = [p for p in pieces if isinstance(p, Call)]
        arguments = {call.index: "" for call in calls}
        for piece in pieces:
            if isinstance(piece, Arguments):
                arguments[piece.index] += piece.text
        self.said = {"content": words if words or not calls else None}
        if thoughts:
            self.said["reasoning_content"] = thoughts
        if calls:
            self.said["tool_calls"] = [_shown_call(call, arguments[call.index]) for call in calls]
            self.finish = Finish.TOOL_CALLS if self.finish is Finish.STOP else self.finish


def _shown_call(call: Call, arguments: str) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def whole(
    envelope: Envelope,
    choices: Sequence[Choice],
    *,
    usage: Usage,
    piece_of: PieceOf,
    with_logprobs: bool,
    echoed: Sequence[str] = (),
) -> dict[str, Any]:
    """The response object of a request that does not stream. `echoed` are prompts to put before the texts."""
    shown = []
    for index, choice in enumerate(choices):
        text = (echoed[index] if echoed else "") + choice.text
        logprobs = None
        if with_logprobs:
            offset = len(echoed[index]) if echoed else 0
            logprobs = shown_logprobs(
                choice.reports, piece_of=piece_of, is_chat=envelope.is_chat, offset=offset
            )
        body: dict[str, Any] = {"index": index}
        if envelope.is_chat:
            body["message"] = {"role": "assistant", "content": text, "refusal": None, **choice.said}
        else:
            body["text"] = text
        shown.append({**body, "logprobs": logprobs, "finish_reason": choice.finish})
    return {**envelope.head(streaming=False), "choices": shown, "usage": usage.shown()}


class ChunkWriter:
    """Makes the events of one stream.

    The constant parts are joined once, so a token costs one string join.
    """

    def __init__(self, envelope: Envelope, *, n_choices: int, with_usage: bool, piece_of: PieceOf) -> None:
        self._envelope = envelope
        self._piece_of = piece_of
        self._tail = ',"usage":null}\n\n' if with_usage else "}\n\n"
        head = "data: " + compact(envelope.head(streaming=True))[:-1]
        opening = '"delta":{"content":' if envelope.is_chat else '"text":'
        self._closing = "}" if envelope.is_chat else ""
        self._fronts = [f'{head},"choices":[{{"index":{i},{opening}' for i in range(n_choices)]
        self._roles = [
            f'{head},"choices":[{{"index":{i},"delta":{{"role":"assistant","content":""}},'
            f'"logprobs":null,"finish_reason":null}}]{self._tail}'
            for i in range(n_choices)
        ]
        self._ends = [f'{head},"choices":[{{"index":{i},"delta":{{}},' for i in range(n_choices)]
        self._plain = f'{self._closing},"logprobs":null,"finish_reason":null}}]{self._tail}'

    def role(self, index: int) -> bytes:
        """The first event of a chat answer; nothing for a text completion."""
        return self._roles[index].encode() if self._envelope.is_chat else b""

    def text(self, index: int, text: str, reports: Sequence[TokenReport] = (), *, offset: int = 0) -> bytes:
        """An event with more text."""
        if not reports:
            return (self._fronts[index] + quote(text) + self._plain).encode()
        return (
            f"{self._fronts[index]}{quote(text)}{self._closing},"
            f'"logprobs":{self._logprobs(reports, offset=offset)},"finish_reason":null}}]{self._tail}'
        ).encode()

    def piece(self, index: int, piece: Piece, reports: Sequence[TokenReport] = ()) -> bytes:
        """An event with a part of what an answer says."""
        match piece:
            case Words(text=text, is_thought=False):
                return self.text(index, text, reports)
            case Words(text=text):
                return self._delta(index, {"reasoning_content": text}, reports)
            case Call():
                begun = {"index": piece.index, **_shown_call(piece, "")}
                return self._delta(index, {"tool_calls": [begun]}, reports)
            case Arguments(text=text):
                more = {"index": piece.index, "function": {"arguments": text}}
                return self._delta(index, {"tool_calls": [more]}, reports)

    def _delta(self, index: int, delta: dict[str, Any], reports: Sequence[TokenReport]) -> bytes:
        front = self._ends[index].removesuffix("{},")
        return (
            f'{front}{compact(delta)},"logprobs":{self._logprobs(reports)},"finish_reason":null}}]{self._tail}'
        ).encode()

    def end(self, index: int, finish: Finish, reports: Sequence[TokenReport] = ()) -> bytes:
        """The event that ends one answer."""
        front = self._ends[index] if self._envelope.is_chat else self._fronts[index] + '"",'
        ending = f'"logprobs":{self._logprobs(reports)},"finish_reason":"{finish.value}"'
        return f"{front}{ending}}}]{self._tail}".encode()

    def _logprobs(self, reports: Sequence[TokenReport], *, offset: int = 0) -> str:
        if not reports:
            return "null"
        shown = shown_logprobs(
            reports, piece_of=self._piece_of, is_chat=self._envelope.is_chat, offset=offset
        )
        return compact(shown)

    def usage(self, usage: Usage) -> bytes:
        """The event before the last when the client asked for usage."""
        head = self._envelope.head(streaming=True)
        return f"data: {compact({**head, 'choices': [], 'usage': usage.shown()})}\n\n".encode()


def error_event(body: dict[str, Any]) -> bytes:
    """An error in the middle of a stream."""
    return f"data: {compact(body)}\n\n".encode()


def shown_logprobs(
    reports: Sequence[TokenReport], *, piece_of: PieceOf, is_chat: bool, offset: int
) -> dict[str, Any]:
    """The logprobs object: chat's `content` list, or the parallel lists of text completions."""
    if is_chat:
        return {"content": [_chat_token(report.chances, piece_of) for report in reports], "refusal": None}
    return {
        "tokens": [_shown(piece_of(report.chances.token)) for report in reports],
        "token_logprobs": [report.chances.logprob for report in reports],
        "top_logprobs": [
            {_shown(piece_of(token)): logprob for token, logprob in reversed(report.chances.top)}
            for report in reports
        ],
        "text_offset": [offset + report.at_char for report in reports],
    }


def _chat_token(chances: TokenChances, piece_of: PieceOf) -> dict[str, Any]:
    def entry(token: int, logprob: float) -> dict[str, Any]:
        piece = piece_of(token)
        return {"token": _shown(piece), "logprob": logprob, "bytes": list(piece)}

    top = [entry(token, logprob) for token, logprob in chances.top]
    return {**entry(chances.token, chances.logprob), "top_logprobs": top}


def _shown(piece: bytes) -> str:
    return piece.decode(errors="replace")
