"""What changed, told to whoever listens: the event stream's source. Owned by `runtime`; knows no HTTP.

A listener that does not keep up is not allowed to grow: its queue is emptied and it is told to look at
everything again (`Overflow`), which is the same as what a new listener does.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from janagent.core.status import ModelStatus

QUEUE_LIMIT = 2000


@dataclass(frozen=True, slots=True)
class ModelChanged:
    """A model is new or looks different."""

    status: ModelStatus


@dataclass(frozen=True, slots=True)
class ModelRemoved:
    """No model has this id any more."""

    id: str


@dataclass(frozen=True, slots=True)
class MachineChanged:
    """Memory use or budget moved."""

    machine: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Overflow:
    """Changes were lost to this listener: take a snapshot."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The daemon ends; nothing comes after this."""


Change = ModelChanged | ModelRemoved | MachineChanged | Overflow | Closed


class Subscription:
    """One listener's queue; a context manager, so that a listener that left costs nothing."""

    def __init__(self, feed: "Feed") -> None:
        self._feed = feed
        self._queue: asyncio.Queue[Change] = asyncio.Queue()

    def __enter__(self) -> Self:
        self._feed._listeners.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._feed._listeners.discard(self)

    async def get(self) -> Change:
        """The next change, waiting for one."""
        return await self._queue.get()

    def _put(self, change: Change) -> None:
        if self._queue.qsize() >= QUEUE_LIMIT and not isinstance(change, Closed):
            while not self._queue.empty():
                self._queue.get_nowait()
            change = Overflow()
        self._queue.put_nowait(change)


class Feed:
    """Remembers what was last told of each model and tells only differences."""

    def __init__(self) -> None:
        self._listeners: set[Subscription] = set()
        self._told: dict[str, ModelStatus] = {}

    def subscribe(self) -> Subscription:
        """A listener that hears what happens while its context is open."""
        return Subscription(self)

    def publish(self, key: str, status: ModelStatus | None) -> bool:
        """Tell how the model `key` looks now, None if it is gone; true if that was news."""
        before = self._told.get(key)
        if status == before:
            return False
        if status is None:
            del self._told[key]
        else:
            self._told[key] = status
        if before is not None and (status is None or status.id != before.id):
            self.tell(ModelRemoved(before.id))
        if status is not None:
            self.tell(ModelChanged(status))
        return True

    def statuses(self) -> list[ModelStatus]:
        """Every model as last told, sorted by id."""
        return sorted(self._told.values(), key=lambda status: status.id)

    def counts(self) -> dict[str, int]:
        """How many models were last told to be in each state that occurs."""
        return dict(Counter(status.state.value for status in self._told.values()))

    def tell(self, change: Change) -> None:
        """Put `change` into every listener's queue."""
        for listener in self._listeners:
            listener._put(change)

    def close(self) -> None:
        """Tell every listener that nothing more comes."""
        self.tell(Closed())
