"""Runs the answers of one chat or text completion and sends them, whole or as a stream.

Neighbours: `server` says what is wanted, `scheduler` generates, `delivery` gathers, `answers` has the shapes.
"""

import asyncio
import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from aiohttp import web

from janagent.body import BodyStream, ReaderStalled
from janagent.engine.answers import DONE, ChunkWriter, Envelope, Usage, error_event, whole
from janagent.engine.conversation import NO_READING, Reading
from janagent.engine.delivery import Collected, Streamed
from janagent.engine.faults import RequestError
from janagent.engine.media import Prompt
from janagent.engine.model import Model
from janagent.engine.reader import AnswerReader
from janagent.engine.replies import clean, json_reply, queue_full
from janagent.engine.requests import MAX_ANSWERS, SamplingBody
from janagent.engine.sampling import Sampling
from janagent.engine.scheduler import Scheduler
from janagent.engine.text import TextStream
from janagent.engine.tools import Toolbox
from janagent.engine.wishes import ShapeMaker
from janagent.engine.work import Finish, Generation, Progress, QueueFull, Request

log = logging.getLogger(__name__)

_EVENTS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
_SAMPLING_FIELDS = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a request asks for, checked and tokenized.

    `limit` is its max_tokens; `echoed` one text a choice.
    """

    body: SamplingBody
    prompts: Sequence[Prompt]
    is_chat: bool
    limit: int | None
    top_logprobs: int | None
    stops: Sequence[str] = ()
    echoed: Sequence[str] = ()
    n_keep: int | None = None
    """Tokens of the prompt that stay when the context shifts; None: it does not."""
    toolbox: Toolbox | None = None
    reading: Reading = NO_READING

    def readers(self) -> list[AnswerReader]:
        """One for each answer, or none where all that is said is words."""
        if self.reading.form is None and self.reading.thinking is None:
            return []
        toolbox = self.toolbox or Toolbox()
        return [
            AnswerReader(
                form=self.reading.form,
                thinking=self.reading.thinking,
                tools=toolbox.parameters,
                may_call_several=toolbox.may_call_several,
            )
            for _ in range(self.n_choices)
        ]

    @property
    def n_choices(self) -> int:
        """How many answers there are: `n` for each prompt."""
        return len(self.prompts) * (self.body.n or 1)


class Generator:
    """Answers `Wanted` over one scheduler. `defaults` hold where a request is silent."""

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        model: Model,
        defaults: Sampling,
        ctx_len: int,
        reader_stall_s: float,
        fingerprint: str,
    ) -> None:
        self._shapes = ShapeMaker(model)
        self._scheduler = scheduler
        self._model = model
        self._defaults = defaults
        self._ctx_len = ctx_len
        self._reader_stall_s = reader_stall_s
        self._fingerprint = fingerprint

    async def run(self, request: web.Request, wanted: Wanted) -> web.StreamResponse:
        """Generate and send. Raises RequestError before the first byte."""
        if wanted.n_choices > MAX_ANSWERS:
            raise RequestError(
                f"n: at most {MAX_ANSWERS} answers in one request", param="n", code="invalid_value"
            )
        forced = None if wanted.toolbox is None else wanted.toolbox.forcing_schema()
        grammar = await self._shapes.prepare(wanted.body, forced=forced, instead=wanted.reading.instead)
        if wanted.body.stream:
            return await self._stream(request, wanted, grammar)
        return await self._collect(wanted, grammar)

    async def _collect(self, wanted: Wanted, grammar: str | None) -> web.Response:
        collected = Collected(wanted.n_choices)
        generations = self._generations(wanted, collected, grammar)
        work = self._submit(generations)
        try:
            await collected.done
        finally:
            self._scheduler.cancel(work)
        for choice, reader in zip(collected.choices, wanted.readers(), strict=False):
            choice.read(reader)
        body = whole(
            self._envelope(wanted),
            collected.choices,
            usage=_usage(wanted, generations),
            piece_of=self._model.piece,
            with_logprobs=wanted.top_logprobs is not None,
            echoed=wanted.echoed,
        )
        return json_reply(body)

    async def _stream(self, request: web.Request, wanted: Wanted, grammar: str | None) -> web.StreamResponse:
        options = wanted.body.stream_options
        with_usage = bool(options and options.include_usage)
        chunks = ChunkWriter(
            self._envelope(wanted),
            n_choices=wanted.n_choices,
            with_usage=with_usage,
            piece_of=self._model.piece,
        )
        stream = BodyStream(request, web.StreamResponse(headers=_EVENTS))
        streamed = Streamed(
            stream, chunks, n=wanted.n_choices, echoed=wanted.echoed, readers=wanted.readers()
        )
        generations = self._generations(wanted, streamed, grammar)
        work = self._submit(generations)
        try:
            await self._follow(streamed, stream, work)
        finally:
            self._scheduler.cancel(work)
        if streamed.error is None:
            stream.write((chunks.usage(_usage(wanted, generations)) if with_usage else b"") + DONE)
            await stream.close()
        return stream.response

    async def _follow(self, streamed: Streamed, stream: BodyStream, work: Request) -> None:
        """Stay with a stream until its end, pausing the request while its reader is behind.

        An error before the first byte is raised; after it, it is the stream's last event and the connection
        is cut, so that nobody takes the answer for whole. A reader that stalls is cut likewise.
        """
        while True:
            await streamed.changed.wait()
            streamed.changed.clear()
            if streamed.error is not None:
                if not stream.is_open:
                    raise streamed.error
                stream.write(error_event(streamed.error.body()))
                stream.cut()
                return
            if not stream.is_open:
                await stream.open()
            if stream.is_congested:
                self._scheduler.pause(work)
                try:
                    await stream.drained(stall_s=self._reader_stall_s)
                except ReaderStalled:
                    log.warning("a client took no byte for %g s and was cut", self._reader_stall_s)
                    stream.abort()
                    raise
                self._scheduler.resume(work)
            if streamed.is_done:
                return

    def _generations(
        self, wanted: Wanted, delivery: Collected | Streamed, grammar: str | None
    ) -> list[Generation]:
        body, n = wanted.body, wanted.body.n or 1
        sampling = self._sampling(body, may_go_on=grammar is None)
        stops = (*(body.stop or ()), *wanted.stops)
        return [
            Generation(
                prompt=prompt.tokens,
                media=prompt.media,
                n_keep=wanted.n_keep,
                max_tokens=self._room(prompt, wanted),
                sampling=_for_choice(sampling, choice),
                text=TextStream(stops),
                receive=functools.partial(delivery.receive, position * n + choice),
                top_logprobs=wanted.top_logprobs,
                walk=None if grammar is None else self._shapes.walk(grammar, wanted.reading.detours),
                shown=wanted.reading.detours.shown,
            )
            for position, prompt in enumerate(wanted.prompts)
            for choice in range(n)
        ]

    def _submit(self, generations: list[Generation]) -> Request:
        if all(generation.max_tokens == 0 for generation in generations):
            loop = asyncio.get_running_loop()
            for generation in generations:
                loop.call_soon(generation.receive, Progress("", Finish.LENGTH))
            return Request(generations=generations)
        try:
            return self._scheduler.submit(generations)
        except QueueFull as error:
            raise queue_full(error) from error

    def _room(self, prompt: Prompt, wanted: Wanted) -> int:
        if wanted.n_keep is not None:
            return self._ctx_len if wanted.limit is None else wanted.limit
        room = self._ctx_len - prompt.tokens.size
        return room if wanted.limit is None else min(wanted.limit, room)

    def _sampling(self, body: SamplingBody, *, may_go_on: bool) -> Sampling:
        """`may_go_on`: no wanted shape says where the end is."""
        bias = _logit_bias(body.logit_bias or {}, n_vocab=self._model.n_vocab)
        if body.ignore_eos and may_go_on:
            bias.update(dict.fromkeys(self._model.end_tokens, float("-inf")))
        given = {name: getattr(body, name) for name in _SAMPLING_FIELDS}
        # llama.cpp's custom: a negative seed means a random one.
        seed = body.seed if body.seed is not None and body.seed >= 0 else None
        changed = {name: value for name, value in given.items() if value is not None}
        return replace(self._defaults, **changed, seed=seed, logit_bias=bias)

    def _envelope(self, wanted: Wanted) -> Envelope:
        return Envelope.new(
            model=clean(wanted.body.model), is_chat=wanted.is_chat, fingerprint=self._fingerprint
        )


def _for_choice(sampling: Sampling, choice: int) -> Sampling:
    """Each of `n` answers gets a seed of its own, or all would be the same."""
    if sampling.seed is None or choice == 0:
        return sampling
    return replace(sampling, seed=sampling.seed + choice)


def _logit_bias(given: Mapping[str, float], *, n_vocab: int) -> dict[int, float]:
    bias = {}
    for name, value in given.items():
        if not (name.isascii() and name.isdecimal() and int(name[:12]) < n_vocab):
            raise RequestError(
                f"logit_bias: {clean(name)[:40]!r} is not a token of this model",
                param="logit_bias",
                code="invalid_value",
            )
        # OpenAI: -100 bans a token.
        bias[int(name)] = float("-inf") if value == -100 else value
    return bias


def _usage(wanted: Wanted, generations: Sequence[Generation]) -> Usage:
    return Usage(
        prompt=sum(prompt.tokens.size for prompt in wanted.prompts),
        completion=sum(generation.n_generated for generation in generations),
        cached=min((generation.n_cached for generation in generations), default=0),
    )
