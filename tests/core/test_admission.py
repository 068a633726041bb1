"""admit(): who may load, and who has to go for it."""

from janagent.core.admission import Admission, Verdict, admit
from janagent.core.memory import Budget, Plan
from janagent.core.phases import Phase
from janagent.core.records import Engine, Model
from tests.core.driver import GB, entry

BUDGET = Budget(10 * GB, 4 * GB)


def plan(ram: float = 0, gpu: float = 0) -> Plan:
    return Plan("k", entry().manifest.init, 512, 1, 0, int(ram * GB), int(gpu * GB))


def model(name: str, *engines: Engine, used_at: float = 0) -> Model:
    return Model(entry=entry(name), engines=list(engines), last_used_at=used_at)


def engine(ram: float = 0, gpu: float = 0, *, phase: Phase = Phase.READY, busy: bool = False) -> Engine:
    made = Engine(1, entry(), plan(ram, gpu), phase, None, started_at=0)
    if busy:
        made.leases.add(1)
    return made


def ask(ram: float = 0, gpu: float = 0, *, me: Model, others: list[Model], is_hot: bool = False) -> Admission:
    return admit(me, plan(ram, gpu), models=[me, *others], budget=BUDGET, is_hot=is_hot)


def test_what_fits_starts() -> None:
    assert ask(5, me=model("me"), others=[model("a", engine(5))]).verdict is Verdict.START


def test_memory_that_is_about_to_be_free_is_waited_for() -> None:
    others = [model("a", engine(8, phase=Phase.STOPPING))]
    assert ask(5, me=model("me"), others=others).verdict is Verdict.WAIT


def test_the_least_recently_used_idle_engines_go_and_no_more_than_needed() -> None:
    old, new = model("old", engine(4), used_at=1), model("new", engine(4), used_at=2)
    admission = ask(5, me=model("me"), others=[new, old])
    assert admission.verdict is Verdict.EVICT
    assert [m.entry.id for m, _ in admission.victims] == ["old"]


def test_busy_pinned_and_waited_for_engines_do_not_go() -> None:
    pinned = Model(entry=entry("pin", metadata={"pin": True}), engines=[engine(3)])
    wanted = model("wanted", engine(3))
    wanted.waiting[1] = 0
    others = [model("busy", engine(3, busy=True)), pinned, wanted]
    assert ask(5, me=model("me"), others=others) == Admission(Verdict.WAIT)


def test_nobody_is_evicted_in_vain() -> None:
    others = [model("busy", engine(6, busy=True)), model("idle", engine(2))]
    assert ask(5, me=model("me"), others=others) == Admission(Verdict.WAIT)


def test_a_successor_sends_its_predecessor_away_before_anybody_else() -> None:
    me = model("me", engine(6))
    assert ask(6, me=me, others=[model("idle", engine(2))]).verdict is Verdict.DRAIN_SELF


def test_a_predecessor_that_drains_is_waited_for_and_nobody_is_evicted_for_it() -> None:
    me = model("me", engine(6, phase=Phase.DRAINING, busy=True))
    assert ask(6, me=me, others=[model("idle", engine(2))]) == Admission(Verdict.WAIT)


def test_gpu_memory_is_counted_on_its_own() -> None:
    idle = model("idle", engine(1, gpu=3))
    assert ask(1, gpu=2, me=model("me"), others=[idle]).verdict is Verdict.EVICT
    assert ask(1, gpu=1, me=model("me"), others=[idle]).verdict is Verdict.START


def test_a_hot_load_takes_spare_room_only_and_comes_alone() -> None:
    me = model("me")
    assert ask(5, me=me, others=[], is_hot=True).verdict is Verdict.START
    assert ask(3, me=me, others=[model("a", engine(3))], is_hot=True).verdict is Verdict.DROP
    loading = model("a", engine(1, phase=Phase.STARTING))
    assert ask(1, me=me, others=[loading], is_hot=True).verdict is Verdict.WAIT
