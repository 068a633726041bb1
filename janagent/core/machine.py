"""The machine: events in, actions out. Synchronous, pure, not re-entrant; the clock is an argument.

It owns every `Model` record and is the only place that changes one. It does no I/O, reads no clock, logs
nothing and knows nothing of asyncio; `runtime` is its only caller. What a model should be is asked of
`core.policy.decide`, which settings fit of `core.memory.fit`, who may load now of `core.admission.admit`;
`core.steps` takes a model one step towards the answer.
"""

import traceback
from dataclasses import dataclass
from typing import assert_never

from janagent.core import events as ev
from janagent.core.actions import Action, Answer, RefuseLease
from janagent.core.engines import EngineEvents
from janagent.core.faults import Refusal
from janagent.core.fetching import fetch_event, forget_fetches, resume_fetch
from janagent.core.limits import Limits
from janagent.core.memory import Budget
from janagent.core.phases import Phase
from janagent.core.policy import wanted_key, wants_hot_load
from janagent.core.records import Model, Wish, World
from janagent.core.status import ModelStatus
from janagent.core.steps import Steps, not_found
from janagent.core.view import status_of
from janagent.folder.entry import Condition, ModelEntry


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one event led to."""

    actions: list[Action]
    touched: set[str]
    """Keys of the models that may look different now."""
    next_deadline: float | None
    """Call again with a Tick then, at the latest."""
    errors: tuple[str, ...] = ()
    """Tracebacks of bugs that were contained, for the log."""


class Machine:
    """Every decision about every model. `handle` is the one door."""

    def __init__(self, *, limits: Limits, budget: Budget, is_strict: bool = False) -> None:
        """`is_strict`: let an error of ours through instead of failing the one model (for tests)."""
        self._world = World(limits=limits, budget=budget)
        self._steps = Steps(self._world)
        self._engines = EngineEvents(self._world, self._steps)
        self._is_strict = is_strict
        self._is_handling = False
        self._errors: list[str] = []

    def handle(self, event: ev.Event, now: float) -> Outcome:
        """Take in one event at monotonic time `now` (seconds)."""
        if self._is_handling:
            raise RuntimeError("Machine.handle is not re-entrant")
        world = self._world
        self._is_handling = True
        world.actions, world.touched = [], set()
        self._errors = []
        try:
            self._apply_guarded(event, now)
            for model in self._in_turn():
                if not self._waits_its_turn(model):
                    self._step(model, now)
        finally:
            self._is_handling = False
        return Outcome(world.actions, world.touched, self._steps.next_deadline(now), tuple(self._errors))

    # -- what others may look at -------------------------------------------------------------------

    @property
    def limits(self) -> Limits:
        """The settings the policy obeys."""
        return self._world.limits

    @property
    def budget(self) -> Budget:
        """What engines may use in all."""
        return self._world.budget

    @property
    def has_engines(self) -> bool:
        """A child process exists."""
        return bool(self._world.engines)

    def statuses(self) -> list[ModelStatus]:
        """Every listed model, sorted by id."""
        world = self._world
        listed = (m for m in world.models.values() if m.is_present and not m.is_deleting)
        return sorted((status_of(m, world=world) for m in listed), key=lambda s: s.id)

    def status(self, key: str) -> ModelStatus | None:
        """One model, None if it is not listed."""
        model = self._world.models.get(key)
        if model is None or not model.is_present or model.is_deleting:
            return None
        return status_of(model, world=self._world)

    def committed(self) -> Budget:
        """What the engines that exist were promised."""
        plans = [engine.plan for _, engine in self._world.engines.values()]
        return Budget(sum(p.ram_bytes for p in plans), sum(p.gpu_bytes for p in plans))

    def loaded_gpu_bytes(self, *, teller: int) -> int | None:
        """What loaded engines were promised of GPUs.

        None while one other than `teller` is being loaded: nobody can say how much of its share it has taken.
        """
        engines = [engine for _, engine in self._world.engines.values()]
        if any(e.phase is Phase.STARTING and e.number != teller for e in engines):
            return None
        return sum(e.plan.gpu_bytes for e in engines if e.phase is not Phase.STARTING)

    def story(self, key: str) -> tuple[str, ...]:
        """The last things that happened to a model, oldest first."""
        model = self._world.models.get(key)
        return model.story if model else ()

    # -- events ------------------------------------------------------------------------------------

    def _in_turn(self) -> list[Model]:
        """Lively models, those that were asked for first in front."""
        world = self._world
        lively = [world.models[key] for key in world.lively if key in world.models]
        return sorted(lively, key=lambda m: (min(m.waiting.values(), default=float("inf")), m.key))

    def _waits_its_turn(self, model: Model) -> bool:
        """Nothing but a hot load behind another one, as thousands may be: no need to ask each every time."""
        world = self._world
        if model.wish is not Wish.HOT or model.key in world.touched or world.is_shutting_down:
            return False
        return world.is_loading and not (
            model.engines or model.waiting or model.start_waiters or model.stop_waiters or model.is_deleting
        )

    def _step(self, model: Model, now: float) -> None:
        try:
            self._steps.take(model, now)
        except Exception as error:  # a bug of ours may cost this model, never the others
            if self._is_strict:
                raise
            self._errors.append(traceback.format_exc())
            self._steps.give_up(model, str(error) or repr(error), now)

    def _apply_guarded(self, event: ev.Event, now: float) -> None:
        try:
            self._apply(event, now)
        except Exception:
            if self._is_strict:
                raise
            self._errors.append(traceback.format_exc())

    def _apply(self, event: ev.Event, now: float) -> None:
        world = self._world
        match event:
            case ev.CatalogChanged():
                self._catalog_changed(event, now)
            case ev.StartWanted():
                self._start_wanted(event, now)
            case ev.StopWanted():
                self._stop_wanted(event, now)
            case ev.DeleteWanted():
                self._delete_wanted(event, now)
            case ev.FilesRemoved():
                self._files_removed(event, now)
            case ev.LeaseAsked():
                self._lease_asked(event, now)
            case ev.LeaseEnded():
                self._lease_ended(event, now)
            case ev.EngineLoading() | ev.EngineReady() | ev.EngineExited() | ev.StepsSeen() | ev.RemoteSeen():
                self._engines.take_in(event, now)
            case ev.FetchesPaused(is_paused=is_paused):
                world.are_fetches_paused = is_paused
                world.lively.update(world.models)
            case ev.FetchPlanned() | ev.FetchAdvanced() | ev.FetchEnded() | ev.FetchDiscarded():
                self._world.wake(*fetch_event(event, now, world=world))
            case ev.MemorySeen():
                self._memory_seen(event)
            case ev.LimitsChanged(limits=limits):
                world.limits = limits
                world.lively.update(world.models)
                world.touched.update(world.models)
            case ev.ShutdownWanted():
                world.is_shutting_down, world.is_hasty = True, world.is_hasty or event.is_hasty
                world.lively.update(world.models)
            case ev.Tick():
                pass
            case _:
                assert_never(event)

    def _catalog_changed(self, event: ev.CatalogChanged, now: float) -> None:
        world, change = self._world, event.change
        if change.offline != world.is_offline:
            world.is_offline = change.offline
            world.lively.update(world.models)
            world.touched.update(world.models)
        for key in change.removed:
            if (model := world.models.get(key)) is not None:
                model.tell("left the folder", now)
                model.is_present, model.wish = False, Wish.NONE
                forget_fetches(model)
                self._world.wake(model)
        for entry in change.changed:
            self._entry_changed(entry, is_initial=event.initial, now=now)

    def _entry_changed(self, entry: ModelEntry, *, is_initial: bool, now: float) -> None:
        world = self._world
        model = world.models.get(entry.key)
        if model is None or not model.is_present:
            is_better = True
            if model is None:
                model = world.models[entry.key] = Model(entry=entry, last_used_at=now)
        else:
            old = model.entry
            is_better = old.condition is not Condition.COMPLETE or old.runtime_key != entry.runtime_key
            if old.manifest != entry.manifest:
                model.overrides.clear()
        model.entry, model.is_present = entry, True
        model.is_remote_stopped = model.is_remote_stopped and entry.is_remote
        if not is_initial:  # ten thousand stories that begin alike are not worth their memory
            model.tell(f"is {entry.condition}: {entry.fault.message if entry.fault else entry.path}", now)
        model.has_remains |= entry.is_interrupted
        if entry.condition is Condition.COMPLETE:
            forget_fetches(model)
            model.good = entry
            model.gpu_share = 1.0 if is_better else model.gpu_share
            if model.failure is not None and model.failure.key != wanted_key(model, entry):
                model.failure, model.crashes = None, 0
        hot = wants_hot_load(entry, limits=world.limits, is_initial=is_initial, is_better=is_better)
        if hot and model.wish is Wish.NONE and model.starting is None:
            model.wish = Wish.HOT
        elif not hot and model.wish is Wish.HOT and entry.condition is not Condition.COMPLETE:
            model.wish = Wish.NONE
        self._world.wake(model)

    def _start_wanted(self, event: ev.StartWanted, now: float) -> None:
        model = self._world.models.get(event.key)
        if model is None or not model.is_present or model.is_deleting:
            self._answer(event.waiter, not_found(event.key))
            return
        model.tell("start wanted", now)
        if event.parameters:
            model.overrides = dict(event.parameters)
        model.failure, model.crashes, model.gpu_share = None, 0, 1.0
        resume_fetch(model)
        model.is_remote_stopped = False
        if not model.entry.is_remote:
            model.wish = Wish.START
        if event.waiter is not None:
            model.start_waiters[event.waiter] = now
        self._world.wake(model)

    def _stop_wanted(self, event: ev.StopWanted, now: float) -> None:
        model = self._world.models.get(event.key)
        if model is None or not model.is_present or model.is_deleting:
            self._answer(event.waiter, not_found(event.key))
            return
        model.tell("stop wanted", now)
        model.wish, model.failure, model.crashes = Wish.NONE, None, 0
        model.overrides.clear()
        model.is_stopping = True
        model.is_paused = model.entry.is_fetchable
        model.is_remote_stopped = model.entry.is_remote
        model.stop_waiters.append(event.waiter)
        stopped = Refusal("model_stopped", f"{model.entry.id} was stopped while this request waited for it")
        self._steps.turn_away(model, stopped)
        self._world.wake(model)

    def _delete_wanted(self, event: ev.DeleteWanted, now: float) -> None:
        model = self._world.models.get(event.key)
        if model is None or not model.is_present or model.is_deleting:
            self._answer(event.waiter, not_found(event.key))
            return
        if self._world.is_offline:
            words = "the models folder is offline, so nothing can be deleted: mount it again first"
            self._answer(event.waiter, Refusal("delete_refused", words))
            return
        model.tell("delete wanted", now)
        model.is_deleting, model.wish = True, Wish.NONE
        model.delete_waiters.append(event.waiter)
        self._steps.turn_away(model, not_found(model.entry.id))
        self._world.wake(model)

    def _answer(self, waiter: int | None, refusal: Refusal | None = None) -> None:
        if waiter is not None:
            self._world.actions.append(Answer(waiter, refusal))

    def _files_removed(self, event: ev.FilesRemoved, now: float) -> None:
        model = self._world.models.get(event.key)
        if model is None or model.removal_ticket != event.ticket:
            return
        model.tell(f"files removed: {event.error or 'all'}", now)
        is_as_removed = model.entry is model.removal_entry
        model.removal_ticket, model.removal_entry, model.is_deleting = None, None, False
        model.has_remains = model.has_remains and event.error is not None
        if event.error is None and is_as_removed:  # else the folder has told what is there now
            model.is_present = False
        refusal = Refusal("delete_failed", event.error) if event.error else None
        for waiter in model.delete_waiters:
            self._answer(waiter, refusal)
        model.delete_waiters.clear()
        self._world.wake(model)

    def _lease_asked(self, event: ev.LeaseAsked, now: float) -> None:
        model = self._world.models.get(event.key)
        if model is None or not model.is_present or model.is_deleting:
            self._world.actions.append(RefuseLease(event.lease, not_found(event.key)))
            return
        if model.entry.is_remote:  # to try its key again costs nothing
            model.failure = None
        model.waiting[event.lease] = now
        self._world.leases[event.lease] = model
        self._world.wake(model)

    def _lease_ended(self, event: ev.LeaseEnded, now: float) -> None:
        model = self._world.leases.pop(event.lease, None)
        if model is None:
            return
        model.waiting.pop(event.lease, None)
        for engine in model.engines:
            engine.leases.discard(event.lease)
        model.last_used_at = now
        self._world.wake(model)

    # -- memory -----------------------------------------------------------------------------------

    def _memory_seen(self, event: ev.MemorySeen) -> None:
        world = self._world
        has_grown = (
            event.budget.ram_bytes > world.budget.ram_bytes or event.budget.gpu_bytes > world.budget.gpu_bytes
        )
        world.budget = event.budget
        if not has_grown:
            return
        for model in world.models.values():
            is_short = model.failure is not None and model.failure.fault.code == "insufficient_memory"
            if is_short and self._steps.fits_now(model):
                model.failure = None
                self._world.wake(model)

    # -- invariants --------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise AssertionError if an invariant does not hold; tests call this after every event."""
        self._steps.check()
