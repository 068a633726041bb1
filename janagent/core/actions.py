"""Actions: imperatives, the only output of the machine. The runtime carries replies out at once; the executor
turns each of the others into one task that ends in exactly one event.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from janagent.core.faults import Refusal
from janagent.core.memory import Plan
from janagent.folder.entry import ModelEntry


@dataclass(frozen=True, slots=True)
class StartEngine:
    """Start a child for `plan`. Ends in EngineReady or EngineExited."""

    engine: int
    ticket: int
    entry: ModelEntry
    plan: Plan
    deadline_s: float
    """Seconds after which a load that is not ready has failed."""


@dataclass(frozen=True, slots=True)
class StopEngine:
    """End the child: SIGTERM, `grace_s`, SIGKILL; at once when `grace_s` is 0. Ends in EngineExited."""

    engine: int
    ticket: int
    grace_s: float


@dataclass(frozen=True, slots=True)
class StartFetch:
    """Bring the files that `entry` asks for. Ends in FetchEnded."""

    fetch: int
    entry: ModelEntry


@dataclass(frozen=True, slots=True)
class StopFetch:
    """End the child at once; what it brought so far stays. Ends in FetchEnded."""

    fetch: int


@dataclass(frozen=True, slots=True)
class DiscardFetch:
    """Remove what an unfinished fetch of this model left, its record included. Ends in FetchDiscarded."""

    key: str


@dataclass(frozen=True, slots=True)
class RemoveFiles:
    """Take the files of a model away, and what its fetches wrote. Ends in FilesRemoved."""

    key: str
    ticket: int
    entry: ModelEntry
    used: frozenset[str] = frozenset()
    """Real paths that have to stay for the sake of other models."""


@dataclass(frozen=True, slots=True)
class GrantLease:
    """The request may go to this engine; `defaults` are request fields to fill in where it is silent."""

    lease: int
    engine: int
    defaults: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RefuseLease:
    """The request gets no engine."""

    lease: int
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Answer:
    """Somebody who waits for start, stop or delete is done; with a refusal it did not work."""

    waiter: int
    refusal: Refusal | None = None


Reply = GrantLease | RefuseLease | Answer
Work = StartEngine | StopEngine | StartFetch | StopFetch | DiscardFetch | RemoveFiles
Action = Reply | Work
