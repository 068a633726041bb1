"""The embeddings call: its inputs, limits and answer. `embeddings` does the computing.

Knows HTTP and OpenAI's shape, not llama.cpp.
"""

import asyncio
import base64
from collections.abc import Callable, Iterator

from aiohttp import web

from janagent.engine.answers import compact
from janagent.engine.embeddings import RANK, Embedder, EmbeddingError, Job, Vector, normalised
from janagent.engine.faults import RequestError, engine_lost
from janagent.engine.model import Model, Tokens
from janagent.engine.replies import clean, queue_full
from janagent.engine.requests import MAX_INPUTS, EmbeddingBody, read_body
from janagent.engine.tokenizing import checked, each, tokenized
from janagent.engine.work import QueueFull

_PIECE_BYTES = 256 << 10


class Vectors:
    """POST /v1/embeddings. `embedder` is None when embeddings are switched off.

    `wake` tells the decode thread.
    """

    def __init__(self, embedder: Embedder | None, *, model: Model, wake: Callable[[], None]) -> None:
        self._embedder = embedder
        self._model = model
        self._wake = wake

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The handler. Raises RequestError."""
        body = await read_body(await request.read(), EmbeddingBody)
        embedder = self._embedder
        if embedder is None:
            raise RequestError(
                "embeddings are switched off for this model (embedding: false)", code="embeddings_disabled"
            )
        if embedder.pooling == RANK:
            raise RequestError(
                "this model ranks texts and makes no embeddings; use /v1/rerank", code="embeddings_disabled"
            )
        if body.dimensions is not None and body.dimensions > self._model.n_embd:
            raise RequestError(
                f"dimensions: this model has {self._model.n_embd}", param="dimensions", code="invalid_value"
            )
        inputs = await self._inputs(body, limit=embedder.limit)
        job = await computed(embedder, inputs, wake=self._wake)
        return await _sent(request, _shown(body, job))

    async def _inputs(self, body: EmbeddingBody, *, limit: int) -> list[Tokens]:
        items = each(body.input)
        if not 1 <= len(items) <= MAX_INPUTS:
            raise RequestError(f"input: must be 1 to {MAX_INPUTS} texts", param="input", code="invalid_value")
        inputs = []
        for item in items:
            if isinstance(item, str):
                tokens = await tokenized(self._model, item, special=False, add_special=True)
            else:
                tokens = checked(self._model, item, param="input")
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


async def computed(embedder: Embedder, inputs: list[Tokens], *, wake: Callable[[], None]) -> Job:
    """The job of `inputs`, done. Raises RequestError."""
    try:
        job = embedder.submit(inputs)
    except QueueFull as error:
        raise queue_full(error) from error
    wake()
    try:
        await job.done
    except EmbeddingError as error:
        raise engine_lost(str(error)) from error
    finally:
        embedder.cancel(job)
    return job


async def _sent(request: web.Request, pieces: Iterator[bytes]) -> web.StreamResponse:
    """The answer, its digits written beside the loop; one of several pieces is sent as they are made."""
    piece = await asyncio.to_thread(next, pieces)
    following = await asyncio.to_thread(next, pieces, None)
    if following is None:
        return web.Response(body=piece, content_type="application/json")
    response = web.StreamResponse()
    response.content_type = "application/json"
    await response.prepare(request)
    await response.write(piece)
    while following is not None:
        await response.write(following)
        following = await asyncio.to_thread(next, pieces, None)
    await response.write_eof()
    return response


def _shown(body: EmbeddingBody, job: Job) -> Iterator[bytes]:
    """The answer in pieces: two thousand vectors are up to a hundred megabytes of digits."""
    n_tokens = sum(tokens.size for tokens in job.inputs)
    usage = {"prompt_tokens": n_tokens, "total_tokens": n_tokens}
    rest = compact({"model": clean(body.model), "usage": usage}).removeprefix("{").encode()
    text = bytearray(b'{"object":"list","data":[')
    for index in range(len(job.inputs)):
        vector = job.vectors.pop(index)
        if body.dimensions is not None and body.dimensions < vector.size:
            vector = normalised(vector, dimensions=body.dimensions)
        text += b'%s{"object":"embedding","index":%d,"embedding":' % (b"," if index else b"", index)
        text += _written(vector, body.encoding_format) + b"}"
        if len(text) >= _PIECE_BYTES:
            yield bytes(text)
            text.clear()
    yield bytes(text) + b"]," + rest


def _written(vector: Vector, encoding_format: str | None) -> bytes:
    if encoding_format == "base64":
        return b'"' + base64.b64encode(vector.astype("<f4").tobytes()) + b'"'
    # Nine digits give back the very float32; Python would write the seventeen of a float64.
    return b"[" + (b",".join([b"%.9g"] * vector.size)) % tuple(vector.tolist()) + b"]"
