"""The worker's HTTP: OpenAI's three calls and a health check on a Unix socket.

Turns bodies into work for the decode thread and its progress into responses. Neighbours: `requests` (bodies),
`prompt`, `scheduler`, `embeddings`, `answers` (shapes). The daemon's proxy is the only client meant.
"""

import asyncio
import base64
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from aiohttp import web

from janagent.engine.answers import DONE, ChunkWriter, Envelope, Usage, compact, error_event, whole
from janagent.engine.delivery import Collected, Streamed
from janagent.engine.embeddings import RANK, Embedder, EmbeddingError, Job, normalised
from janagent.engine.faults import (
    INVALID_REQUEST,
    RATE_LIMIT,
    RequestError,
    context_exceeded,
    engine_lost,
    unsupported,
)
from janagent.engine.model import Model, Tokens
from janagent.engine.prompt import ChatPrompt, PromptError
from janagent.engine.requests import (
    MAX_ANSWERS,
    MAX_INPUTS,
    ChatBody,
    CompletionBody,
    EmbeddingBody,
    SamplingBody,
    parse_body,
)
from janagent.engine.sampling import Sampling
from janagent.engine.scheduler import Scheduler
from janagent.engine.stream import EventStream, ReaderStalled
from janagent.engine.text import TextStream
from janagent.engine.work import Generation, QueueFull, Request

log = logging.getLogger(__name__)

_MAX_BODY_BYTES = 64 << 20
#: texts longer than this are tokenized beside the loop, so that running streams are not held up
_LONG_TEXT = 16_384

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """The handlers over one loaded model."""

    def __init__(
        self,
        *,
        model: Model,
        scheduler: Scheduler,
        embedder: Embedder | None,
        chat_prompt: ChatPrompt,
        defaults: Sampling,
        ctx_len: int,
        can_generate: bool,
        reader_stall_s: float,
        fingerprint: str,
    ) -> None:
        self._model = model
        self._scheduler = scheduler
        self._embedder = embedder
        self._chat_prompt = chat_prompt
        self._defaults = defaults
        self._ctx_len = ctx_len
        self._can_generate = can_generate
        self._reader_stall_s = reader_stall_s
        self._fingerprint = fingerprint

    def application(self) -> web.Application:
        """The aiohttp application with its routes."""
        app = web.Application(middlewares=[_errors], client_max_size=_MAX_BODY_BYTES)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_post("/v1/embeddings", self._embed)
        app.router.add_get("/health", self._health)
        return app

    async def _health(self, _request: web.Request) -> web.Response:
        live, queued = self._scheduler.counts()
        return _json({"status": "ok", "live": live, "queued": queued})

    # -- chat and text completions ---------------------------------------------------------------------------

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = parse_body(await request.read(), ChatBody)
        self._require_generation()
        limit = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
        if limit == 0:
            raise RequestError("max_tokens: must be at least 1", param="max_tokens", code="invalid_value")
        try:
            messages = [message.for_template() for message in body.messages]
            text = self._chat_prompt.render(messages, extra=body.chat_template_kwargs)
        except PromptError as error:
            raise RequestError(str(error), param="messages", code="template_error") from error
        bos = self._model.special_text(self._model.bos)
        if self._model.adds_bos and bos and text.startswith(bos):
            text = text[len(bos) :]  # the template wrote it already; the tokenizer's own is enough
        tokens = self._model.with_bos(await self._tokenize(text, special=True))
        self._check_length(tokens, param="messages")
        top = (body.top_logprobs or 0) if body.logprobs else None
        if body.top_logprobs is not None and not body.logprobs:
            raise RequestError(
                "top_logprobs: needs logprobs to be true", param="top_logprobs", code="invalid_value"
            )
        return await self._generate(
            request,
            body,
            [tokens],
            is_chat=True,
            limit=limit,
            top_logprobs=top,
            stops=self._chat_prompt.stops,
        )

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = parse_body(await request.read(), CompletionBody)
        self._require_generation()
        if body.echo and body.logprobs is not None:
            raise unsupported("logprobs", "not supported together with echo by this engine")
        prompts = [await self._prompt_tokens(item, body.suffix) for item in _each(body.prompt)]
        for tokens in prompts:
            self._check_length(tokens, param="prompt")
        echoed = [self._model.text_of(tokens) for tokens in prompts] if body.echo else []
        return await self._generate(
            request,
            body,
            prompts,
            is_chat=False,
            limit=body.max_tokens,
            top_logprobs=body.logprobs,
            echoed=[text for text in echoed for _ in range(body.n or 1)],
        )

    async def _prompt_tokens(self, prompt: str | Sequence[int], suffix: str | None) -> Tokens:
        if not isinstance(prompt, str):
            tokens = self._checked_tokens(prompt, param="prompt")
            if suffix:
                raise unsupported("suffix", "needs a prompt given as text")
        else:
            tokens = await self._tokenize(prompt, special=True)
        if suffix:
            fim = self._model.fill_in_middle
            if fim is None:
                raise unsupported("suffix", "this model was not trained to fill in the middle")
            after = await self._tokenize(suffix, special=False)
            before, between, middle = (np.array([token], dtype=np.int32) for token in fim)
            tokens = np.concatenate((before, tokens, between, after, middle))
        tokens = self._model.with_bos(tokens)
        if tokens.size == 0:
            # Something must be decoded to get the first logits.
            start = self._model.bos if self._model.bos >= 0 else self._model.eos
            tokens = np.array([max(0, start)], dtype=np.int32)
        return tokens

    async def _generate(
        self,
        request: web.Request,
        body: SamplingBody,
        prompts: list[Tokens],
        *,
        is_chat: bool,
        limit: int | None,
        top_logprobs: int | None,
        stops: Sequence[str] = (),
        echoed: Sequence[str] = (),
    ) -> web.StreamResponse:
        """Run `n` answers for each prompt and send them the way the body asks for."""
        n = body.n or 1
        if n * len(prompts) > MAX_ANSWERS:
            raise RequestError(
                f"n: at most {MAX_ANSWERS} answers in one request", param="n", code="invalid_value"
            )
        sampling = self._sampling(body)
        envelope = Envelope.new(model=clean(body.model), is_chat=is_chat, fingerprint=self._fingerprint)
        delivery: Collected | Streamed
        if body.stream:
            with_usage = bool(body.stream_options and body.stream_options.include_usage)
            chunks = ChunkWriter(
                envelope, n_choices=n * len(prompts), with_usage=with_usage, piece_of=self._model.piece
            )
            stream = EventStream(request)
            delivery = Streamed(stream, chunks, n=n * len(prompts), echoed=echoed)
        else:
            delivery = Collected(n * len(prompts))
        generations = [
            Generation(
                prompt=prompt,
                max_tokens=self._room(prompt, limit),
                sampling=_with_seed(sampling, choice),
                text=TextStream((*(body.stop or ()), *stops)),
                receive=functools.partial(delivery.receive, position * n + choice),
                top_logprobs=top_logprobs,
            )
            for position, prompt in enumerate(prompts)
            for choice in range(n)
        ]
        work = self._submit(generations)
        try:
            if isinstance(delivery, Streamed):
                await self._follow(delivery, stream, work)
                if not delivery.error:
                    end = chunks.usage(_usage(prompts, generations)) if with_usage else b""
                    stream.write(end + DONE)
                    await stream.close()
                return stream.response
            await delivery.done
        finally:
            self._scheduler.cancel(work)
        return _json(
            whole(
                envelope,
                delivery.choices,
                usage=_usage(prompts, generations),
                piece_of=self._model.piece,
                with_logprobs=top_logprobs is not None,
                echoed=echoed,
            )
        )

    async def _follow(self, delivery: Streamed, stream: EventStream, work: Request) -> None:
        """Stay with a stream until its end, pausing the request while its reader is behind.

        An error before the first byte is raised; after it, it is the stream's last event and the connection
        is cut, so that nobody takes the answer for whole. ReaderStalled likewise.
        """
        while not delivery.is_done:
            await delivery.changed.wait()
            delivery.changed.clear()
            if delivery.error is not None:
                if not stream.is_open:
                    raise delivery.error
                stream.write(error_event(delivery.error.body()))
                stream.cut()
                return
            if not stream.is_open:
                await stream.open()
                delivery.begin()
            if delivery.is_behind:
                self._scheduler.pause(work)
                try:
                    await stream.drained(stall_s=self._reader_stall_s)
                except ReaderStalled:
                    log.warning("a client took no byte for %g s and was cut", self._reader_stall_s)
                    stream.abort()
                    raise
                self._scheduler.resume(work)

    # -- embeddings ------------------------------------------------------------------------------------------

    async def _embed(self, request: web.Request) -> web.Response:
        body = parse_body(await request.read(), EmbeddingBody)
        embedder = self._embedder
        if embedder is None:
            raise RequestError(
                "embeddings are switched off for this model (embedding: false)", code="embeddings_disabled"
            )
        if embedder.pooling == RANK:
            raise RequestError("this model ranks texts and makes no embeddings", code="embeddings_disabled")
        if body.dimensions is not None and body.dimensions > self._model.n_embd:
            raise RequestError(
                f"dimensions: this model has {self._model.n_embd}", param="dimensions", code="invalid_value"
            )
        inputs = await self._embedding_inputs(body, limit=embedder.limit)
        try:
            job = embedder.submit(inputs)
        except QueueFull as error:
            raise _queue_full(error) from error
        self._scheduler.wake()
        try:
            await job.done
        except EmbeddingError as error:
            raise engine_lost(str(error)) from error
        finally:
            embedder.cancel(job)
        return _json(_embedding_list(body, job))

    async def _embedding_inputs(self, body: EmbeddingBody, *, limit: int) -> list[Tokens]:
        items = _each(body.input)
        if not 1 <= len(items) <= MAX_INPUTS:
            raise RequestError(f"input: must be 1 to {MAX_INPUTS} texts", param="input", code="invalid_value")
        inputs = []
        for item in items:
            if isinstance(item, str):
                tokens = await self._tokenize(item, special=False, add_special=True)
            else:
                tokens = self._checked_tokens(item, param="input")
            if tokens.size == 0 or not item:
                raise RequestError("input: must not be empty", param="input", code="invalid_value")
            if tokens.size > limit:
                raise RequestError(
                    f"input: has {tokens.size} tokens, this model takes {limit}",
                    param="input",
                    code="context_length_exceeded",
                )
            inputs.append(tokens)
        return inputs

    # -- shared ----------------------------------------------------------------------------------------------

    def _require_generation(self) -> None:
        if not self._can_generate:
            raise RequestError(
                "this model makes embeddings only; use /v1/embeddings", code="model_not_generative"
            )

    async def _tokenize(self, text: str, *, special: bool, add_special: bool = False) -> Tokens:
        tokenize = functools.partial(self._model.tokenize, text, special=special, add_special=add_special)
        return await asyncio.to_thread(tokenize) if len(text) > _LONG_TEXT else tokenize()

    def _checked_tokens(self, tokens: Sequence[int], *, param: str) -> Tokens:
        if tokens and max(tokens) >= self._model.n_vocab:
            raise RequestError(
                f"{param}: token {max(tokens)} is not in the vocabulary of {self._model.n_vocab}",
                param=param,
                code="invalid_value",
            )
        return np.array(tokens, dtype=np.int32)

    def _check_length(self, tokens: Tokens, *, param: str) -> None:
        if tokens.size >= self._ctx_len:
            raise context_exceeded(tokens.size, self._ctx_len, param=param)

    def _room(self, prompt: Tokens, limit: int | None) -> int:
        room = self._ctx_len - prompt.size
        return room if limit is None else min(limit, room)

    def _sampling(self, body: SamplingBody) -> Sampling:
        bias = _logit_bias(body.logit_bias or {}, n_vocab=self._model.n_vocab)
        if body.ignore_eos:
            bias.update(dict.fromkeys(self._model.end_tokens, float("-inf")))
        given = {
            name: value
            for name in (
                "temperature",
                "top_k",
                "top_p",
                "min_p",
                "repeat_penalty",
                "presence_penalty",
                "frequency_penalty",
            )
            if (value := getattr(body, name)) is not None
        }
        # llama.cpp's custom for a random seed is -1
        seed = body.seed if body.seed is not None and body.seed >= 0 else None
        return replace(self._defaults, **given, seed=seed, logit_bias=bias)

    def _submit(self, generations: list[Generation]) -> Request:
        try:
            return self._scheduler.submit(generations)
        except QueueFull as error:
            raise _queue_full(error) from error


def _with_seed(sampling: Sampling, choice: int) -> Sampling:
    if sampling.seed is None or choice == 0:
        return sampling
    return replace(sampling, seed=sampling.seed + choice)


def _logit_bias(given: dict[str, float], *, n_vocab: int) -> dict[int, float]:
    bias = {}
    for name, value in given.items():
        if not name.isdecimal() or int(name) >= n_vocab:
            raise RequestError(
                f"logit_bias: {clean(name)[:40]!r} is not a token of this model",
                param="logit_bias",
                code="invalid_value",
            )
        # OpenAI: -100 bans a token
        bias[int(name)] = float("-inf") if value == -100 else value
    return bias


def _each(value: str | Sequence[Any]) -> list[Any]:
    """The items of a prompt or input: one text, one token list, or a list of either."""
    if isinstance(value, str):
        return [value]
    if value and isinstance(value[0], int):
        return [value]
    return list(value)


def _usage(prompts: Sequence[Tokens], generations: Sequence[Generation]) -> Usage:
    return Usage(
        prompt=sum(prompt.size for prompt in prompts),
        completion=sum(generation.n_generated for generation in generations),
        cached=min((generation.n_cached for generation in generations), default=0),
    )


def _embedding_list(body: EmbeddingBody, job: Job) -> dict[str, Any]:
    data = []
    for index in range(len(job.inputs)):
        vector = job.vectors[index]
        if body.dimensions is not None and body.dimensions < vector.size:
            vector = normalised(vector, dimensions=body.dimensions)
        shown: Any
        if body.encoding_format == "base64":
            shown = base64.b64encode(vector.astype("<f4").tobytes()).decode()
        else:
            shown = vector.tolist()
        data.append({"object": "embedding", "index": index, "embedding": shown})
    n_tokens = sum(tokens.size for tokens in job.inputs)
    return {
        "object": "list",
        "data": data,
        "model": clean(body.model),
        "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
    }


def _queue_full(error: QueueFull) -> RequestError:
    return RequestError(
        "all slots are busy and the queue is full; try again later",
        status=429,
        kind=RATE_LIMIT,
        code="queue_full",
        retry_after_s=error.retry_after_s,
    )


def clean(text: str) -> str:
    """`text` without lone surrogates, which JSON allows in a request but UTF-8 cannot carry back."""
    return text.encode("utf-8", errors="replace").decode()


def _json(body: dict[str, Any], *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=compact(body).encode("utf-8", errors="replace"),
        status=status,
        headers=headers,
        content_type="application/json",
    )


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error in OpenAI's shape."""
    try:
        return await handler(request)
    except RequestError as error:
        headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
        return _json(error.body(), status=error.status, headers=headers)
    except web.HTTPException as error:
        fault = RequestError(error.reason, status=error.status, kind=INVALID_REQUEST)
        return _json(fault.body(), status=error.status)
    except (ReaderStalled, ConnectionError):
        # The connection is gone; aiohttp needs an answer object but has nobody to send it to.
        return web.Response(status=499)
    except Exception as error:
        log.exception("%s %s failed", request.method, request.path)
        return _json(engine_lost(f"internal error: {type(error).__name__}").body(), status=500)
