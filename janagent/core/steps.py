"""Taking one model one step towards what it should be. Half of the machine: works on its records, pure too.

Order within a step: stop, drain, start, then the people who wait. A model has at most two engines, and an
engine at most one action in flight, so a call does what is possible now; the next event brings the next.
"""

from dataclasses import replace

from janagent.core.actions import Answer, GrantLease, RefuseLease, RemoveFiles, StartEngine, StopEngine
from janagent.core.admission import Verdict, admit
from janagent.core.faults import Refusal
from janagent.core.fetching import DOWNLOADING, is_fetching, lack, take_artifact
from janagent.core.memory import Plan, fit, remote_plan
from janagent.core.phases import Phase, Trigger
from janagent.core.policy import (
    Target,
    decide,
    effective,
    idle_until,
    is_blocked,
    load_deadline_s,
    wanted_key,
)
from janagent.core.records import Engine, Failure, Model, Wish, World
from janagent.folder.entry import Condition
from janagent.folder.fault import Fault

MEMORY_RETRY_S = 10.0


def not_found(name: str) -> Refusal:
    """No such model, or no longer."""
    return Refusal("model_not_found", f"there is no model {name!r}; janagent ls shows the models there are")


class Steps:
    """The second half of the machine: what follows from the records."""

    def __init__(self, world: World) -> None:
        self._world = world

    def take(self, model: Model, now: float) -> None:
        """Bring `model` as far as it can get at `now`."""
        take_artifact(model, now, world=self._world)
        if not (model.engines or model.fetch):  # so soon, because a request that came may load it again now
            self._end_stop(model)
        target = self._target(model, now)
        self._retire(model, target, now)
        if target is Target.LOAD:
            self._load(model, now)
        self._grant(model)
        self._answer_waiters(model, now)
        self._tidy(model)
        # Time alone changes what people see too (a wait that ended); who publishes tells only differences.
        self._world.touched.add(model.key)

    def _target(self, model: Model, now: float) -> Target:
        world = self._world
        return decide(
            model,
            now,
            limits=world.limits,
            is_offline=world.is_offline,
            is_shutting_down=world.is_shutting_down,
        )

    # -- stop and drain ----------------------------------------------------------------------------

    def _retire(self, model: Model, target: Target, now: float) -> None:
        for engine in list(model.engines):
            self._watch_over(model, engine, now)
            match engine.phase:
                case Phase.STARTING if self._is_unwanted(model, engine, target):
                    self._stop(model, engine, now, grace_s=0.0)
                case Phase.READY if target is Target.UNLOAD:
                    model.move(engine, Trigger.DRAIN, now)
                case _:
                    pass
            if engine.phase is Phase.DRAINING:
                self._drain(model, engine, now)

    def _is_unwanted(self, model: Model, engine: Engine, target: Target) -> bool:
        if target is Target.UNLOAD:
            return True
        return model.source is not None and engine.key != wanted_key(model, model.source)

    def _drain(self, model: Model, engine: Engine, now: float) -> None:
        in_haste = model.is_stopping or model.is_deleting or self._world.is_shutting_down
        if in_haste and engine.drain_until is None:
            engine.drain_until = now + self._world.limits.drain_s
        if self._world.is_hasty:
            engine.drain_until = now
        if not engine.leases or (engine.drain_until is not None and now >= engine.drain_until):
            self._stop(model, engine, now, grace_s=self._world.limits.stop_grace_s)

    def _watch_over(self, model: Model, engine: Engine, now: float) -> None:
        """Kill what does not come up, or has work and does not advance."""
        if engine.phase is Phase.STARTING and now >= engine.started_at + load_deadline_s(engine.entry):
            engine.stall_words = f"it was not ready after {load_deadline_s(engine.entry):.0f} s and was ended"
        elif (
            engine.phase in (Phase.READY, Phase.DRAINING)
            and engine.leases
            and not engine.is_remote
            and now >= engine.advanced_at + self._world.limits.stall_s
        ):
            engine.stall_words = (
                f"it took no decode step for {self._world.limits.stall_s:.0f} s although requests were "
                "waiting for one, and was ended"
            )
        else:
            return
        self._stop(model, engine, now, grace_s=0.0)

    def _stop(self, model: Model, engine: Engine, now: float, *, grace_s: float) -> None:
        model.move(engine, Trigger.STOP, now)
        engine.ticket = next(self._world.numbers)
        self._world.actions.append(StopEngine(engine.number, engine.ticket, grace_s))
        self._world.touched.add(model.key)

    # -- start -------------------------------------------------------------------------------------

    def _load(self, model: Model, now: float) -> None:
        world, entry = self._world, model.entry
        key, serving = wanted_key(model, entry), model.serving
        if serving is not None and serving.key == key:
            model.wish = Wish.NONE
            return
        if model.starting is not None or len(model.engines) >= 2:
            return
        if entry.is_remote:
            self._start(model, remote_plan(key, effective(model, entry)[0]), now)
            return
        is_hot = not (model.waiting or model.start_waiters or model.wish is Wish.START or serving is not None)
        if is_hot and world.is_loading:
            return  # what `admit` would say too, without the cost: thousands may have been dropped at once
        init, _ = effective(model, entry)
        try:
            plan = fit(entry, init, key=key, budget=world.budget_of(model))
        except Refusal as refusal:
            self._cannot_fit(model, key, refusal, now)
            return
        admission = admit(model, plan, models=self._with_engines(), budget=world.budget, is_hot=is_hot)
        match admission.verdict:
            case Verdict.START:
                self._start(model, plan, now)
            case Verdict.EVICT:
                for other, victim in admission.victims:
                    other.tell(f"evicted for {entry.id}", now)
                    self._stop(other, victim, now, grace_s=world.limits.stop_grace_s)
                if serving is not None:
                    model.move(serving, Trigger.DRAIN, now)
                    self._drain(model, serving, now)
            case Verdict.DRAIN_SELF if serving is not None:
                model.move(serving, Trigger.DRAIN, now)
                self._drain(model, serving, now)
            case Verdict.DROP:
                model.wish = Wish.NONE
            case _:
                pass
        world.touched.add(model.key)

    def _start(self, model: Model, plan: Plan, now: float) -> None:
        world, entry = self._world, model.entry
        number, ticket = next(world.numbers), next(world.numbers)
        engine = Engine(
            number=number, entry=entry, plan=plan, phase=Phase.STARTING, ticket=ticket, started_at=now
        )
        model.engines.append(engine)
        world.engines[number] = (model, engine)
        model.tell(f"engine {number} started", now)
        world.actions.append(StartEngine(number, ticket, entry, plan, deadline_s=load_deadline_s(entry)))
        world.touched.add(model.key)

    def _cannot_fit(self, model: Model, key: str, refusal: Refusal, now: float) -> None:
        self._world.touched.add(model.key)
        if model.overrides and model.start_waiters:
            # The start that asked for too much is told; its parameters must not spoil the requests after it.
            model.overrides.clear()
            self._release(model, refusal)
            model.wish = Wish.NONE
            if model.waiting:
                self._load(model, now)
            return
        model.failure = Failure(fault=Fault(refusal.code, refusal.message), key=key, is_permanent=True)
        model.wish = Wish.NONE

    def fits_now(self, model: Model) -> bool:
        """The settings the model should have fit the budget there is now."""
        try:
            fit(model.entry, effective(model, model.entry)[0], key="", budget=self._world.budget_of(model))
        except Refusal:
            return False
        return True

    def _with_engines(self) -> list[Model]:
        return list({id(model): model for model, _ in self._world.engines.values()}.values())

    # -- those who wait ----------------------------------------------------------------------------

    def _grant(self, model: Model) -> None:
        serving = model.serving
        if serving is None or not model.waiting:
            return
        _, runtime = effective(model, model.source or model.good or model.entry)
        defaults = runtime.request_defaults()
        for lease in model.waiting:
            serving.leases.add(lease)
            self._world.actions.append(GrantLease(lease, serving.number, defaults))
        if len(serving.leases) == len(model.waiting):
            # It had nothing to do until now: its silence so far is no stall.
            serving.advanced_at = max(serving.advanced_at, *model.waiting.values())
        model.waiting.clear()

    def _answer_waiters(self, model: Model, now: float) -> None:
        if model.waiting or model.start_waiters:
            self._answer_start(model, now)
        if model.engines or model.fetch:
            return
        if model.is_deleting and model.removal_ticket is None:
            model.removal_ticket, model.removal_entry = next(self._world.numbers), model.entry
            self._world.actions.append(self._removal(model, model.removal_ticket))

    def _end_stop(self, model: Model) -> None:
        model.is_stopping = False
        for waiter in model.stop_waiters:
            self._world.actions.append(Answer(waiter))
        model.stop_waiters.clear()

    def _removal(self, model: Model, ticket: int) -> RemoveFiles:
        """With who uses what at this moment: a user that was deleted a second ago is none."""
        others = [m for m in self._world.models.values() if m is not model and m.is_present]
        shared = {b.real_path for m in others if not m.is_deleting for b in m.entry.binaries}
        binaries = tuple(replace(b, shared=b.real_path in shared) for b in model.entry.binaries)
        used = frozenset(path for m in others if not m.is_deleting for path in m.entry.needs)
        return RemoveFiles(model.key, ticket, replace(model.entry, binaries=binaries), used)

    def _answer_start(self, model: Model, now: float) -> None:
        serving, source = model.serving, model.source
        if serving is not None and source is not None and serving.key == wanted_key(model, source):
            self._release(model, None)
            return
        refusal = self.obstacle(model, now)
        if refusal is not None:
            for lease in list(model.waiting):
                self.refuse(model, lease, refusal)
            if refusal.code == DOWNLOADING:
                # Who asked for a start waits for the files too; the wait for memory begins after that.
                model.start_waiters = dict.fromkeys(model.start_waiters, now)
            else:
                self._release(model, refusal)
            return
        if model.starting is not None:
            return
        busy = Refusal(
            "memory_busy",
            f"memory for {model.entry.id} is held by models that are busy; ask again, or stop one of them",
            retry_after_s=MEMORY_RETRY_S,
        )
        overdue = now - self._world.limits.load_wait_s
        for lease in [number for number, asked_at in model.waiting.items() if asked_at <= overdue]:
            self.refuse(model, lease, busy)
        for waiter in [number for number, asked_at in model.start_waiters.items() if asked_at <= overdue]:
            del model.start_waiters[waiter]
            self._world.actions.append(Answer(waiter, busy))
            model.wish = Wish.NONE

    def _release(self, model: Model, refusal: Refusal | None) -> None:
        for waiter in model.start_waiters:
            self._world.actions.append(Answer(waiter, refusal))
        model.start_waiters.clear()
        if refusal is not None and model.wish is Wish.START:
            model.wish = Wish.NONE

    def obstacle(self, model: Model, now: float) -> Refusal | None:
        """Why no engine will come for those who wait; None while one may."""
        entry = model.entry
        if self._world.is_shutting_down:
            return Refusal("shutting_down", "janagent is shutting down")
        if not model.is_present:
            return not_found(entry.id)
        if self._world.is_offline:
            return Refusal("model_missing", "the models folder is offline: mount it again", retry_after_s=5.0)
        if model.is_remote_stopped:
            return Refusal("model_stopped", f"{entry.id} is stopped: start it to use it")
        if entry.condition is not Condition.COMPLETE:
            if model.serving is not None or (model.starting is not None and not model.start_waiters):
                return None
            return lack(model, now, world=self._world)
        if model.failure is not None and is_blocked(model, wanted_key(model, entry), now):
            fault = model.failure.fault
            if model.failure.is_permanent:
                return Refusal(fault.code, fault.message)
            wait_s = max(model.failure.retry_at - now, 1.0)
            words = f"{fault.message}; it is tried again in {wait_s:.0f} s"
            return Refusal("engine_backoff", words, retry_after_s=wait_s)
        return None

    def refuse(self, model: Model, lease: int, refusal: Refusal) -> None:
        """Send a waiting request away."""
        model.waiting.pop(lease, None)
        self._world.leases.pop(lease, None)
        self._world.actions.append(RefuseLease(lease, refusal))

    def _tidy(self, model: Model) -> None:
        world = self._world
        if not model.is_idle:
            return
        world.lively.discard(model.key)
        if not model.is_present and world.models.get(model.key) is model:
            del world.models[model.key]
            world.touched.add(model.key)

    def give_up(self, model: Model, words: str, now: float) -> None:
        """A bug of ours hit this model: end its engines, keep the rest of the world going."""
        model.tell("gave up after an internal error", now)
        for engine in model.engines:
            if engine.phase is not Phase.STOPPING:
                engine.phase, engine.ticket = Phase.STOPPING, next(self._world.numbers)
                self._world.actions.append(StopEngine(engine.number, engine.ticket, 0.0))
        model.wish = Wish.NONE
        fault = Fault("internal_error", f"internal error, please report it: {words}")
        model.failure = Failure(fault=fault, key=model.entry.runtime_key, is_permanent=True)
        for lease in list(model.waiting):
            self.refuse(model, lease, Refusal.of(fault))
        self._release(model, Refusal.of(fault))
        self._world.touched.add(model.key)

    def turn_away(self, model: Model, refusal: Refusal) -> None:
        """Nobody who waits for `model` will get it."""
        for lease in list(model.waiting):
            self.refuse(model, lease, refusal)
        for waiter in model.start_waiters:
            self._world.actions.append(Answer(waiter, refusal))
        model.start_waiters.clear()

    # -- time and truth ----------------------------------------------------------------------------

    def next_deadline(self, now: float) -> float | None:
        """The earliest moment at which time alone changes a decision."""
        world = self._world
        times = [
            time
            for key in world.lively
            if (model := world.models.get(key)) is not None
            for time in self._deadlines(model)
            if time > now  # what is due was dealt with in this very call
        ]
        return min(times, default=None)

    def _deadlines(self, model: Model) -> list[float]:
        limits, times = self._world.limits, []
        for engine in model.engines:
            if engine.phase is Phase.STARTING:
                times.append(engine.started_at + load_deadline_s(engine.entry))
            elif engine.phase in (Phase.READY, Phase.DRAINING) and engine.leases and not engine.is_remote:
                times.append(engine.advanced_at + limits.stall_s)
            if engine.phase is Phase.DRAINING and engine.drain_until is not None:
                times.append(engine.drain_until)
            if engine.phase is Phase.READY and (until := idle_until(model, engine, limits)) is not None:
                times.append(until)
        if model.failure is not None and not model.failure.is_permanent:
            times.append(model.failure.retry_at)
        if model.fetch_failure is not None and not model.fetch_failure.is_permanent:
            times.append(model.fetch_failure.retry_at)
        if model.starting is None:
            times += [
                t + limits.load_wait_s for t in (*model.waiting.values(), *model.start_waiters.values())
            ]
        if model.wish is Wish.HOT:
            times.append(model.entry.hot_load_after_s)
        return times

    def check(self) -> None:
        """The invariants of DESIGN section 3."""
        world = self._world
        seen: set[int] = set()
        fetching = list(world.fetches.values())
        assert sum(is_fetching(m) for m in fetching) <= world.limits.max_fetches, "too many fetches"
        for model in world.models.values():
            assert len(model.engines) <= 2, f"{model.key} has {len(model.engines)} engines"
            ready = [e for e in model.engines if e.phase is Phase.READY]
            assert len(ready) <= 1, f"{model.key} has two serving engines"
            for engine in model.engines:
                assert world.engines.get(engine.number) == (model, engine)
                seen.add(engine.number)
                in_flight = engine.phase in (Phase.STARTING, Phase.STOPPING)
                assert (engine.ticket is not None) == in_flight, f"ticket of engine {engine.number}"
                assert not engine.leases or engine.phase is not Phase.STARTING
                if world.is_shutting_down:
                    assert not is_fetching(model), "a fetch goes on after shutdown"
                    assert engine.phase in (Phase.DRAINING, Phase.STOPPING), "something runs after shutdown"
            assert (model.fetch is None) == (model not in fetching), f"fetch of {model.key}"
            assert not (model.fetch and model.is_discarding), f"{model.key} is fetched and discarded at once"
            assert not (model.waiting and ready), f"{model.key} serves and lets requests wait"
            assert model.is_idle or model.key in world.lively, f"{model.key} is forgotten"
        assert seen == set(world.engines), "an engine without a model"
        assert not world.queued or len(fetching) >= world.limits.max_fetches, "a fetch waits for nothing"
        assert all(m.key in world.models for m in world.leases.values())
