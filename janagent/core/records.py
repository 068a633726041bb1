"""What the machine remembers: one `Model` per entry, at most two `Engine`s each. Mutable, the machine's own.

Nobody outside `core` holds one of these; others see `ModelStatus`.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from janagent.core.actions import Action
from janagent.core.limits import Limits
from janagent.core.memory import Budget, Plan
from janagent.core.phases import Phase, Trigger, next_phase
from janagent.folder.entry import Condition, ModelEntry
from janagent.folder.fault import Fault

STORY_LINES = 40


class Wish(StrEnum):
    """Why a model should be loaded although no request waits for it."""

    NONE = "none"
    HOT = "hot"
    """Dropped, completed or edited while the daemon runs: loaded if there is room to spare."""
    START = "start"
    """Asked for; as good as a waiting request."""


@dataclass(slots=True)
class Engine:
    """What serves a model, or will: one child process, or one remote API."""

    number: int
    entry: ModelEntry
    """As it was when this engine was started."""
    plan: Plan
    phase: Phase
    ticket: int | None
    """Of the action in flight."""
    started_at: float
    leases: set[int] = field(default_factory=set)
    progress: float = 0.0
    ready_at: float = 0.0
    ctx_len: int = 0
    n_parallel: int = 0
    warnings: tuple[str, ...] = ()
    drain_until: float | None = None
    """Leases that are left then are cut; None: they may finish in their own time."""
    steps: int = -1
    advanced_at: float = 0.0
    """When the engine last showed that it works: a step, or nothing to do."""
    stall_words: str = ""
    """Why we kill it although nobody asked it to go; empty otherwise."""

    latency_ms: float = 0.0
    """Of a remote one: to the first byte of an answer, smoothed; 0 before the first."""
    shown_latency_ms: int | None = None
    last_error: Fault | None = None
    """Of a remote one: what its last answer said of its health."""

    @property
    def is_remote(self) -> bool:
        """It has no process here, takes no memory and shows no steps."""
        return self.entry.is_remote

    @property
    def key(self) -> str:
        """The effective runtime key it was started with."""
        return self.plan.key


@dataclass(slots=True)
class Fetch:
    """One child process that brings a model's files."""

    number: int
    entry: ModelEntry
    """As it was when this fetch was started."""
    is_stopping: bool = False
    note: str = ""
    """What was chosen, and why."""
    progress: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What decides which files are wanted."""
        return self.entry.artifact_key


@dataclass(slots=True)
class Failure:
    """Why the wanted engine (or files) are not there; `key` is the runtime (or artifact) key that failed."""

    fault: Fault
    key: str
    is_permanent: bool
    retry_at: float = 0.0


@dataclass(slots=True)
class Model:
    """Everything the machine knows of one model."""

    entry: ModelEntry
    good: ModelEntry | None = None
    """The last entry that was complete: what goes on serving under a broken edit."""
    is_present: bool = True
    is_deleting: bool = False
    removal_ticket: int | None = None
    removal_entry: ModelEntry | None = None
    """What is being removed; the folder may say something newer meanwhile."""
    is_stopping: bool = False
    """Asked to stop: nothing loads until no engine is left."""
    wish: Wish = Wish.NONE
    overrides: dict[str, Any] = field(default_factory=dict)
    engines: list[Engine] = field(default_factory=list)
    waiting: dict[int, float] = field(default_factory=dict)
    """Lease number -> when it was asked for. `start_waiters` likewise."""
    start_waiters: dict[int, float] = field(default_factory=dict)
    stop_waiters: list[int] = field(default_factory=list)
    delete_waiters: list[int] = field(default_factory=list)
    failure: Failure | None = None
    crashes: int = 0
    gpu_share: float = 1.0
    """Of the GPU budget, what its layers may take: less after they did not fit although they should have."""
    fetch: Fetch | None = None
    fetch_failure: Failure | None = None
    fetch_tries: int = 0
    is_paused: bool = False
    """Stopped while downloading: nothing is fetched before somebody starts it."""
    has_remains: bool = False
    """A fetch began and has not brought all: there may be a record of it, and unfinished files."""
    is_discarding: bool = False
    """Those are being removed."""
    last_used_at: float = 0.0
    is_remote_stopped: bool = False
    story: tuple[str, ...] = ()
    """What happened to it, oldest first; a bounded tail."""

    @property
    def key(self) -> str:
        """Names the model inside the daemon."""
        return self.entry.key

    @property
    def serving(self) -> Engine | None:
        """The engine new requests go to."""
        return next((e for e in self.engines if e.phase is Phase.READY), None)

    @property
    def starting(self) -> Engine | None:
        """The engine that is being loaded: the first one, or the successor of the serving one."""
        return next((e for e in self.engines if e.phase is Phase.STARTING), None)

    @property
    def source(self) -> ModelEntry | None:
        """The entry an engine should be made from now, None if there is none."""
        return self.entry if self.entry.condition is Condition.COMPLETE else None

    @property
    def is_idle(self) -> bool:
        """Nothing runs, waits or is wished for: the machine need not look at it."""
        return not (
            self.engines
            or self.fetch
            or self.is_discarding
            or (self.fetch_failure is not None and not self.fetch_failure.is_permanent)
            or (self.entry.is_remote and self.failure is not None)
            or self.waiting
            or self.wish is not Wish.NONE
            or self.start_waiters
            or self.stop_waiters
            or self.is_stopping
            or self.is_deleting
        )

    def tell(self, line: str, now: float) -> None:
        """Add a line to the story."""
        self.story = (*self.story[1 - STORY_LINES :], f"{now:.3f} {line}")

    def move(self, engine: Engine, trigger: Trigger, now: float) -> None:
        """Move `engine` along the table; it leaves the model when it is gone. Raises InvalidTransition."""
        self.tell(f"engine {engine.number} {engine.phase} --{trigger}-->", now)
        phase = next_phase(engine.phase, trigger, story=self.story)
        if phase is None:
            self.engines.remove(engine)
        else:
            engine.phase = phase


@dataclass(slots=True)
class World:
    """State that all models share; `core.machine` and `core.steps` work on it."""

    limits: Limits
    budget: Budget
    models: dict[str, Model] = field(default_factory=dict)
    leases: dict[int, Model] = field(default_factory=dict)
    engines: dict[int, tuple[Model, Engine]] = field(default_factory=dict)
    fetches: dict[int, Model] = field(default_factory=dict)
    queued: dict[str, Model] = field(default_factory=dict)
    """Those whose files would be fetched, but as many others as may be are; the first is the next."""
    are_fetches_paused: bool = False
    lively: set[str] = field(default_factory=set)
    """Keys of models that something happens to; the others need no look."""
    is_offline: bool = False
    is_shutting_down: bool = False
    is_hasty: bool = False
    """No answer is waited for."""
    actions: list[Action] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def wake(self, *models: Model) -> None:
        """Something happened to these: they are looked at, and may look different."""
        self.lively.update(model.key for model in models)
        self.touched.update(model.key for model in models)

    def budget_of(self, model: Model) -> Budget:
        """What `model` may use at most."""
        return replace(self.budget, gpu_bytes=int(self.budget.gpu_bytes * model.gpu_share))

    @property
    def is_loading(self) -> bool:
        """Some engine is not ready yet; a hot load waits for it."""
        return any(engine.phase is Phase.STARTING for _, engine in self.engines.values())
