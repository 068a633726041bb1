"""Anything in any order: the machine keeps its invariants, and everybody who waits is answered in the end."""

from collections import Counter
from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from janagent.core import events as ev
from janagent.core.actions import StartEngine, StopEngine
from janagent.core.memory import Budget
from janagent.core.status import State
from janagent.folder.entry import Condition
from janagent.folder.fault import Fault
from tests.core.driver import GB, Driver, entry, lacking, remote

names = st.sampled_from(["a", "b", "c"])


class AnyOrder(RuleBasedStateMachine):
    """Three models, memory for about two, an executor that does what it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.d = Driver(ram=5 * GB, idle_unload_s=60, load_wait_s=100, stall_s=40, drain_s=20)
        self.ended: set[int] = set()
        self.asked: set[int] = set()
        self.is_down = False

    def _stop_asked(self, engine: int) -> bool:
        return engine in self.d.stops()

    # -- the folder

    @rule(
        name=names,
        size=st.sampled_from([GB, 2 * GB, 7 * GB]),
        version=st.integers(1, 3),
        condition=st.sampled_from(Condition),
        pin=st.booleans(),
        hot=st.sampled_from([None, True, False]),
    )
    def drop(
        self, name: str, size: int, version: int, condition: Condition, pin: bool, hot: bool | None
    ) -> None:
        metadata = {"pin": pin, "hot_load": hot}
        self.d.folder(entry(name, size=size, version=version, condition=condition, metadata=metadata))

    @rule(name=names, artifact=st.sampled_from(["files", "others"]))
    def drop_a_manifest_alone(self, name: str, artifact: str) -> None:
        self.d.folder(lacking(name, artifact=artifact))

    @rule(
        name=names,
        version=st.integers(1, 3),
        condition=st.sampled_from([Condition.COMPLETE, Condition.INVALID]),
    )
    def drop_a_remote_one(self, name: str, version: int, condition: Condition) -> None:
        self.d.folder(remote(name, version=version, condition=condition))

    @rule(name=names)
    def remove(self, name: str) -> None:
        self.d.gone(name)

    @rule(is_offline=st.booleans())
    def mount(self, is_offline: bool) -> None:
        self.d.offline(is_offline)

    @rule(gigabytes=st.integers(1, 9))
    def memory(self, gigabytes: int) -> None:
        self.d.tell(ev.MemorySeen(Budget(gigabytes * GB)))

    # -- people

    @rule(name=names)
    def ask(self, name: str) -> None:
        self.asked.add(self.d.ask(name))

    @rule(name=names, ctx_len=st.sampled_from([None, 256, 512]))
    def start(self, name: str, ctx_len: int | None) -> None:
        parameters = {} if ctx_len is None else {"ctx_len": ctx_len}
        self.asked.add(self.d.start(name, **parameters))

    @rule(name=names)
    def stop(self, name: str) -> None:
        self.asked.add(self.d.stop(name))

    @rule(name=names)
    def delete(self, name: str) -> None:
        self.asked.add(self.d.delete(name))

    @rule(data=st.data())
    @precondition(lambda self: self.asked)
    def end_a_request(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.asked)))
        self.ended.add(number)
        self.d.end(number)

    @rule(is_paused=st.booleans())
    def pause_downloads(self, is_paused: bool) -> None:
        self.d.tell(ev.FetchesPaused(is_paused))

    # -- the executor

    @rule(data=st.data(), fails=st.sampled_from(["", "for now", "for good"]))
    @precondition(lambda self: self.d.fetches)
    def fetch_ends(self, data: st.DataObject, fails: str) -> None:
        name = data.draw(st.sampled_from(self.d.fetching()))
        fault = Fault("network", fails) if fails else None
        self.d.fetch_ended(name, fault, is_permanent=fails == "for good")

    @rule()
    def remains_are_discarded(self) -> None:
        for name in self.discarding():
            self.d.discarded(name)

    def discarding(self) -> list[str]:
        """Those that were asked for and not yet told, as there may be one of each model."""
        told = [event for event in self.d.told if isinstance(event, ev.FetchDiscarded)]
        left = Counter(self.d.discards()) - Counter(event.key.removesuffix(".json") for event in told)
        return list(left.elements())

    @rule(data=st.data())
    @precondition(lambda self: self.d.engines)
    def engine_ready(self, data: st.DataObject) -> None:
        self.d.ready(data.draw(st.sampled_from(self.d.started())))

    @rule(data=st.data(), kind=st.sampled_from([ev.ExitKind.CRASHED, ev.ExitKind.LOAD_FAILED]))
    @precondition(lambda self: self.d.engines)
    def engine_dies(self, data: st.DataObject, kind: ev.ExitKind) -> None:
        self.d.exited(data.draw(st.sampled_from(self.d.started())), kind)

    @rule()
    def engines_stop_as_told(self) -> None:
        for engine in [e for e in self.d.started() if self._stop_asked(e)]:
            self.d.stopped(engine)

    @rule(data=st.data(), live=st.integers(0, 2), steps=st.integers(0, 5))
    @precondition(lambda self: self.d.engines)
    def engine_steps(self, data: st.DataObject, live: int, steps: int) -> None:
        self.d.tell(ev.StepsSeen(data.draw(st.sampled_from(self.d.started())), live, steps))

    @rule(works=st.booleans())
    def files_removed(self, works: bool) -> None:
        for removal in self.d.removals():
            error = None if works else "busy"
            self.d.tell(ev.FilesRemoved(removal.key, removal.ticket, error))

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 30.0, 500.0]))
    def time(self, seconds: float) -> None:
        self.d.pass_time(seconds)

    @rule(idle_unload_s=st.sampled_from([0, 30, 60]), may_fetch=st.booleans())
    def other_limits(self, idle_unload_s: int, may_fetch: bool) -> None:
        limits = replace(self.d.machine.limits, idle_unload_s=idle_unload_s, may_fetch=may_fetch)
        self.d.tell(ev.LimitsChanged(limits))

    @rule()
    def shut_down(self) -> None:
        if not self.is_down:
            self.is_down = True
            self.d.tell(ev.ShutdownWanted())

    # -- what always holds

    @invariant()
    def it_is_sound(self) -> None:
        self.d.machine.check()

    @invariant()
    def every_status_can_be_told(self) -> None:
        for status in self.d.machine.statuses():
            is_explained = status.error is not None or status.state is State.DOWNLOADING
            assert status.entry.fault is None or is_explained

    @invariant()
    def nothing_is_fetched_while_it_is_discarded(self) -> None:
        discarding = self.discarding()
        assert len(discarding) == len(set(discarding))
        assert not set(discarding) & set(self.d.fetching())

    @invariant()
    def each_engine_is_started_once_and_stopped_at_most_once(self) -> None:
        starts = [a.engine for a in self.d.log if isinstance(a, StartEngine)]
        stops = [a.engine for a in self.d.log if isinstance(a, StopEngine)]
        assert len(starts) == len(set(starts))
        assert len(stops) == len(set(stops))

    @invariant()
    def memory_of_two_models_never_exceeds_what_was_there(self) -> None:
        committed = self.d.machine.committed().ram_bytes
        assert committed <= 9.1 * GB

    def fetches_fail_for_good(self) -> None:
        for name in self.d.fetching():
            self.d.fetch_ended(name, Fault("no_gguf", "there is no model in it"), is_permanent=True)

    def let_everything_settle(self) -> None:
        """Every child answers, and more time passes than any limit allows to wait."""
        for _ in range(20):
            self.engines_stop_as_told()
            for engine in self.d.started():
                self.d.ready(engine)
            self.fetches_fail_for_good()
            self.remains_are_discarded()
            self.files_removed(True)
            self.d.pass_time(1000)

    def waiting(self) -> set[int]:
        """Those who asked, have not left, and were told nothing."""
        return {number for number in self.asked - self.ended if self.d.answer(number) is None}

    @rule()
    def once_everything_is_settled_nobody_waits(self) -> None:
        self.let_everything_settle()
        assert not self.waiting(), "somebody waits although nothing is under way"

    def teardown(self) -> None:
        """Let everything end: then no process is left, and nobody waits any more."""
        self.let_everything_settle()
        assert not self.waiting(), "somebody waits although nothing is under way"
        self.d.tell(ev.ShutdownWanted())
        for _ in range(5):
            self.d.pass_time(100)
            self.engines_stop_as_told()
            self.fetches_fail_for_good()
            self.remains_are_discarded()
            self.files_removed(True)
        assert not self.d.machine.has_engines
        assert not self.d.fetches
        assert not self.waiting(), "somebody waits for ever"


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
