"""Embeddings: a second small context over the same weights, made on first use, on the decode thread.

A chat context in embeddings mode would compute outputs for every prompt token, so it never is one. Models
with causal attention run their inputs in chunks and are pooled here; others (BERT and its like) must see an
input whole and are pooled by llama.cpp. Must not know HTTP.
"""

import asyncio
import collections
from dataclasses import dataclass, field, replace

import llama_cpp
import numpy as np
import numpy.typing as npt

from janagent.engine.context import Context, ContextOptions, Decoded, open_context
from janagent.engine.model import LoadError, Model, Tokens
from janagent.engine.work import QueueFull

_N_SEQUENCES = 32
"""Inputs in one batch: short ones fill it only together."""
_LOGITS_BYTES = 12 << 20
"""llama.cpp computes and copies the logits of every token of a batch, which takes this twice; a batch of a
hundred tokens is done as quickly as one of five hundred."""
_UNUSED_LOGITS_BYTES = 32 << 20
"""An encoder has none, but the room for the copy is taken all the same."""

MEAN, CLS, LAST, RANK = (
    llama_cpp.LLAMA_POOLING_TYPE_MEAN,
    llama_cpp.LLAMA_POOLING_TYPE_CLS,
    llama_cpp.LLAMA_POOLING_TYPE_LAST,
    llama_cpp.LLAMA_POOLING_TYPE_RANK,
)

Vector = npt.NDArray[np.float32]


class EmbeddingError(Exception):
    """llama.cpp could not compute the embeddings."""


@dataclass(eq=False, kw_only=True)
class Job:
    """The inputs of one request; `vectors` fills up as they are done: embeddings of length 1, or scores."""

    inputs: list[Tokens]
    done: asyncio.Future[None]
    vectors: dict[int, Vector] = field(default_factory=dict)
    n_started: int = 0
    cancelled: bool = False


@dataclass(eq=False, kw_only=True)
class _Running:
    """One input in one sequence of the context. `total` sums the hidden states for mean pooling."""

    job: Job
    index: int
    tokens: Tokens
    n_past: int = 0
    n_pending: int = 0
    first_row: int = 0
    total: npt.NDArray[np.float64] | None = None


class Embedder:
    """The side work of the scheduler.

    `submit` and `cancel` are called on the loop, `step` on the decode thread.
    """

    def __init__(
        self, model: Model, *, ctx_len: int, n_threads: int, queue_limit: int, has_memory: bool
    ) -> None:
        """`has_memory`: llama.cpp keeps a cache for this model; for what sees both ways along a text it has
        none, and not every such header says `causal`."""
        architecture = model.metadata("general.architecture") or ""
        self._model = model
        self._n_threads = n_threads
        self._queue_limit = queue_limit
        self._is_causal = has_memory and model.metadata(f"{architecture}.attention.causal") != "false"
        pooling = model.metadata(f"{architecture}.pooling_type") or ""
        self.pooling: int = int(pooling) if pooling.isdigit() and int(pooling) else MEAN
        self.limit = ctx_len if self._is_causal else min(ctx_len, model.n_ctx_train)
        self._is_pooled = self.pooling == RANK or not self._is_causal
        affordable_bytes = _LOGITS_BYTES if has_memory else _UNUSED_LOGITS_BYTES
        self._affordable = max(64, min(512, affordable_bytes // (4 * model.n_vocab)))
        self._context: Context | None = None
        self._waiting: collections.deque[Job] = collections.deque()
        self._running: dict[int, _Running] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def submit(self, inputs: list[Tokens]) -> Job:
        """Queue the inputs of one request, each of 1 to `limit` tokens. Raises QueueFull."""
        if len(self._waiting) >= max(1, self._queue_limit):
            raise QueueFull(retry_after_s=max(1, min(60, len(self._waiting))))
        self._loop = asyncio.get_running_loop()
        job = Job(inputs=inputs, done=self._loop.create_future())
        self._waiting.append(job)
        return job

    def cancel(self, job: Job) -> None:
        """Give up on a job; its sequences are free from the next step on."""
        job.cancelled = True

    def has_work(self) -> bool:
        """Whether `step` would do anything."""
        return bool(self._waiting or self._running)

    def step(self) -> int:
        """Run one batch; returns the number of tokens in it."""
        try:
            context = self._open()
            self._admit(context)
            return self._decode(context) if self._running else 0
        except (LoadError, EmbeddingError) as error:
            self._fail(str(error))
            return 0

    def _open(self) -> Context:
        if self._context is None:
            n_batch = min(self._affordable, self.limit) if self._is_causal else self.limit
            options = ContextOptions(
                n_ctx=self.limit,
                n_batch=n_batch,
                n_seq_max=_N_SEQUENCES,
                n_threads=self._n_threads,
                embeddings=True,
                pooling_type=self.pooling if self._is_pooled else llama_cpp.LLAMA_POOLING_TYPE_NONE,
            )
            try:
                self._context = open_context(self._model, options)
            except LoadError:
                # On a GPU whose memory the chat context fills. Slower, but works.
                self._context = open_context(self._model, replace(options, is_cache_on_gpu=False))
        return self._context

    def _admit(self, context: Context) -> None:
        """Start inputs, one of each job in turn, while sequences and cache have room for them whole."""
        for seq_id in [s for s, running in self._running.items() if running.job.cancelled]:
            self._end(context, seq_id)
        # One that needs more than a batch may hold goes alone.
        most = self.limit if self._is_causal else min(self.limit, self._affordable)
        room = most - sum(running.tokens.size for running in self._running.values())
        while self._waiting and len(self._running) < _N_SEQUENCES:
            job = self._waiting[0]
            if not job.cancelled:
                tokens = job.inputs[job.n_started]
                if tokens.size > room and self._running:
                    return
                seq_id = next(s for s in range(_N_SEQUENCES) if s not in self._running)
                self._running[seq_id] = _Running(job=job, index=job.n_started, tokens=tokens)
                room -= tokens.size
                job.n_started += 1
            self._waiting.popleft()
            if not job.cancelled and job.n_started < len(job.inputs):
                self._waiting.append(job)

    def _decode(self, context: Context) -> int:
        context.clear_batch()
        for seq_id, running in self._running.items():
            n = min(context.room, running.tokens.size - running.n_past)
            running.n_pending = n
            running.first_row = context.n_tokens
            if n:
                chunk = running.tokens[running.n_past : running.n_past + n]
                context.add_tokens(chunk, position=running.n_past, seq_id=seq_id, want_all=True)
        if context.decode() is not Decoded.OK:
            raise EmbeddingError("llama.cpp failed to compute the embeddings; its log has the reason")
        for seq_id, running in list(self._running.items()):
            if running.n_pending:
                self._collect(context, seq_id, running)
        return context.n_tokens

    def _collect(self, context: Context, seq_id: int, running: _Running) -> None:
        is_first = running.n_past == 0
        running.n_past += running.n_pending
        is_last = running.n_past == running.tokens.size
        if self._is_pooled:
            if is_last:
                n_scores = self._model.n_scores if self.pooling == RANK else None
                self._finish(context, seq_id, context.sequence_embedding(seq_id, size=n_scores))
            return
        rows = context.embeddings(running.first_row, running.n_pending)
        if self.pooling == CLS and is_first:
            running.total = rows[0].astype(np.float64)
        elif self.pooling == LAST and is_last:
            running.total = rows[-1].astype(np.float64)
        elif self.pooling == MEAN:
            added = rows.sum(axis=0, dtype=np.float64)
            running.total = added if running.total is None else running.total + added
        if is_last and running.total is not None:
            # The sum points where the mean does, and the length is normalised away.
            self._finish(context, seq_id, running.total)

    def _finish(self, context: Context, seq_id: int, vector: npt.NDArray[np.floating]) -> None:
        running = self._running[seq_id]
        job = running.job
        done = vector.astype(np.float32) if self.pooling == RANK else normalised(vector)
        job.vectors[running.index] = done
        self._end(context, seq_id)
        if len(job.vectors) == len(job.inputs):
            self._tell(job, None)

    def _end(self, context: Context, seq_id: int) -> None:
        del self._running[seq_id]
        context.trim(seq_id, keep=0)

    def _fail(self, message: str) -> None:
        jobs = {running.job for running in self._running.values()} | set(self._waiting)
        self._running.clear()
        self._waiting.clear()
        if self._context is not None:
            self._context.clear_memory()
        for job in jobs:
            self._tell(job, message)

    def _tell(self, job: Job, error: str | None) -> None:
        def settle() -> None:
            if job.done.done():
                return
            if error is None:
                job.done.set_result(None)
            else:
                job.done.set_exception(EmbeddingError(error))

        if self._loop is not None:
            self._loop.call_soon_threadsafe(settle)


def normalised(vector: npt.NDArray[np.floating], *, dimensions: int | None = None) -> Vector:
    """The first `dimensions` of `vector`, scaled to Euclidean length 1 (a zero vector stays zero)."""
    cut = vector[:dimensions].astype(np.float64)
    length = float(np.linalg.norm(cut))
    return (cut / length if length > 0 else cut).astype(np.float32)
