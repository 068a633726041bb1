"""Who may be loaded now: memory shared between models, as a pure question. Neighbour of `core.policy`.

Committed memory is the sum of the plans of all engines that have a process, because a plan is what the
engine was promised, whether or not it has touched it all yet.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from janagent.core.memory import Budget, Plan
from janagent.core.phases import Phase
from janagent.core.policy import may_be_evicted
from janagent.core.records import Engine, Model


class Verdict(StrEnum):
    """What to do about a plan that wants to start."""

    START = "start"
    EVICT = "evict"
    """Stop the victims; ask again when they are gone."""
    DRAIN_SELF = "drain_self"
    """Only the model's own serving engine stands in the way: it has to go first."""
    WAIT = "wait"
    """Memory is held by engines that are busy, or on their way out."""
    DROP = "drop"
    """A hot load that is not worth it."""


@dataclass(frozen=True, slots=True)
class Admission:
    """The verdict, with the engines to stop for it."""

    verdict: Verdict
    victims: tuple[tuple[Model, Engine], ...] = ()


def admit(model: Model, plan: Plan, *, models: Iterable[Model], budget: Budget, is_hot: bool) -> Admission:
    """May `plan` start now?

    1. A hot load starts only beside what runs, with all of it in half the budget, and one at a time.
    2. What fits starts.
    3. What will fit once engines that are stopping, or its own draining one, are gone waits.
    4. A successor that fits without its own predecessor lets that one go first.
    5. Otherwise idle engines go, least recently used first, if that is enough; a predecessor goes with them.
    6. Otherwise it waits.
    """
    engines = [(m, e) for m in models for e in m.engines]
    room = _Room(plan, budget, (e for _, e in engines))
    if is_hot:  # 1
        if any(e.phase is Phase.STARTING for _, e in engines):
            return Admission(Verdict.WAIT)
        half = replace(budget, ram_bytes=budget.ram_bytes // 2, gpu_bytes=budget.gpu_bytes // 2)
        fits = _Room(plan, half, (e for _, e in engines)).is_enough
        return Admission(Verdict.START if fits else Verdict.DROP)
    if room.is_enough:  # 2
        return Admission(Verdict.START)
    for other, engine in engines:
        if engine.phase is Phase.STOPPING or (engine.phase is Phase.DRAINING and other is model):
            room.free(engine)
    if room.is_enough:  # 3
        return Admission(Verdict.WAIT)
    serving = model.serving
    if serving is not None:
        room.free(serving)
        if room.is_enough:  # 4
            return Admission(Verdict.DRAIN_SELF)
    idle = [(m, e) for m, e in engines if m is not model and e.phase is Phase.READY and may_be_evicted(m, e)]
    victims: list[tuple[Model, Engine]] = []
    for other, engine in sorted(idle, key=lambda pair: max(pair[0].last_used_at, pair[1].ready_at)):
        victims.append((other, engine))
        room.free(engine)
        if room.is_enough:  # 5
            return Admission(Verdict.EVICT, tuple(victims))
    return Admission(Verdict.WAIT)  # 6


class _Room:
    """Memory left over once `plan` is in, in main memory and on the GPUs."""

    def __init__(self, plan: Plan, budget: Budget, engines: Iterable[Engine]) -> None:
        self._ram = budget.ram_bytes - plan.ram_bytes
        self._gpu = budget.gpu_bytes - plan.gpu_bytes
        for engine in engines:
            self._ram -= engine.plan.ram_bytes
            self._gpu -= engine.plan.gpu_bytes

    def free(self, engine: Engine) -> None:
        self._ram += engine.plan.ram_bytes
        self._gpu += engine.plan.gpu_bytes

    @property
    def is_enough(self) -> bool:
        return self._ram >= 0 and self._gpu >= 0
