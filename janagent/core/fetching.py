"""What a model's files need: the artifact's half of a step. Pure; works on the machine's records.

An artifact is ABSENT (its entry is fetchable), FETCHING (`model.fetch` is a child process) or STORED (the
folder says complete). The fetcher's end says whether trying again may help; that the files are there is told
by the folder alone.
"""

from enum import StrEnum
from itertools import islice
from typing import assert_never

from janagent.core.actions import DiscardFetch, StartFetch, StopFetch
from janagent.core.events import FetchAdvanced, FetchDiscarded, FetchEnded, FetchPlanned
from janagent.core.faults import Refusal
from janagent.core.policy import backoff_s
from janagent.core.records import Failure, Fetch, Model, World
from janagent.folder.entry import Condition
from janagent.folder.fault import Fault

LONGEST_WAIT_S = 3600.0
"""However long a hub asks to stay away."""
DOWNLOADING = "model_downloading"
RETRY_DOWNLOAD_S = 10.0
NOT_ENOUGH = "not_enough"
"""Fault code where all came that the manifest asks for, and the folder still lacks something."""
_FORBIDDEN = "It is not fetched, because offline = true forbids that"


class Artifact(StrEnum):
    """What should happen to a model's files now."""

    LEAVE = "leave"
    """Nothing to bring, or it must not be brought."""
    QUEUE = "queue"
    FETCH = "fetch"


def decide_artifact(model: Model, now: float, *, world: World) -> Artifact:
    """What should happen to the files of `model`. The first rule that applies decides:

    1. Shutting down, gone from the folder, being deleted, root offline: leave.
    2. Fetching is switched off, or paused for all or for this model, or the remains of an earlier fetch are
       being removed: leave.
    3. A fetch of these very files runs: let it.
    4. The folder lacks nothing, or nobody knows where to get it: leave.
    5. These files failed and may not be tried yet, or came already and are still not enough: leave.
    6. As many fetches as may be run: queue.
    7. Otherwise fetch.
    """
    entry = model.entry
    if world.is_shutting_down or not model.is_present or model.is_deleting or world.is_offline:  # 1
        return Artifact.LEAVE
    if world.are_fetches_paused or model.is_paused or not world.limits.may_fetch or model.is_discarding:  # 2
        return Artifact.LEAVE
    if model.fetch is not None and model.fetch.key == entry.artifact_key:  # 3
        return Artifact.FETCH
    if not entry.is_fetchable:  # 4
        return Artifact.LEAVE
    failure = fetch_failure(model)
    if failure is not None and (failure.is_permanent or now < failure.retry_at):  # 5
        return Artifact.LEAVE
    others = sum(other is not model for other in world.fetches.values())
    return Artifact.QUEUE if others >= world.limits.max_fetches else Artifact.FETCH  # 6, 7


def fetch_failure(model: Model) -> Failure | None:
    """Why the files that are wanted now did not come; None if that was not tried, or others failed."""
    failure = model.fetch_failure
    return failure if failure is not None and failure.key == model.entry.artifact_key else None


def is_fetching(model: Model) -> bool:
    """A child is bringing the model's files."""
    return model.fetch is not None and not model.fetch.is_stopping


def with_reason(fault: Fault, *, world: World) -> Fault:
    """`fault` of a model that could be fetched, with the words for why it is not, if it may not be."""
    if world.limits.may_fetch:
        return fault
    return Fault(fault.code, fault.words, _FORBIDDEN)


def lack(model: Model, now: float, *, world: World) -> Refusal:
    """What is told to those who want a model whose files are not all there, or cannot be used."""
    entry = model.entry
    if is_fetching(model) or entry.key in world.queued:
        eta_s = model.fetch.progress.get("eta_s") if model.fetch is not None else None
        wait_s = min(max(float(eta_s or RETRY_DOWNLOAD_S), 1.0), LONGEST_WAIT_S)
        return Refusal(DOWNLOADING, f"{entry.id} is being downloaded", retry_after_s=wait_s)
    failure = fetch_failure(model) if entry.is_fetchable else None
    if failure is not None and failure.fault.code != NOT_ENOUGH:
        wait_s = max(failure.retry_at - now, 1.0)
        again = "" if failure.is_permanent else f"; it is tried again in {wait_s:.0f} s"
        words = f"{entry.id} could not be downloaded: {failure.fault.message}{again}"
        return Refusal("model_missing", words, retry_after_s=None if failure.is_permanent else wait_s)
    code = "model_invalid" if entry.condition is Condition.INVALID else "model_missing"
    fault = failure.fault if failure is not None else entry.fault
    if fault is not None and entry.is_fetchable:
        fault = with_reason(fault, world=world)
    return Refusal(code, f"{entry.id}: {fault.message if fault else 'its files are not complete'}")


def take_artifact(model: Model, now: float, *, world: World) -> None:
    """Bring the files of `model` one step towards what `decide_artifact` says."""
    wanted = decide_artifact(model, now, world=world)
    if wanted is Artifact.QUEUE:
        world.queued.setdefault(model.key, model)
    else:
        world.queued.pop(model.key, None)
    fetch = model.fetch
    if fetch is not None:
        if wanted is not Artifact.FETCH or fetch.key != model.entry.artifact_key:
            _stop(model, fetch, now, world=world)
    elif _has_unwanted_remains(model, world=world):
        model.is_discarding = True
        model.tell("what the fetch left is removed", now)
        world.actions.append(DiscardFetch(model.key))
    elif wanted is Artifact.FETCH:
        _start(model, now, world=world)


def _has_unwanted_remains(model: Model, *, world: World) -> bool:
    """Nobody will go on with them: the manifest is gone, or the model is complete without them."""
    if not model.has_remains or model.is_discarding or model.is_deleting:  # a removal takes them along
        return False
    if world.is_shutting_down or world.is_offline:
        return False
    return not model.is_present or model.entry.condition is Condition.COMPLETE


def _start(model: Model, now: float, *, world: World) -> None:
    number = next(world.numbers)
    model.fetch, model.has_remains = Fetch(number=number, entry=model.entry), True
    world.fetches[number] = model
    model.tell(f"fetch {number} started", now)
    world.actions.append(StartFetch(number, model.entry))


def _stop(model: Model, fetch: Fetch, now: float, *, world: World) -> None:
    if fetch.is_stopping:
        return
    fetch.is_stopping = True
    model.tell(f"fetch {fetch.number} stopped", now)
    world.actions.append(StopFetch(fetch.number))


def fetch_event(
    event: FetchPlanned | FetchAdvanced | FetchEnded | FetchDiscarded, now: float, *, world: World
) -> tuple[Model, ...]:
    """Note what happened; returns the model it is about, nothing if that is not one of ours."""
    if isinstance(event, FetchDiscarded):
        if (discarded := world.models.get(event.key)) is not None:
            discarded.has_remains = discarded.is_discarding = False
            return (discarded,)
        return ()
    model = world.fetches.get(event.fetch)
    if model is None or model.fetch is None:
        return ()
    match event:
        case FetchPlanned(note=note):
            model.fetch.note = note
        case FetchAdvanced(progress=progress):
            model.fetch.progress = dict(progress)
        case FetchEnded():
            _ended(model, model.fetch, event, now, world=world)
        case _:
            assert_never(event)
    return (model,)


def _ended(model: Model, fetch: Fetch, event: FetchEnded, now: float, *, world: World) -> None:
    """The child is gone: the next in the queue may have its place."""
    model.fetch = None
    del world.fetches[event.fetch]
    model.tell(f"fetch {fetch.number} ended: {event.fault.message if event.fault else 'all there'}", now)
    free = world.limits.max_fetches - len(world.fetches)
    world.lively.update(islice(world.queued, max(free, 0)))
    if event.fault is None:
        model.has_remains = False
    if fetch.is_stopping:
        return
    if event.fault is None:
        forget_fetches(model)
        if model.entry.is_fetchable and model.entry.fault:  # the folder was looked at meanwhile
            words = f"all was downloaded, and it is not enough: {model.entry.fault.message}"
            model.fetch_failure = Failure(Fault(NOT_ENOUGH, words), fetch.key, is_permanent=True)
        return
    model.fetch_tries += 1
    wait_s = max(backoff_s(model.fetch_tries + 1), min(event.retry_after_s or 0.0, LONGEST_WAIT_S))
    model.fetch_failure = Failure(event.fault, fetch.key, event.is_permanent, now + wait_s)


def resume_fetch(model: Model) -> None:
    """Somebody wants the files. Who joins a running fetch says nothing about how often it has failed."""
    if is_fetching(model):
        model.is_paused = False
    else:
        forget_fetches(model)


def forget_fetches(model: Model) -> None:
    """Somebody asked for the files again, or they are there: what was before does not count."""
    model.fetch_failure, model.fetch_tries, model.is_paused = None, 0, False
