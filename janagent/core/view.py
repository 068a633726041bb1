"""From the machine's records to the words people see. Pure; neighbour of `core.machine`."""

from typing import Any

from janagent.core.fetching import fetch_failure, is_fetching, with_reason
from janagent.core.phases import Phase
from janagent.core.policy import wanted_key
from janagent.core.records import Model, Wish, World
from janagent.core.status import ModelStatus, State
from janagent.folder.entry import Condition
from janagent.folder.fault import Fault

OFFLINE = Fault("offline", "the root is offline: the models folder cannot be read; mount or create it")
PAUSED = Fault("paused", "its download is paused: start it to go on")
QUEUED = Fault("queued", "its download begins when one of those before it has ended")


def status_of(model: Model, *, world: World) -> ModelStatus:
    """How `model` looks from outside."""
    entry, serving = model.entry, model.serving
    state = _state(model, is_offline=world.is_offline)
    return ModelStatus(
        entry=entry,
        state=state,
        error=_error(model, state, world=world),
        warnings=entry.warnings + (serving.plan.warnings + serving.warnings if serving else ()),
        progress=_progress(model, state),
        ctx_len=serving.ctx_len if serving else None,
        n_parallel=serving.n_parallel if serving else None,
        last_error=serving.last_error if serving else None,
        latency_ms=serving.shown_latency_ms if serving else None,
        overrides=tuple(sorted(model.overrides.items(), key=lambda pair: pair[0])),
    )


def _state(model: Model, *, is_offline: bool) -> State:
    entry = model.entry
    if model.serving is not None:
        return State.RUNNING
    if entry.is_remote and not is_offline:
        return _remote_state(model)
    if is_offline:
        return State.STOPPING if model.engines else State.MISSING
    is_wanted = model.waiting or model.wish is Wish.START or model.start_waiters
    if is_fetching(model):
        return State.DOWNLOADING
    may_start = entry.condition is Condition.COMPLETE and not model.is_stopping
    if may_start and (model.starting is not None or (is_wanted and model.failure is None)):
        return State.STARTING
    if any(e.phase in (Phase.DRAINING, Phase.STOPPING) for e in model.engines):
        return State.STOPPING
    if entry.condition is Condition.INVALID:
        return State.INVALID
    if entry.condition is Condition.MISSING:
        return State.MISSING if fetch_failure(model) is None or model.is_paused else State.FAILED
    return State.DOWNLOADED if model.failure is None else State.FAILED


def _remote_state(model: Model) -> State:
    """Of one that does not serve: it is either stopped or should."""
    if model.is_remote_stopped:
        return State.STOPPING if model.engines else State.STOPPED
    if model.entry.condition is Condition.INVALID:
        return State.INVALID
    return State.STARTING if model.failure is None else State.FAILED


def _progress(model: Model, state: State) -> dict[str, Any] | None:
    fetch, starting = model.fetch, model.starting
    if fetch is not None and not fetch.is_stopping:
        return {**fetch.progress, **({"note": fetch.note} if fetch.note else {})} or None
    if state is State.STARTING and starting is not None:
        total_bytes = starting.entry.size_bytes
        return {"done_bytes": round(starting.progress * total_bytes), "total_bytes": total_bytes}
    return None


def _lack(model: Model, state: State, *, world: World) -> Fault | None:
    """Why a model that could be fetched has no files yet; None where the entry's own words are the best."""
    if not model.entry.is_fetchable or state not in (State.MISSING, State.FAILED):
        return None
    failure = fetch_failure(model)
    if not world.limits.may_fetch and model.entry.fault is not None:
        return with_reason(model.entry.fault, world=world)
    if model.is_paused or world.are_fetches_paused:
        return PAUSED
    if failure is not None:
        return failure.fault
    return QUEUED if model.key in world.queued else None


def _error(model: Model, state: State, *, world: World) -> Fault | None:
    entry, is_offline = model.entry, world.is_offline
    if state is State.DOWNLOADING:
        return None
    if not is_offline and (lack := _lack(model, state, world=world)) is not None:
        return lack
    if entry.fault is not None:
        return entry.fault
    if is_offline:
        return OFFLINE
    failure = model.failure
    if failure is None or state is State.STARTING:
        return None
    if state is State.RUNNING and failure.key != wanted_key(model, entry):
        return None
    return failure.fault
