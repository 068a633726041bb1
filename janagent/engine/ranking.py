"""The rerank call: how well each document answers a query, by a model made for that. `embeddings` computes.

The shapes are those that clients of llama-server, Jina and Cohere send and expect. How a query and a document
become one input is the model's: its own `rerank` template, else the two texts between the marks that its
tokenizer wants around pairs. Knows HTTP, not llama.cpp.
"""

import asyncio
import math
import re
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
from aiohttp import web

from janagent.engine.answers import compact
from janagent.engine.embeddings import RANK, Embedder, Job
from janagent.engine.faults import RequestError
from janagent.engine.model import Model, Tokens
from janagent.engine.replies import clean
from janagent.engine.requests import MAX_INPUTS, RerankBody, read_body
from janagent.engine.tokenizing import tokenized
from janagent.engine.vectors import computed

_PLACE = re.compile(r"\{(query|document)\}")
_ALREADY_CHANCES = frozenset({"qwen3", "qwen3vl"})
"""Architectures whose graph ends in a softmax over yes and no (llama.cpp, llama-graph.cpp, build_pooling)."""


class Ranking:
    """POST /v1/rerank. `embedder` is None when there is nothing to compute with; `wake` tells the decode
    thread; `has_classifier` is False for a file without the head that gives the scores."""

    def __init__(
        self, embedder: Embedder | None, *, model: Model, wake: Callable[[], None], has_classifier: bool
    ) -> None:
        self._embedder = embedder
        self._model = model
        self._wake = wake
        self._has_classifier = has_classifier

    async def answer(self, request: web.Request) -> web.Response:
        """The handler. Raises RequestError."""
        body = await read_body(await request.read(), RerankBody)
        embedder = self._embedder
        if embedder is None or embedder.pooling != RANK:
            raise RequestError(
                "this model cannot rank: its file does not say so (pooling type rank), as that of a reranker "
                "does",
                code="rerank_unsupported",
            )
        if not self._has_classifier:
            raise RequestError(
                "this model cannot rank: its file has no classifier head (cls.output.weight); convert the "
                "model again with it",
                code="rerank_unsupported",
            )
        inputs = await self._inputs(body, limit=embedder.limit)
        job = await computed(embedder, inputs, wake=self._wake)
        data = await asyncio.to_thread(lambda: compact(self._shown(body, job)).encode("utf-8", "replace"))
        return web.Response(body=data, content_type="application/json")

    async def _inputs(self, body: RerankBody, *, limit: int) -> list[Tokens]:
        if not body.query:
            raise RequestError("query: must not be empty", param="query", code="invalid_value")
        if not 1 <= len(body.documents) <= MAX_INPUTS:
            raise RequestError(
                f"documents: must be 1 to {MAX_INPUTS} texts", param="documents", code="invalid_value"
            )
        template = self._model.metadata("tokenizer.chat_template.rerank")
        query = await tokenized(self._model, body.query, special=False)
        inputs = []
        for index, document in enumerate(body.documents):
            text, most = document.text, body.max_tokens_per_doc
            tokens = await tokenized(self._model, text, special=False)
            if most is not None and tokens.size > most:
                tokens = tokens[:most]
                text = self._model.text_of(tokens)
            if template is None:
                tokens = self._pair(query, tokens)
            else:
                tokens = await tokenized(self._model, filled(template, body.query, text), special=True)
            if tokens.size > limit:
                raise RequestError(
                    f"documents[{index}]: has {tokens.size} tokens together with the query, this model takes "
                    f"{limit}; shorten it, or set max_tokens_per_doc",
                    param=f"documents[{index}]",
                    code="context_length_exceeded",
                )
            inputs.append(tokens)
        return inputs

    def _pair(self, query: Tokens, document: Tokens) -> Tokens:
        """`[CLS] query [SEP] document [SEP]`, or as else the tokenizer frames pairs."""
        marks = self._model.pair_marks
        parts = (marks.before, query, marks.between, document, marks.after)
        return np.concatenate(parts, dtype=np.int32)

    def _shown(self, body: RerankBody, job: Job) -> dict[str, Any]:
        found = [float(job.vectors[index][0]) for index in range(len(job.inputs))]
        is_raw = body.raw_scores or self._model.metadata("general.architecture") in _ALREADY_CHANCES
        scores = found if is_raw else [chance(score) for score in found]
        order = sorted(range(len(found)), key=lambda index: -found[index])
        results = []
        for index in order[: body.top_n]:
            result: dict[str, Any] = {"index": index, "relevance_score": scores[index]}
            if body.return_documents:
                result["document"] = body.documents[index].model_dump()
            results.append(result)
        n_tokens = sum(tokens.size for tokens in job.inputs)
        return {
            "id": f"rerank-{uuid.uuid4().hex}",
            "object": "list",
            "model": clean(body.model),
            "results": results,
            "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
        }


def filled(template: str, query: str, document: str) -> str:
    """`template` with both texts in place; what they hold themselves is no place."""
    texts = {"query": query, "document": document}
    return _PLACE.sub(lambda place: texts[place[1]], template)


def chance(score: float) -> float:
    """A classifier's score as a number from 0 to 1, as rerankers are trained to be read."""
    return 1 / (1 + math.exp(-score)) if score >= 0 else math.exp(score) / (1 + math.exp(score))
