"""What engines report, taken into the machine's records. Part of the machine: pure, works on `World`.

An engine is a child process or a remote API; that differs in what may be read from its silence and its end.
Neighbours: `core.machine` hands the events over, `core.steps` does what follows from them.
"""

from typing import assert_never

from janagent.core import events as ev
from janagent.core.faults import Refusal
from janagent.core.phases import Phase, Trigger
from janagent.core.policy import STABLE_AFTER_S, backoff_s, wanted_key
from janagent.core.records import Engine, Failure, Model, Wish, World
from janagent.core.steps import Steps
from janagent.folder.entry import Condition
from janagent.folder.fault import Fault

EngineEvent = ev.EngineLoading | ev.EngineReady | ev.EngineExited | ev.StepsSeen | ev.RemoteSeen

LONGEST_REMOTE_BACKOFF_S = 30.0
"""To look whether a key is there now costs nothing."""
LESS_OF_THE_GPU = 0.5
_LATENCY_WEIGHT = 0.3
_WORTH_TELLING = 0.25
"""By so much must a latency have changed before everybody is told."""


class EngineEvents:
    """Takes engines' events in."""

    def __init__(self, world: World, steps: Steps) -> None:
        self._world = world
        self._steps = steps

    def take_in(self, event: EngineEvent, now: float) -> None:
        """One event; of an engine that is gone it says nothing any more."""
        known = self._world.engines.get(event.engine)
        if known is None:
            return
        model, engine = known
        match event:
            case ev.EngineLoading(progress=progress):
                engine.progress = progress
                self._world.touched.add(model.key)
            case ev.EngineReady():
                if event.ticket == engine.ticket:
                    self._ready(model, engine, event, now)
            case ev.EngineExited():
                self._exited(model, engine, event, now)
            case ev.StepsSeen(live=live, steps=steps):
                if live == 0 or steps != engine.steps:
                    engine.steps, engine.advanced_at = steps, now
            case ev.RemoteSeen():
                self._remote_seen(model, engine, event)
            case _:
                assert_never(event)

    def _ready(self, model: Model, engine: Engine, event: ev.EngineReady, now: float) -> None:
        model.move(engine, Trigger.READY, now)
        engine.ticket, engine.ready_at, engine.advanced_at = None, now, now
        engine.ctx_len, engine.n_parallel, engine.warnings = event.ctx_len, event.n_parallel, event.warnings
        if model.failure is not None and model.failure.key == engine.key:
            model.failure = None
        model.wish = Wish.NONE
        for older in model.engines:
            if older is not engine and older is model.serving:
                model.move(older, Trigger.DRAIN, now)
        self._world.wake(model)

    def _exited(self, model: Model, engine: Engine, event: ev.EngineExited, now: float) -> None:
        was_asked = engine.phase is Phase.STOPPING and not engine.stall_words
        model.move(engine, Trigger.EXITED, now)
        model.tell(f"engine {engine.number} exited: {event.message}", now)
        del self._world.engines[engine.number]
        for lease in engine.leases:
            self._world.leases.pop(lease, None)
        model.last_used_at = now
        self._world.wake(model)
        if not was_asked:
            self._failed(model, engine, event, now)

    def _failed(self, model: Model, engine: Engine, event: ev.EngineExited, now: float) -> None:
        if model.entry.condition is Condition.COMPLETE and engine.key != wanted_key(model, model.entry):
            return  # settings nobody wants any more; their failure says nothing about the current ones
        served_s = now - engine.ready_at if engine.ready_at else 0.0
        is_permanent = event.kind is ev.ExitKind.LOAD_FAILED and not engine.is_remote
        is_short = event.kind is ev.ExitKind.SHORT_OF_GPU
        if is_short and engine.plan.gpu_bytes <= self._world.budget.gpu_bytes:
            model.gpu_share *= LESS_OF_THE_GPU  # by the figures it fits, so they say too little of this model
        model.crashes = 1 if served_s >= STABLE_AFTER_S else model.crashes + 1
        words = engine.stall_words or event.message
        wait_s = backoff_s(model.crashes)
        retry_at = now + (min(wait_s, LONGEST_REMOTE_BACKOFF_S) if engine.is_remote else wait_s)
        fault = Fault(event.code, words)
        model.failure = Failure(fault=fault, key=engine.key, is_permanent=is_permanent, retry_at=retry_at)
        if is_permanent or model.crashes > 1 or engine.is_remote:
            model.wish = Wish.NONE
            if model.serving is None:
                self._steps.turn_away(model, Refusal(event.code, words))

    def _remote_seen(self, model: Model, engine: Engine, event: ev.RemoteSeen) -> None:
        """Health is what the last answer said; what changes little is not told each time."""
        is_news = event.fault != engine.last_error
        engine.last_error = event.fault
        if event.latency_ms is not None:
            before = engine.latency_ms or event.latency_ms
            engine.latency_ms = before + _LATENCY_WEIGHT * (event.latency_ms - before)
            shown = engine.shown_latency_ms
            if shown is None or abs(engine.latency_ms - shown) > _WORTH_TELLING * shown:
                engine.shown_latency_ms, is_news = round(engine.latency_ms), True
        if is_news:
            self._world.touched.add(model.key)
