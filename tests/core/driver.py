"""Drives a Machine by hand: a clock, the actions it gave, and what the executor would answer. No I/O."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from janagent.core import events as ev
from janagent.core.actions import (
    Action,
    Answer,
    DiscardFetch,
    GrantLease,
    RefuseLease,
    RemoveFiles,
    StartEngine,
    StartFetch,
    StopEngine,
    StopFetch,
)
from janagent.core.faults import Refusal
from janagent.core.limits import Limits
from janagent.core.machine import Machine
from janagent.core.memory import Budget
from janagent.core.status import ModelStatus
from janagent.folder.entry import Binary, CatalogChange, Condition, ModelEntry, Role
from janagent.folder.fault import Fault
from janagent.folder.manifest import Manifest
from janagent.folder.parameters import InitParameters, Metadata

GB = 1_000_000_000


def entry(
    name: str = "a",
    *,
    size: int = GB,
    version: int = 1,
    condition: Condition = Condition.COMPLETE,
    init: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    owned_by: str = "local",
    **changes: Any,
) -> ModelEntry:
    """A local model `name` whose binary has `size` bytes; another `version` is another file or init."""
    binary = Binary(
        path=f"models/{name}.gguf",
        real_path=Path(f"/models/{name}.gguf"),
        size_bytes=size,
        role=Role.MODEL,
        shared=False,
        identity=(1, version, size, 0),
    )
    made = ModelEntry(
        key=f"{name}.json",
        id=name,
        aliases=(),
        path=f"models/{name}.json",
        manifest=Manifest(
            init=InitParameters(**(init or {})), metadata=Metadata(**(metadata or {})), owned_by=owned_by
        ),
        has_manifest=True,
        condition=condition,
        fault=None if condition is Condition.COMPLETE else Fault(condition.value, f"{name} is {condition}"),
        binaries=(binary,),
        runtime_key=f"{name}-{version}-{sorted((init or {}).items())}",
        artifact_key=f"{name}-files",
    )
    return replace(made, **changes)


def lacking(name: str = "a", *, artifact: str = "files", **changes: Any) -> ModelEntry:
    """A model of which only the manifest is there, and it says where to get the rest."""
    bare = entry(name, condition=Condition.MISSING, binaries=(), artifact_key=f"{name}-{artifact}", **changes)
    return replace(bare, manifest=replace(bare.manifest, origin=f"owner/{name}"))


def remote(name: str = "a", *, version: int = 1, **changes: Any) -> ModelEntry:
    """A model that somebody else serves; another `version` is another address."""
    manifest = Manifest(origin="https://api.example/v1", metadata=Metadata(engine="api"))
    return entry(name, version=version, manifest=manifest, binaries=(), **changes)


class Driver:
    """A machine with a clock. Every call hands over one event and runs `check()`."""

    def __init__(self, *, ram: int = 10 * GB, gpu: int = 0, **limits: Any) -> None:
        self.now = 1000.0
        self.machine = Machine(limits=Limits(**limits), budget=Budget(ram, gpu), is_strict=True)
        self.log: list[Action] = []
        self.told: list[ev.Event] = []
        self.deadline: float | None = None
        self.engines: dict[int, StartEngine] = {}
        self.fetches: dict[int, StartFetch] = {}
        self._numbers = 0

    def tell(self, event: ev.Event) -> list[Action]:
        outcome = self.machine.handle(event, self.now)
        self.told.append(event)
        self.machine.check()
        for action in outcome.actions:
            if isinstance(action, StartEngine):
                self.engines[action.engine] = action
            elif isinstance(action, StartFetch):
                self.fetches[action.fetch] = action
        self.log += outcome.actions
        self.deadline = outcome.next_deadline
        return outcome.actions

    def number(self) -> int:
        self._numbers += 1
        return 1_000_000 + self._numbers

    def pass_time(self, seconds: float) -> list[Action]:
        """Let time pass; ticks come when the machine asked for them."""
        until, actions = self.now + seconds, []
        for _ in range(1000):
            if self.deadline is None or self.deadline > until:
                self.now = until
                return actions
            self.now = max(self.now, self.deadline)
            actions += self.tell(ev.Tick())
        raise AssertionError("the machine asks for ticks without end")

    # -- the folder

    def folder(self, *entries: ModelEntry, initial: bool = False) -> list[Action]:
        return self.tell(ev.CatalogChanged(CatalogChange(changed=entries), initial=initial))

    def gone(self, *names: str) -> list[Action]:
        return self.tell(ev.CatalogChanged(CatalogChange(removed=tuple(f"{n}.json" for n in names))))

    def offline(self, is_offline: bool = True) -> list[Action]:
        return self.tell(ev.CatalogChanged(CatalogChange(offline=is_offline)))

    # -- people

    def ask(self, name: str = "a") -> int:
        lease = self.number()
        self.tell(ev.LeaseAsked(f"{name}.json", lease))
        return lease

    def end(self, lease: int) -> list[Action]:
        return self.tell(ev.LeaseEnded(lease))

    def start(self, name: str = "a", **parameters: Any) -> int:
        waiter = self.number()
        self.tell(ev.StartWanted(f"{name}.json", waiter, parameters))
        return waiter

    def stop(self, name: str = "a") -> int:
        waiter = self.number()
        self.tell(ev.StopWanted(f"{name}.json", waiter))
        return waiter

    def delete(self, name: str = "a") -> int:
        waiter = self.number()
        self.tell(ev.DeleteWanted(f"{name}.json", waiter))
        return waiter

    # -- the executor

    def started(self) -> list[int]:
        """Engines that were started and whose end was not told, oldest first."""
        return sorted(self.engines)

    def ready(self, engine: int | None = None) -> list[Action]:
        engine = self.started()[-1] if engine is None else engine
        action = self.engines[engine]
        return self.tell(ev.EngineReady(engine, action.ticket, action.plan.ctx_len, action.plan.n_parallel))

    def exited(
        self, engine: int | None = None, kind: ev.ExitKind = ev.ExitKind.CRASHED, words: str = "it died"
    ) -> list[Action]:
        engine = self.started()[-1] if engine is None else engine
        del self.engines[engine]
        return self.tell(ev.EngineExited(engine, kind, words))

    def stopped(self, engine: int | None = None) -> list[Action]:
        return self.exited(engine, ev.ExitKind.REQUESTED, "stopped")

    def fetching(self) -> list[str]:
        """Names of the models whose fetchers were started and whose end was not told, oldest first."""
        return [action.entry.id for _, action in sorted(self.fetches.items())]

    def fetch_of(self, name: str = "a") -> int:
        """The fetcher of a model."""
        return next(number for number, action in self.fetches.items() if action.entry.id == name)

    def fetch_ended(self, name: str = "a", fault: Fault | None = None, **about: Any) -> list[Action]:
        """The fetcher's process is gone; without `fault` it brought everything."""
        number = self.fetch_of(name)
        del self.fetches[number]
        return self.tell(ev.FetchEnded(number, fault, **about))

    def discarded(self, name: str = "a") -> list[Action]:
        """What an unfinished fetch left is gone."""
        return self.tell(ev.FetchDiscarded(f"{name}.json"))

    def run(self, name: str = "a", **about: Any) -> int:
        """Put a model into the folder and bring it up; returns its engine."""
        self.folder(entry(name, **about))
        if not any(a.entry.id == name for a in self.engines.values()):
            self.start(name)
        engine = next(e for e, a in self.engines.items() if a.entry.id == name)
        self.ready(engine)
        return engine

    # -- looking

    def status(self, name: str = "a") -> ModelStatus:
        status = self.machine.status(f"{name}.json")
        assert status is not None, f"{name} is not listed"
        return status

    def state(self, name: str = "a") -> str:
        return self.status(name).state.value

    def answer(self, number: int) -> int | Refusal | None:
        """What a lease or waiter was told: an engine (0 for done), a refusal, or None if nothing yet."""
        for action in self.log:
            match action:
                case GrantLease(lease=lease, engine=engine) if lease == number:
                    return engine
                case RefuseLease(lease=lease, refusal=refusal) if lease == number:
                    return refusal
                case Answer(waiter=waiter, refusal=refusal) if waiter == number:
                    return refusal or 0
                case _:
                    pass
        return None

    def code(self, number: int) -> str:
        answer = self.answer(number)
        assert isinstance(answer, Refusal), f"not refused but {answer}"
        return answer.code

    def stops(self) -> list[int]:
        """Engines that were told to stop so far."""
        return [action.engine for action in self.log if isinstance(action, StopEngine)]

    def fetch_stops(self) -> list[StopFetch]:
        return [action for action in self.log if isinstance(action, StopFetch)]

    def discards(self) -> list[str]:
        """Names of the models whose remains were to be removed so far."""
        return [action.key.removesuffix(".json") for action in self.log if isinstance(action, DiscardFetch)]

    def removals(self) -> list[RemoveFiles]:
        return [action for action in self.log if isinstance(action, RemoveFiles)]
