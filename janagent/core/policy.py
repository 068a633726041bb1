"""What each model should be, as a question that can be asked at any time: `decide()`. Pure and silent.

The machine asks it far more often than anything happens, so nothing here logs or changes anything.
"""

import hashlib
import json
from enum import StrEnum

from janagent.core.limits import Limits
from janagent.core.memory import GB
from janagent.core.records import Engine, Model, Wish
from janagent.folder.entry import Condition, ModelEntry
from janagent.folder.manifest import apply_start_parameters
from janagent.folder.parameters import InitParameters, RuntimeParameters

FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 300.0
STABLE_AFTER_S = 300.0
"""An engine that served this long before it died starts the count of crashes anew."""


class Target(StrEnum):
    """Where a model should go."""

    UNLOAD = "unload"
    KEEP = "keep"
    """Whatever serves goes on serving; nothing new is started."""
    LOAD = "load"
    """An engine with exactly the wanted settings should serve."""


def effective(model: Model, entry: ModelEntry) -> tuple[InitParameters, RuntimeParameters]:
    """The manifest's parameters with those of the last start laid over them."""
    manifest = entry.manifest
    return apply_start_parameters(manifest.init, manifest.runtime, model.overrides)


def wanted_key(model: Model, entry: ModelEntry) -> str:
    """Runtime key of the engine the model should have: the entry's, unless a start changed `init`."""
    if not model.overrides:
        return entry.runtime_key
    init, _ = effective(model, entry)
    if init == entry.manifest.init:
        return entry.runtime_key
    told = json.dumps([entry.runtime_key, init.model_dump(mode="json")], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def decide(model: Model, now: float, *, limits: Limits, is_offline: bool, is_shutting_down: bool) -> Target:
    """What `model` should become. The first rule that applies decides:

    1. Shutting down, gone from the folder, being deleted or stopped, offline: unload.
    2. The manifest is invalid: keep what serves, start nothing.
    3. A binary is missing: keep what serves if the edit asks for other files, else unload (they went away).
    4. These very settings failed for good, or their back-off runs: keep.
    5. A remote model costs nothing: load.
    6. Somebody waits or asked for it: load.
    7. Hot load, once the file has been quiet long enough: load.
    8. An engine serves: with other settings than wanted, load; idle too long and not pinned, unload.
    9. Otherwise keep.
    """
    entry, serving = model.entry, model.serving
    is_stopped = model.is_stopping or model.is_remote_stopped
    if is_shutting_down or not model.is_present or model.is_deleting or is_stopped or is_offline:  # 1
        return Target.UNLOAD
    if entry.condition is Condition.INVALID:  # 2
        return Target.KEEP
    if entry.condition is Condition.MISSING:  # 3
        other_files = serving is not None and serving.entry.artifact_key != entry.artifact_key
        return Target.KEEP if other_files else Target.UNLOAD
    key = wanted_key(model, entry)
    if is_blocked(model, key, now):  # 4
        return Target.KEEP
    if entry.is_remote:  # 5
        return Target.LOAD
    if model.waiting or model.wish is Wish.START:  # 6
        return Target.LOAD
    if model.wish is Wish.HOT:  # 7
        return Target.LOAD if now >= entry.hot_load_after_s else Target.KEEP
    if serving is not None:  # 8
        if serving.key != key:
            return Target.LOAD
        until = idle_until(model, serving, limits)
        return Target.UNLOAD if until is not None and now >= until else Target.KEEP
    return Target.KEEP  # 9


def is_blocked(model: Model, key: str, now: float) -> bool:
    """These settings failed, and it is not yet time to try them again."""
    failure = model.failure
    return failure is not None and failure.key == key and (failure.is_permanent or now < failure.retry_at)


def idle_until(model: Model, serving: Engine, limits: Limits) -> float | None:
    """When an unused engine is unloaded; None while it is used, pinned or told never to."""
    metadata = model.entry.manifest.metadata
    limit_s = limits.idle_unload_s if metadata.idle_unload_s is None else metadata.idle_unload_s
    if serving.leases or metadata.pin or limit_s <= 0 or serving.is_remote:
        return None
    return max(model.last_used_at, serving.ready_at) + limit_s


def wants_hot_load(entry: ModelEntry, *, limits: Limits, is_initial: bool, is_better: bool) -> bool:
    """A changed entry is worth loading unasked. `is_better`: new, completed or edited since the last scan."""
    if entry.condition is not Condition.COMPLETE or entry.is_remote or not entry.may_hot_load:
        return False
    if entry.manifest.metadata.hot_load is not None:
        return entry.manifest.metadata.hot_load
    if limits.hot_load == "never":
        return False
    return limits.hot_load == "all" or (is_better and not is_initial)


def backoff_s(crashes: int) -> float:
    """Seconds to wait after the n-th crash in a row: none, 1, 2, 4 ... 300."""
    if crashes <= 1:
        return 0.0
    return float(min(FIRST_BACKOFF_S * 2.0 ** min(crashes - 2, 20), LONGEST_BACKOFF_S))


def load_deadline_s(entry: ModelEntry) -> float:
    """Seconds a load may take: two minutes, and one more per 1.5 GB for a slow disk."""
    return 120.0 + entry.size_bytes / GB * 40.0


def may_be_evicted(model: Model, engine: Engine) -> bool:
    """Idle, not pinned, and nobody waits for it; and it holds memory."""
    return not engine.is_remote and not (
        engine.leases or model.waiting or model.start_waiters or model.entry.manifest.metadata.pin
    )
