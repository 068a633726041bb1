"""Events: past facts, the only input of the machine. Frozen values, each about one model or engine.

`ticket` names the action that an event completes; a completion with an old ticket is dropped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from janagent.core.limits import Limits
from janagent.core.memory import Budget
from janagent.folder.entry import CatalogChange
from janagent.folder.fault import Fault


class ExitKind(StrEnum):
    """Why an engine's process ended, as far as the policy cares."""

    REQUESTED = "requested"
    LOAD_FAILED = "load_failed"
    """Trying the same again is pointless."""
    SHORT_OF_GPU = "short_of_gpu"
    """Others hold the GPU memory that it was to have: with fewer layers there, or later, it may come up."""
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True)
class CatalogChanged:
    """A scan found differences. `initial`: the first scan of this daemon."""

    change: CatalogChange
    initial: bool = False


@dataclass(frozen=True, slots=True)
class StartWanted:
    """Somebody called start; `waiter` is answered once it runs or cannot."""

    key: str
    waiter: int | None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StopWanted:
    """Somebody called stop; `waiter` is answered once no process is left."""

    key: str
    waiter: int


@dataclass(frozen=True, slots=True)
class DeleteWanted:
    """Somebody called delete; what may be removed was checked before."""

    key: str
    waiter: int


@dataclass(frozen=True, slots=True)
class FilesRemoved:
    """The files of a deleted model are out of sight, or `error` says why not."""

    key: str
    ticket: int
    error: str | None = None


@dataclass(frozen=True, slots=True)
class LeaseAsked:
    """A request wants an engine of this model."""

    key: str
    lease: int


@dataclass(frozen=True, slots=True)
class LeaseEnded:
    """The request is over, or it stopped waiting."""

    lease: int


@dataclass(frozen=True, slots=True)
class EngineLoading:
    """How far a load is, 0 to 1."""

    engine: int
    progress: float


@dataclass(frozen=True, slots=True)
class EngineReady:
    """The engine answers at its address."""

    engine: int
    ticket: int
    ctx_len: int
    n_parallel: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineExited:
    """The engine's process is gone, before or after it was ready. `code` is the fault's, if that was one."""

    engine: int
    kind: ExitKind
    message: str
    code: str = "engine_failed"


@dataclass(frozen=True, slots=True)
class RemoteSeen:
    """A remote engine answered, or did not: milliseconds to its first byte, or what that says of it."""

    engine: int
    latency_ms: float | None = None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class StepsSeen:
    """The engine's own counters: requests that want to advance, decode steps since its start."""

    engine: int
    live: int
    steps: int


@dataclass(frozen=True, slots=True)
class FetchPlanned:
    """It is known what a fetch will bring; `note` says what was chosen and why."""

    fetch: int
    note: str


@dataclass(frozen=True, slots=True)
class FetchAdvanced:
    """How far a fetch is, in the words of the API's `progress`."""

    fetch: int
    progress: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FetchEnded:
    """The fetcher's process is gone. Without `fault` all files are there; or it was told to stop."""

    fetch: int
    fault: Fault | None = None
    is_permanent: bool = False
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class FetchDiscarded:
    """Nothing is left of the unfinished fetch of this model, and the folder was looked at since."""

    key: str


@dataclass(frozen=True, slots=True)
class FetchesPaused:
    """Nothing is to be fetched for now, or it may go on."""

    is_paused: bool


@dataclass(frozen=True, slots=True)
class MemorySeen:
    """What engines may use in all."""

    budget: Budget


@dataclass(frozen=True, slots=True)
class LimitsChanged:
    """Other settings hold from now on."""

    limits: Limits


@dataclass(frozen=True, slots=True)
class ShutdownWanted:
    """Nothing new may start; running answers may finish for a while, or not if it `is_hasty`."""

    is_hasty: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """The deadline the machine asked for has come."""


Event = (
    CatalogChanged
    | StartWanted
    | StopWanted
    | DeleteWanted
    | FilesRemoved
    | LeaseAsked
    | LeaseEnded
    | EngineLoading
    | EngineReady
    | EngineExited
    | StepsSeen
    | RemoteSeen
    | FetchPlanned
    | FetchAdvanced
    | FetchEnded
    | FetchDiscarded
    | FetchesPaused
    | MemorySeen
    | LimitsChanged
    | ShutdownWanted
    | Tick
)
