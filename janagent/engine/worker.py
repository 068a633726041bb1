"""A worker's life after its spec: load, listen, report, stop.

Imported while the process is still a spare, so that everything heavy is in memory before the spec comes.
"""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable

import llama_cpp
from aiohttp import web

from janagent import aio
from janagent.children import facts
from janagent.children.lifeline import StatusPipe
from janagent.children.wire import EngineSpec, ExitCode, Failed, GpuMemory, Loading, Ready, Stats
from janagent.engine import devices
from janagent.engine.adapters import AdapterError, load_adapters
from janagent.engine.chats import Shift
from janagent.engine.context import Context, ContextOptions, open_context
from janagent.engine.embeddings import RANK, Embedder
from janagent.engine.generating import Generator
from janagent.engine.llama_log import EngineLog
from janagent.engine.model import LoadError, Model, load_model
from janagent.engine.prompt import make_chat_prompt
from janagent.engine.ranking import Ranking
from janagent.engine.retained import Retained
from janagent.engine.sampling import default_sampling
from janagent.engine.scheduler import Scheduler
from janagent.engine.senses import Senses, open_senses
from janagent.engine.server import Server
from janagent.engine.threads import usable_cores
from janagent.engine.vectors import Vectors
from janagent.slices import ask_for_short_slices

log = logging.getLogger(__name__)

_PROGRESS_EVERY_S = 0.2
_STATS_EVERY_S = 1.0
_GPU_MEMORY_EVERY_S = 5.0
_N_BATCH = 512
#: llama.cpp counts positions in 32 bits and pads the cache upwards
_MAX_CTX = (1 << 31) - (1 << 16)
#: an error event needs a moment to leave the process before a broken engine exits
_LAST_WORDS_S = 0.5
_CRASHED = 1
#: connections that may wait to be accepted: a burst of requests makes one each
_BACKLOG = 1024
#: the daemon keeps a few idle connections; the rest of a burst goes
_KEEPALIVE_S = 60.0


def run(spec: EngineSpec, status: StatusPipe) -> int:
    """Load and serve the model of `spec`. Returns an exit status; does not return after a SIGTERM."""
    ask_for_short_slices()
    engine_log = EngineLog()
    engine_log.install()
    engine_log.on_abort(_last_words(spec, status, engine_log))
    return aio.run(_Worker(spec, status, engine_log).run())


def _shift(spec: EngineSpec, context: Context, warnings: list[str]) -> Shift:
    if not spec.context_shift:
        return Shift.NONE
    if context.can_shift:
        return Shift.ALL
    warnings.append(
        "context_shift: this model's memory cannot drop a part of a conversation; a chat that is too long "
        "loses its oldest turns, but an answer ends where the context is full"
    )
    return Shift.TURNS


def _spare_bytes() -> int:
    return facts.measure().available_bytes - facts.SPARED_BYTES


def _last_words(spec: EngineSpec, status: StatusPipe, engine_log: EngineLog) -> Callable[[str], None]:
    """While loading, a ggml abort is a model that cannot be loaded; later it is a crash."""

    def tell(reason: str) -> None:
        is_short = not status.is_ready and _is_short_of_gpu(spec, f"{reason}; {engine_log.last_errors()}")
        status.send(Failed(message=reason, is_short_of_gpu=is_short))
        if not status.is_ready:
            os._exit(ExitCode.LOAD_FAILED)

    return tell


def _is_short_of_gpu(spec: EngineSpec, words: str) -> bool:
    return spec.ngl > 0 and devices.is_lack_of_memory(words)


class _Worker:
    def __init__(self, spec: EngineSpec, status: StatusPipe, engine_log: EngineLog) -> None:
        self._spec = spec
        self._status = status
        self._log = engine_log
        self._stopped: asyncio.Future[int] | None = None
        self._gpu_free_bytes: list[int] = []

    async def run(self) -> int:
        spec = self._spec
        loop = asyncio.get_running_loop()
        self._stopped = loop.create_future()
        loop.add_signal_handler(signal.SIGTERM, self._terminated)
        try:
            model, context, senses = await asyncio.to_thread(self._load)
        except LoadError as error:
            words = [str(error)] if isinstance(error, AdapterError) else []
            words += [self._log.last_errors()]
            told = ": ".join(filter(None, words)) or str(error)
            is_short = isinstance(error, devices.TooLittleFree) or _is_short_of_gpu(spec, told)
            self._status.send(Failed(message=told[:2000], is_short_of_gpu=is_short))
            return ExitCode.LOAD_FAILED
        retained = Retained(spec.prompt_cache_bytes, window=context.window, spare_bytes=_spare_bytes)
        scheduler = Scheduler(
            context,
            n_slots=spec.n_parallel,
            ctx_len=spec.ctx_len,
            queue_limit=spec.queue_limit,
            on_broken=self._broken,
            retained=retained,
        )
        embedder = self._embedder(model, context)
        scheduler.start(loop, side=embedder)
        server, warnings = self._server(model, context, scheduler, embedder, senses)
        runner = web.AppRunner(
            server.application(), handler_cancellation=True, access_log=None, keepalive_timeout=_KEEPALIVE_S
        )
        await runner.setup()
        try:
            await web.UnixSite(runner, spec.socket_path, backlog=_BACKLOG).start()
        except OSError as error:
            self._status.send(Failed(message=f"cannot listen on {spec.socket_path}: {error}"))
            return ExitCode.BAD_SPEC
        os.chmod(spec.socket_path, 0o600)
        self._status.is_ready = True
        self._status.send(Ready(ctx_len=spec.ctx_len, n_parallel=spec.n_parallel, warnings=warnings))
        aio.create_task(self._report(scheduler, retained), name="stats")
        if spec.ngl:
            aio.create_task(self._report_gpus(), name="GPU memory")
        return await self._stopped

    def _load(self) -> tuple[Model, Context, Senses]:
        spec = self._spec
        reported_s = 0.0

        def progressed(fraction: float) -> None:
            nonlocal reported_s
            now_s = time.monotonic()
            if now_s - reported_s >= _PROGRESS_EVERY_S:
                reported_s = now_s
                self._status.send(Loading(progress=min(1.0, max(0.0, fraction))))

        n_ctx = spec.ctx_len * spec.n_parallel
        if n_ctx > _MAX_CTX:
            raise LoadError(
                f"ctx_len {spec.ctx_len} times n_parallel {spec.n_parallel} is more than {_MAX_CTX}"
            )
        llama_cpp.llama_backend_init()
        self._look_at_gpus()
        model = load_model(spec.model_path, n_gpu_layers=spec.ngl, on_progress=progressed)
        if model.is_encoder_decoder:
            raise LoadError("encoder-decoder models are not supported")
        load_adapters(model, spec.adapters)
        context = open_context(
            model,
            ContextOptions(
                n_ctx=n_ctx,
                n_batch=max(spec.n_batch or _N_BATCH, spec.n_parallel),
                n_seq_max=spec.n_parallel,
                n_threads=self._n_threads(),
                flash_attn=spec.flash_attn,
                kv_type=spec.kv_type,
            ),
        )
        senses = open_senses(
            spec,
            model,
            n_threads=self._n_threads(),
            largest_run=context.n_ubatch,
            engine_log=self._log,
        )
        self._status.send(Loading(progress=1.0))
        return model, context, senses

    def _look_at_gpus(self) -> None:
        """Tell what is free before any of it is taken. Raises TooLittleFree."""
        if not self._spec.ngl:
            return
        free = [gpu.free_bytes for gpu in devices.gpus()]
        self._gpu_free_bytes = free
        self._status.send(GpuMemory(free_bytes=tuple(free)))
        if sum(free) < self._spec.gpu_bytes:
            raise devices.TooLittleFree(
                f"{self._spec.ngl} layers need {self._spec.gpu_bytes / 1e9:.1f} GB of GPU memory, "
                f"of which {sum(free) / 1e9:.1f} GB are free"
            )

    async def _report_gpus(self) -> None:
        held_bytes = None
        while True:
            free = [gpu.free_bytes for gpu in await asyncio.to_thread(devices.gpus)]
            if held_bytes is None:  # not later: then what others take counts too
                held_bytes = devices.taken_bytes(
                    self._gpu_free_bytes, free, planned_bytes=self._spec.gpu_bytes
                )
            self._status.send(GpuMemory(free_bytes=tuple(free), held_bytes=held_bytes))
            await asyncio.sleep(_GPU_MEMORY_EVERY_S)

    def _n_threads(self) -> int:
        return self._spec.n_threads or usable_cores()

    def _embedder(self, model: Model, context: Context) -> Embedder | None:
        spec = self._spec
        embedder = Embedder(
            model,
            ctx_len=spec.ctx_len,
            n_threads=self._n_threads(),
            queue_limit=spec.queue_limit,
            has_memory=context.memory is not None,
        )
        return embedder if spec.embedding or embedder.pooling == RANK else None

    def _server(
        self,
        model: Model,
        context: Context,
        scheduler: Scheduler,
        embedder: Embedder | None,
        senses: Senses,
    ) -> tuple[Server, tuple[str, ...]]:
        spec = self._spec
        chat_prompt = make_chat_prompt(
            pre_prompt=spec.pre_prompt,
            user_prompt=spec.user_prompt,
            ai_prompt=spec.ai_prompt,
            template=spec.chat_template or model.chat_template,
            bos=model.special_text(model.bos),
            eos=model.special_text(model.eos),
        )
        warnings = [*senses.warnings, *([chat_prompt.fault] if chat_prompt.fault else [])]
        if 0 < model.n_ctx_train < spec.ctx_len:
            warnings.append(
                f"ctx_len {spec.ctx_len} is more than the {model.n_ctx_train} the model was trained on"
            )
        generator = Generator(
            scheduler,
            model=model,
            defaults=default_sampling(model),
            ctx_len=spec.ctx_len,
            reader_stall_s=spec.reader_stall_s,
            fingerprint=f"llamacpp-{llama_cpp.__version__}",
        )
        server = Server(
            model=model,
            scheduler=scheduler,
            generator=generator,
            vectors=Vectors(embedder, model=model, wake=scheduler.wake),
            ranking=Ranking(embedder, model=model, wake=scheduler.wake, has_classifier=spec.has_classifier),
            chat_prompt=chat_prompt,
            senses=senses,
            ctx_len=spec.ctx_len,
            shift=_shift(spec, context, warnings),
            can_generate=context.memory is not None,
        )
        return server, tuple(warnings)

    async def _report(self, scheduler: Scheduler, retained: Retained) -> None:
        while True:
            retained.give_back_if_short()
            live, queued = scheduler.counts()
            self._status.send(
                Stats(
                    live=live,
                    queued=queued,
                    steps=scheduler.steps,
                    prompt_tokens=scheduler.prompt_tokens,
                    completion_tokens=scheduler.completion_tokens,
                    requests=scheduler.requests,
                )
            )
            await asyncio.sleep(_STATS_EVERY_S)

    def _broken(self, message: str) -> None:
        log.error("%s", message)
        asyncio.get_running_loop().call_later(_LAST_WORDS_S, os._exit, _CRASHED)

    def _terminated(self) -> None:
        # At once and without unwinding: the decode thread may be inside a long C call, and the daemon has
        # drained.
        with contextlib.suppress(OSError):
            os.unlink(self._spec.socket_path)
        os._exit(ExitCode.OK)
