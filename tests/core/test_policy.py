"""decide(), rule by rule, and the figures of back-off and deadlines."""

from typing import Any

import pytest

from janagent.core.limits import Limits
from janagent.core.memory import Plan
from janagent.core.phases import Phase
from janagent.core.policy import (
    Target,
    backoff_s,
    decide,
    load_deadline_s,
    wanted_key,
    wants_hot_load,
)
from janagent.core.records import Engine, Failure, Model, Wish
from janagent.folder.entry import Condition
from janagent.folder.fault import Fault
from tests.core.driver import GB, entry

NOW = 1000.0


def model(*, serves: bool = False, **about: Any) -> Model:
    made = Model(entry=entry(**about))
    if serves:
        plan = Plan("k", made.entry.manifest.init, 512, 1, 0, GB)
        engine = Engine(1, made.entry, plan, Phase.READY, None, started_at=NOW - 10, ready_at=NOW - 9)
        engine.plan = Plan(made.entry.runtime_key, made.entry.manifest.init, 512, 1, 0, GB)
        made.engines.append(engine)
        made.last_used_at = NOW - 9
    return made


def target(about: Model, *, now: float = NOW, **changes: Any) -> Target:
    world: dict[str, Any] = {
        "limits": Limits(idle_unload_s=60),
        "is_offline": False,
        "is_shutting_down": False,
    }
    return decide(about, now, **{**world, **changes})


def test_rule_1_what_is_on_its_way_out_is_unloaded() -> None:
    assert target(model(serves=True), is_offline=True) is Target.UNLOAD
    assert target(model(serves=True), is_shutting_down=True) is Target.UNLOAD
    for attribute in ("is_deleting", "is_stopping"):
        leaving = model(serves=True)
        setattr(leaving, attribute, True)
        leaving.waiting[1] = NOW
        assert target(leaving) is Target.UNLOAD
    gone = model(serves=True)
    gone.is_present = False
    assert target(gone) is Target.UNLOAD


def test_rule_3_an_invalid_manifest_keeps_what_serves_and_starts_nothing() -> None:
    broken = model(condition=Condition.INVALID)
    broken.waiting[1] = NOW
    assert target(broken) is Target.KEEP


def test_rule_4_missing_files_unload_unless_the_edit_asks_for_others() -> None:
    absent = model(serves=True)
    absent.entry = entry(condition=Condition.MISSING)
    assert target(absent) is Target.UNLOAD
    absent.entry = entry(condition=Condition.MISSING, artifact_key="other")
    assert target(absent) is Target.KEEP


def test_rule_5_failed_settings_are_left_alone_until_their_time() -> None:
    failed = model()
    failed.waiting[1] = NOW
    key = failed.entry.runtime_key
    failed.failure = Failure(Fault("x", "y"), key, is_permanent=True)
    assert target(failed) is Target.KEEP
    failed.failure = Failure(Fault("x", "y"), key, is_permanent=False, retry_at=NOW + 5)
    assert target(failed) is Target.KEEP
    assert target(failed, now=NOW + 5) is Target.LOAD
    failed.failure = Failure(Fault("x", "y"), "older settings", is_permanent=True)
    assert target(failed) is Target.LOAD


def test_rules_6_and_7_somebody_waits_or_a_hot_load_is_due() -> None:
    cold = model(hot_load_after_s=NOW + 2)
    assert target(cold) is Target.KEEP
    cold.wish = Wish.HOT
    assert target(cold) is Target.KEEP
    assert target(cold, now=NOW + 2) is Target.LOAD
    cold.wish = Wish.START
    assert target(cold) is Target.LOAD
    cold.wish = Wish.NONE
    cold.waiting[1] = NOW
    assert target(cold) is Target.LOAD


def test_rule_8_other_settings_load_and_idleness_unloads() -> None:
    served = model(serves=True)
    assert target(served) is Target.KEEP
    assert target(served, now=NOW + 60) is Target.UNLOAD
    served.engines[0].leases.add(1)
    assert target(served, now=NOW + 60) is Target.KEEP
    served.entry = entry(version=2)
    assert target(served) is Target.LOAD


def test_overrides_of_init_make_another_engine_and_those_of_runtime_do_not() -> None:
    plain = model()
    before = wanted_key(plain, plain.entry)
    plain.overrides = {"temperature": 0.5}
    assert wanted_key(plain, plain.entry) == before
    plain.overrides = {"ctx_len": 256}
    assert wanted_key(plain, plain.entry) != before
    plain.overrides = {"init": {"ctx_len": 256}}
    assert wanted_key(plain, plain.entry) != before


@pytest.mark.parametrize(
    ("crashes", "seconds"), [(1, 0), (2, 1), (3, 2), (4, 4), (10, 256), (11, 300), (99, 300)]
)
def test_back_off_doubles_to_five_minutes(crashes: int, seconds: float) -> None:
    assert backoff_s(crashes) == seconds


def test_a_load_deadline_grows_with_the_file() -> None:
    assert load_deadline_s(entry(size=0)) == 120
    assert load_deadline_s(entry(size=40 * GB)) == 120 + 1600


def test_a_hot_load_is_for_what_is_new_or_better_unless_the_manifest_says_otherwise() -> None:
    def wants(mode: Any, *, is_initial: bool = False, is_better: bool = True, **about: Any) -> bool:
        limits = Limits(hot_load=mode)
        return wants_hot_load(entry(**about), limits=limits, is_initial=is_initial, is_better=is_better)

    assert wants("dropped")
    assert not wants("dropped", is_initial=True)
    assert not wants("dropped", is_better=False)
    assert wants("all", is_initial=True)
    assert not wants("never")
    assert wants("never", is_initial=True, metadata={"hot_load": True})
    assert not wants("all", metadata={"hot_load": False})
    assert not wants("all", may_hot_load=False)
    assert not wants("all", condition=Condition.MISSING)
