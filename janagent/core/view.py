"""From the machine's records to the words people see. Pure; neighbour of `core.machine`."""

from typing import Any

from janagent.core.phases import Phase
from janagent.core.policy import wanted_key
from janagent.core.records import Model, Wish
from janagent.core.status import ModelStatus, State
from janagent.folder.entry import Condition
from janagent.folder.fault import Fault

OFFLINE = Fault("offline", "the root is offline: the models folder cannot be read; mount or create it")
REMOTE = Fault("remote_unsupported", "remote models are not served by this version of janagent")


def status_of(model: Model, *, is_offline: bool) -> ModelStatus:
    """How `model` looks from outside."""
    entry, serving, starting = model.entry, model.serving, model.starting
    state = _state(model, is_offline=is_offline)
    progress: dict[str, Any] | None = None
    if state is State.STARTING and starting is not None:
        progress = {"loaded": round(starting.progress, 3)}
    return ModelStatus(
        entry=entry,
        state=state,
        error=_error(model, state, is_offline=is_offline),
        warnings=entry.warnings + (serving.plan.warnings + serving.warnings if serving else ()),
        progress=progress,
        ctx_len=serving.ctx_len if serving else None,
        n_parallel=serving.n_parallel if serving else None,
        overrides=tuple(sorted(model.overrides.items(), key=lambda pair: pair[0])),
    )


def _state(model: Model, *, is_offline: bool) -> State:
    entry = model.entry
    if entry.is_remote and not is_offline:
        if entry.condition is Condition.INVALID:
            return State.INVALID
        return State.STOPPED if model.is_remote_stopped else State.FAILED
    if model.serving is not None:
        return State.RUNNING
    if is_offline:
        return State.STOPPING if model.engines else State.MISSING
    is_wanted = model.waiting or model.wish is Wish.START or model.start_waiters
    may_start = entry.condition is Condition.COMPLETE and not model.is_stopping
    if may_start and (model.starting is not None or (is_wanted and model.failure is None)):
        return State.STARTING
    if any(e.phase in (Phase.DRAINING, Phase.STOPPING) for e in model.engines):
        return State.STOPPING
    if entry.condition is Condition.INVALID:
        return State.INVALID
    if entry.condition is Condition.MISSING:
        return State.MISSING
    return State.DOWNLOADED if model.failure is None else State.FAILED


def _error(model: Model, state: State, *, is_offline: bool) -> Fault | None:
    entry = model.entry
    if entry.fault is not None:
        return entry.fault
    if is_offline:
        return OFFLINE
    if entry.is_remote:
        return REMOTE if state is State.FAILED else None
    failure = model.failure
    if failure is None or state is State.STARTING:
        return None
    if state is State.RUNNING and failure.key != wanted_key(model, entry):
        return None
    return failure.fault
