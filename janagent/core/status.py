"""What a person sees of a model: a smaller vocabulary than the machine's own phases.

Neighbours: `core.machine` makes these, `http.objects` turns them into JSON. Pure values.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from janagent.folder.entry import Condition, ModelEntry
from janagent.folder.fault import Fault


class State(StrEnum):
    """The words of the API, the command line and the tray."""

    INVALID = "invalid"
    MISSING = "missing"
    DOWNLOADING = "downloading"
    DOWNLOADED = "downloaded"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    FAILED = "failed"
    STOPPED = "stopped"
    """Remote models only."""


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model as everybody outside the machine sees it at one moment."""

    entry: ModelEntry
    state: State
    error: Fault | None = None
    warnings: tuple[str, ...] = ()
    progress: dict[str, Any] | None = None
    ctx_len: int | None = None
    """Tokens one conversation may use, of the engine that runs."""
    n_parallel: int | None = None
    last_error: Fault | None = None
    """Of a remote model: what its last answer said of the upstream's health."""
    latency_ms: int | None = None
    """Of a remote model: to the first byte of an answer, about."""
    overrides: tuple[tuple[str, Any], ...] = ()
    """`init` and `runtime` parameters of the last start that differ from the manifest's."""

    @property
    def id(self) -> str:
        """The model's id."""
        return self.entry.id

    @property
    def is_on_disk(self) -> bool:
        """A local model that is complete on disk, loaded or not: the API's filter `downloaded`."""
        if self.state is State.FAILED and self.entry.condition is not Condition.COMPLETE:
            return False  # its files could not be fetched
        return not self.entry.is_remote and self.state in _ON_DISK


_ON_DISK = frozenset({State.DOWNLOADED, State.STARTING, State.RUNNING, State.STOPPING, State.FAILED})
