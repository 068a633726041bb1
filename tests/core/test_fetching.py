"""What the machine does about files that are not there."""

import pytest

from janagent.core import events as ev
from janagent.core.actions import StartFetch
from janagent.folder.entry import CatalogChange, Condition
from janagent.folder.fault import Fault
from tests.core.driver import GB, Driver, entry, lacking

LOST = Fault("network", "the hub cannot be reached")


def test_a_manifest_alone_is_fetched_and_what_came_is_loaded() -> None:
    d = Driver()
    d.folder(lacking())
    assert d.fetching() == ["a"]
    assert d.state() == "downloading"
    assert d.status().error is None
    d.folder(entry())
    d.fetch_ended()
    assert d.state() == "starting"
    d.ready()
    assert d.state() == "running"


def test_progress_and_the_reason_of_a_choice_are_shown() -> None:
    d = Driver()
    d.folder(lacking())
    fetch = d.fetch_of()
    d.tell(ev.FetchPlanned(fetch, "Q4_K_M, because it fits"))
    d.tell(ev.FetchAdvanced(fetch, {"done_bytes": 5, "total_bytes": 10}))
    shown = d.status().progress
    assert shown == {"done_bytes": 5, "total_bytes": 10, "note": "Q4_K_M, because it fits"}


def test_a_manifest_without_a_source_and_one_whose_file_is_in_the_way_fetch_nothing() -> None:
    d = Driver()
    d.folder(entry("a", condition=Condition.MISSING, binaries=()))
    d.folder(lacking("b", fault=Fault("incomplete", "incomplete: 31 % of 4.1 GB")))
    assert d.fetching() == []
    assert (d.state("a"), d.state("b")) == ("missing", "missing")


def test_offline_fetches_nothing() -> None:
    d = Driver(may_fetch=False)
    d.folder(lacking())
    assert d.fetching() == []
    fault = d.status().error
    assert (d.state(), fault and fault.code) == ("missing", "missing")
    assert fault is not None
    assert "offline = true forbids" in fault.message
    assert "offline = true forbids" in getattr(d.answer(d.ask()), "message", "")


def test_a_start_that_joins_a_running_download_does_not_shorten_the_pauses_between_tries() -> None:
    d = Driver()
    d.folder(lacking())
    pauses = []
    for _ in range(4):
        d.start()
        d.fetch_ended(fault=LOST)
        began = d.now
        while not d.fetching():
            d.pass_time(0.5)
        pauses.append(d.now - began)
    assert pauses == sorted(pauses)
    assert pauses[-1] >= 4 * pauses[0]


def test_a_request_for_a_model_that_is_downloaded_is_told_at_once_when_to_come_back() -> None:
    d = Driver()
    d.folder(lacking())
    d.tell(ev.FetchAdvanced(d.fetch_of(), {"eta_s": 42.0}))
    lease = d.ask()
    assert d.code(lease) == "model_downloading"
    refusal = d.answer(lease)
    assert getattr(refusal, "retry_after_s", None) == 42.0


def test_a_start_that_waits_for_a_download_ends_with_the_running_model() -> None:
    d = Driver(hot_load="never")
    d.folder(lacking())
    waiter = d.start()
    d.folder(entry())
    assert d.answer(waiter) is None
    d.fetch_ended()
    assert d.answer(waiter) is None
    d.ready()
    assert d.answer(waiter) == 0


def test_no_more_fetches_run_than_may_and_the_next_follows() -> None:
    d = Driver(max_fetches=2)
    d.folder(*(lacking(name) for name in "abc"))
    assert d.fetching() == ["a", "b"]
    fault = d.status("c").error
    assert d.state("c") == "missing"
    assert fault is not None
    assert fault.code == "queued"
    assert d.code(d.ask("c")) == "model_downloading"
    d.fetch_ended("a")
    assert d.fetching() == ["b", "c"]


def test_those_that_queue_come_in_their_order_and_only_those_that_can_start_are_looked_at() -> None:
    d = Driver(max_fetches=1)
    d.folder(lacking("c"))
    d.folder(lacking("b"))
    d.folder(lacking("a"))
    number = d.fetch_of("c")
    del d.fetches[number]
    outcome = d.machine.handle(ev.FetchEnded(number), d.now)
    assert [action.entry.id for action in outcome.actions if isinstance(action, StartFetch)] == ["b"]
    assert outcome.touched == {"c.json", "b.json"}


def test_stop_pauses_a_download_and_start_resumes_it() -> None:
    d = Driver()
    d.folder(lacking())
    waiter = d.stop()
    assert len(d.fetch_stops()) == 1
    assert d.answer(waiter) is None
    d.fetch_ended(fault=LOST)
    assert d.answer(waiter) == 0
    fault = d.status().error
    assert (d.state(), fault and fault.code) == ("missing", "paused")
    d.pass_time(10_000)
    assert d.fetching() == []
    d.start()
    assert d.fetching() == ["a"]


def test_a_pause_for_all_stops_every_download_and_its_end_resumes_them() -> None:
    d = Driver()
    d.folder(lacking("a"), lacking("b"))
    d.tell(ev.FetchesPaused(True))
    assert len(d.fetch_stops()) == 2
    d.fetch_ended("a", LOST)
    d.fetch_ended("b", LOST)
    fault = d.status("a").error
    assert fault is not None
    assert fault.code == "paused"
    d.tell(ev.FetchesPaused(False))
    assert d.fetching() == ["a", "b"]


@pytest.mark.parametrize("how", ["by hand", "by a call"])
def test_a_deleted_model_takes_what_its_download_wrote_along(how: str) -> None:
    d = Driver()
    d.folder(lacking())
    if how == "by hand":
        d.gone("a")
    else:
        d.delete()
    assert len(d.fetch_stops()) == 1
    assert (d.removals(), d.discards()) == ([], [])
    d.fetch_ended(fault=LOST)
    assert (len(d.removals()), d.discards()) == ((0, ["a"]) if how == "by hand" else (1, []))


@pytest.mark.parametrize("when", ["paused", "queued", "in back-off", "interrupted before this daemon"])
def test_a_manifest_that_goes_while_nothing_is_fetched_takes_the_remains_along(when: str) -> None:
    d = Driver(max_fetches=1)
    if when == "paused":
        d.folder(lacking())
        d.stop()
        d.fetch_ended(fault=LOST)
    elif when == "queued":
        d.folder(lacking("b"))
        d.folder(lacking(fault=Fault("interrupted", "a fetch has not ended")))
        assert d.fetching() == ["b"]
    elif when == "in back-off":
        d.folder(lacking())
        d.fetch_ended(fault=LOST)
    else:
        d.tell(ev.FetchesPaused(True))
        d.folder(lacking(fault=Fault("interrupted", "a fetch has not ended")), initial=True)
    assert d.discards() == []
    d.gone("a")
    assert d.discards() == ["a"]
    d.discarded()
    assert d.machine.story("a.json") == (), "it is forgotten"


def test_a_manifest_that_comes_back_is_fetched_once_the_remains_are_gone() -> None:
    d = Driver()
    d.folder(lacking())
    d.fetch_ended(fault=LOST)
    d.gone("a")
    d.folder(lacking())
    d.pass_time(10_000)
    assert d.fetching() == []
    d.discarded()
    assert d.fetching() == ["a"]
    assert d.discards() == ["a"]


def test_a_model_that_became_complete_without_its_fetch_loses_the_remains() -> None:
    d = Driver()
    d.folder(lacking())
    d.fetch_ended(fault=LOST)
    d.folder(entry())
    assert d.discards() == ["a"]
    d.discarded()
    d.folder(entry(version=2))
    assert d.discards() == ["a"]


def test_an_edit_that_cannot_be_read_keeps_what_is_there_already() -> None:
    d = Driver()
    d.folder(lacking())
    d.folder(entry(condition=Condition.INVALID, binaries=(), artifact_key=""))
    d.fetch_ended(fault=LOST)
    d.pass_time(10_000)
    assert d.discards() == []
    d.folder(lacking())
    assert d.fetching() == ["a"]


def test_what_is_offline_is_not_discarded() -> None:
    d = Driver()
    d.folder(lacking())
    d.fetch_ended(fault=LOST)
    d.tell(ev.CatalogChanged(CatalogChange(removed=("a.json",), offline=True)))
    assert d.discards() == []


def test_an_edit_of_what_is_wanted_starts_the_fetch_anew_and_another_edit_does_not() -> None:
    d = Driver()
    d.folder(lacking())
    d.folder(lacking(owned_by="somebody"))
    assert d.fetch_stops() == []
    d.folder(lacking(artifact="others"))
    assert len(d.fetch_stops()) == 1
    d.fetch_ended(fault=LOST)
    assert d.fetching() == ["a"]
    assert d.fetches[d.fetch_of()].entry.artifact_key == "a-others"


def test_a_failure_is_shown_and_tried_again_later_unless_that_is_no_help() -> None:
    d = Driver()
    d.folder(lacking())
    d.fetch_ended(fault=LOST)
    assert d.fetching() == []
    assert (d.state(), d.status().error) == ("failed", LOST)
    assert not d.status().is_on_disk
    assert d.code(d.ask()) == "model_missing"
    d.pass_time(2)
    assert d.fetching() == ["a"]
    d.fetch_ended(fault=Fault("gated", "visit the page"), is_permanent=True)
    d.pass_time(100_000)
    assert d.fetching() == []
    assert d.state() == "failed"
    d.start()
    assert d.fetching() == ["a"]


def test_a_hub_that_says_when_to_come_back_is_obeyed() -> None:
    d = Driver()
    d.folder(lacking())
    d.fetch_ended(fault=LOST, retry_after_s=500.0)
    d.pass_time(490)
    assert d.fetching() == []
    d.pass_time(20)
    assert d.fetching() == ["a"]


def test_what_came_and_is_still_not_enough_fails_in_its_own_words_and_is_not_fetched_again() -> None:
    d = Driver()
    d.folder(lacking())
    waiter = d.start()
    d.fetch_ended()
    d.pass_time(10_000)
    assert d.fetching() == []
    fault = d.status().error
    assert (d.state(), fault and fault.code) == ("failed", "not_enough")
    assert fault is not None
    assert "all was downloaded, and it is not enough: a is missing" in fault.message
    for refused in (waiter, d.ask()):
        assert d.code(refused) == "model_missing"
        assert "all was downloaded" in getattr(d.answer(refused), "message", "")
    d.start()
    assert d.fetching() == ["a"], "somebody wants another try"


def test_a_start_that_waited_for_a_long_download_may_wait_for_memory_as_long_as_any() -> None:
    d = Driver(ram=2 * GB, hot_load="never", load_wait_s=300)
    idle = d.run("idle", size=GB)
    d.folder(lacking())
    waiter = d.start()
    d.pass_time(1000)
    d.folder(entry())
    d.fetch_ended()
    assert d.stops() == [idle]
    assert d.answer(waiter) is None, "the download's time is not the wait for memory"
    d.pass_time(10)
    d.stopped(idle)
    d.ready()
    assert d.answer(waiter) == 0


def test_an_offline_root_and_the_end_of_the_daemon_stop_a_download_and_keep_what_is_there() -> None:
    d = Driver()
    d.folder(lacking())
    d.offline()
    d.fetch_ended(fault=LOST)
    d.offline(False)
    assert d.fetching() == ["a"]
    d.tell(ev.ShutdownWanted())
    assert len(d.fetch_stops()) == 2
    d.fetch_ended(fault=LOST)
    assert d.fetching() == []


def test_a_running_model_serves_on_while_an_edit_has_other_files_fetched() -> None:
    d = Driver()
    d.run()
    d.folder(lacking(artifact="others"))
    assert d.fetching() == ["a"]
    assert d.state() == "running"
    assert d.stops() == []
