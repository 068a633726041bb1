"""The words people see."""

from janagent.core.limits import Limits
from janagent.core.memory import Budget
from janagent.core.records import Model, World
from janagent.core.status import State
from janagent.core.view import status_of
from janagent.folder.entry import Condition
from tests.core.driver import GB, Driver, entry


def world(*, is_offline: bool = False) -> World:
    return World(limits=Limits(), budget=Budget(GB), is_offline=is_offline)


def test_each_condition_of_a_model_that_does_not_run_has_its_word() -> None:
    for condition, word in (
        (Condition.COMPLETE, State.DOWNLOADED),
        (Condition.MISSING, State.MISSING),
        (Condition.INVALID, State.INVALID),
    ):
        status = status_of(Model(entry=entry(condition=condition)), world=world())
        assert status.state is word
        assert (status.error is None) == (condition is Condition.COMPLETE)


def test_offline_is_missing_and_says_so() -> None:
    status = status_of(Model(entry=entry()), world=world(is_offline=True))
    assert status.state is State.MISSING
    assert status.error is not None
    assert status.error.code == "offline"


def test_a_load_shows_how_far_it_is() -> None:
    from janagent.core import events as ev

    d = Driver()
    d.folder(entry(size=1000))
    d.tell(ev.EngineLoading(d.started()[0], 0.4567))
    assert d.status().progress == {"done_bytes": 457, "total_bytes": 1000}
    d.ready()
    assert d.status().progress is None


def test_on_disk_means_complete_loaded_or_not() -> None:
    d = Driver()
    d.folder(entry("a"), entry("b", condition=Condition.MISSING), initial=True)
    assert d.status("a").is_on_disk
    assert not d.status("b").is_on_disk
    d.run("a")
    assert d.status("a").is_on_disk
