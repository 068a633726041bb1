"""The machine as a conversation: what happens, and what it does about it."""

import time
from dataclasses import replace

import pytest

from janagent.core import events as ev
from janagent.core.actions import GrantLease, StartEngine, StopEngine, StopFetch
from janagent.core.faults import Refusal
from janagent.core.limits import Limits
from janagent.core.memory import Budget
from janagent.folder.entry import Condition
from janagent.folder.fault import Fault
from janagent.folder.gguf import Header
from tests.core.driver import GB, Driver, entry, lacking


def test_a_model_found_at_start_waits_for_its_first_request() -> None:
    d = Driver()
    assert d.folder(entry(), initial=True) == []
    assert d.state() == "downloaded"
    lease = d.ask()
    assert d.state() == "starting"
    d.ready()
    assert d.answer(lease) == d.started()[0]
    assert d.state() == "running"


def test_a_dropped_model_is_loaded_at_once() -> None:
    d = Driver()
    (action,) = d.folder(entry())
    assert isinstance(action, StartEngine)
    assert d.state() == "starting"


def test_a_dropped_model_waits_for_a_request_when_hot_load_is_never() -> None:
    d = Driver(hot_load="never")
    assert d.folder(entry()) == []


def test_hot_load_of_the_manifest_works_at_start_too() -> None:
    d = Driver()
    (action,) = d.folder(entry(metadata={"hot_load": True}), initial=True)
    assert isinstance(action, StartEngine)


def test_an_unclaimed_file_is_hot_loaded_only_after_its_quiet_time() -> None:
    d = Driver()
    assert d.folder(entry(hot_load_after_s=d.now + 2)) == []
    assert d.pass_time(1.9) == []
    assert [type(a) for a in d.pass_time(0.2)] == [StartEngine]


def test_hot_loads_come_one_at_a_time_and_within_half_the_budget() -> None:
    d = Driver(ram=10 * GB)
    d.folder(entry("a", size=2 * GB), entry("b", size=2 * GB), entry("c", size=2 * GB))
    assert len(d.started()) == 1
    d.ready()
    assert len(d.started()) == 2
    d.ready()
    assert len(d.started()) == 2, "the third would leave less than half"
    assert d.state("c") == "downloaded"


def test_thousands_dropped_at_once_do_not_make_every_event_expensive() -> None:
    d = Driver(ram=100 * GB)
    d.folder(*(entry(f"m{n:04}") for n in range(3000)))
    started = time.thread_time()
    for _ in range(10):
        d.machine.handle(ev.Tick(), d.now)
    assert time.thread_time() - started < 0.5
    for n in range(3):
        assert len(d.started()) == n + 1
        d.ready()


def test_a_burst_of_requests_for_a_cold_model_is_one_load() -> None:
    d = Driver()
    d.folder(entry(), initial=True)
    leases = [d.ask() for _ in range(50)]
    assert len(d.started()) == 1
    d.ready()
    assert {d.answer(lease) for lease in leases} == set(d.started())


def test_start_waits_until_the_model_runs() -> None:
    d = Driver()
    d.folder(entry(), initial=True)
    waiter = d.start()
    assert d.answer(waiter) is None
    d.ready()
    assert d.answer(waiter) == 0


def test_start_of_a_running_model_answers_at_once() -> None:
    d = Driver()
    d.run()
    assert d.answer(d.start()) == 0


def test_start_of_an_invalid_or_missing_model_says_why() -> None:
    d = Driver()
    d.folder(entry("a", condition=Condition.INVALID), entry("b", condition=Condition.MISSING))
    assert d.code(d.start("a")) == "model_invalid"
    assert d.code(d.start("b")) == "model_missing"
    assert d.code(d.ask("a")) == "model_invalid"
    assert d.code(d.ask("b")) == "model_missing"


def test_start_parameters_hold_over_idle_unload_until_stop() -> None:
    d = Driver(idle_unload_s=10)
    d.folder(entry(), initial=True)
    d.start(ctx_len=1024)
    d.ready()
    assert d.status().ctx_len == 1024
    d.pass_time(11)
    d.stopped()
    d.ask()
    assert d.engines[d.started()[0]].plan.ctx_len == 1024
    d.ready()
    d.stop()
    d.pass_time(31)
    d.stopped()
    d.ask()
    assert d.engines[d.started()[0]].plan.ctx_len != 1024


def test_start_with_other_parameters_switches_a_running_model() -> None:
    d = Driver()
    first = d.run()
    waiter = d.start(ctx_len=512)
    assert d.answer(waiter) is None
    second = d.started()[-1]
    assert second != first
    d.ready(second)
    assert d.answer(waiter) == 0
    assert d.stops() == [first]


def test_an_edit_forgets_start_parameters() -> None:
    d = Driver()
    d.folder(entry(), initial=True)
    d.start(ctx_len=512)
    d.ready()
    d.folder(entry(owned_by="me"))
    d.ready()
    assert d.status().ctx_len != 512


def test_an_edit_of_a_description_restarts_nothing() -> None:
    d = Driver()
    d.run()
    assert d.folder(entry(owned_by="somebody else")) == []
    assert d.status().entry.manifest.owned_by == "somebody else"


def test_an_edit_starts_the_successor_beside_and_fails_no_request() -> None:
    d = Driver()
    old = d.run()
    running = d.ask()
    d.folder(entry(init={"ctx_len": 512}))
    new = d.started()[-1]
    assert new != old
    during = d.ask()
    assert d.answer(during) == old
    d.ready(new)
    after = d.ask()
    assert d.answer(after) == new
    assert d.stops() == []
    d.end(running)
    assert d.stops() == []
    d.end(during)
    assert d.stops() == [old]
    d.pass_time(100_000)
    assert d.stops()[0] == old


def test_the_old_engine_drains_first_when_both_do_not_fit() -> None:
    d = Driver(ram=3 * GB)
    old = d.run(size=2 * GB)
    running = d.ask()
    d.folder(entry(size=2 * GB, init={"ctx_len": 512}))
    assert d.started() == [old]
    waiting = d.ask()
    assert d.answer(waiting) is None
    d.end(running)
    assert d.stops() == [old]
    d.stopped(old)
    d.ready()
    assert d.answer(waiting) == d.started()[0]


def test_saves_during_a_switch_coalesce_to_the_newest() -> None:
    d = Driver()
    old = d.run()
    d.folder(entry(version=2))
    second = d.started()[-1]
    d.folder(entry(version=3))
    assert d.stops() == [second]
    d.folder(entry(version=4))
    d.folder(entry(version=5))
    d.stopped(second)
    d.ready()
    assert d.status().entry.runtime_key.startswith("a-5")
    assert [d.engines[e].entry.runtime_key[:3] for e in d.started()] == ["a-1", "a-5"]
    assert d.stops() == [second, old]


def test_an_edit_taken_back_keeps_the_engine_that_runs() -> None:
    d = Driver()
    old = d.run()
    d.folder(entry(version=2))
    second = d.started()[-1]
    d.folder(entry())
    assert d.stops() == [second]
    d.stopped(second)
    assert d.started() == [old]
    assert d.state() == "running"


def test_a_successor_that_cannot_load_leaves_the_last_good_one_and_shows_the_error() -> None:
    d = Driver()
    old = d.run()
    d.folder(entry(version=2))
    d.exited(kind=ev.ExitKind.LOAD_FAILED, words="bad tensor")
    assert d.state() == "running"
    assert d.status().error is not None
    assert d.status().error.message == "bad tensor"
    assert d.answer(d.ask()) == old
    assert d.started() == [old]
    d.folder(entry(version=3))
    d.ready()
    assert d.status().error is None


def test_a_broken_edit_keeps_the_model_running_and_shows_the_error() -> None:
    d = Driver()
    old = d.run()
    d.folder(entry(condition=Condition.INVALID))
    assert d.state() == "running"
    assert d.status().error is not None
    assert d.answer(d.ask()) == old


def test_an_edit_that_asks_for_an_absent_file_keeps_the_model_running() -> None:
    d = Driver()
    old = d.run()
    d.folder(entry(condition=Condition.MISSING, artifact_key="other"))
    assert d.state() == "running"
    assert d.answer(d.ask()) == old


def test_a_model_whose_file_went_away_drains_and_stops() -> None:
    d = Driver()
    old = d.run()
    lease = d.ask()
    d.folder(entry(condition=Condition.MISSING))
    assert d.state() == "stopping"
    assert d.code(d.ask()) == "model_missing"
    d.end(lease)
    assert d.stops() == [old]
    d.stopped()
    assert d.state() == "missing"


def test_a_removed_model_drains_stops_and_leaves_the_list() -> None:
    d = Driver()
    old = d.run()
    lease = d.ask()
    d.gone("a")
    assert d.machine.statuses() == []
    assert d.code(d.ask()) == "model_not_found"
    d.end(lease)
    assert d.stops() == [old]
    d.stopped()
    assert not d.machine.has_engines


def test_a_model_that_comes_back_while_its_old_engine_drains_gets_a_new_one() -> None:
    d = Driver()
    old = d.run()
    lease = d.ask()
    d.gone("a")
    d.folder(entry(version=2))
    new = d.started()[-1]
    assert new != old
    d.ready(new)
    assert d.answer(d.ask()) == new
    d.end(lease)
    assert d.stops() == [old]


def test_stop_lets_running_requests_finish_and_loads_again_on_the_next() -> None:
    d = Driver()
    old = d.run()
    lease = d.ask()
    waiter = d.stop()
    assert d.state() == "stopping"
    d.end(lease)
    assert d.stops() == [old]
    d.stopped()
    assert d.answer(waiter) == 0
    assert d.state() == "downloaded"
    d.ask()
    assert d.state() == "starting"


def test_stop_cuts_requests_that_outlast_the_drain_limit() -> None:
    d = Driver(drain_s=30)
    old = d.run()
    d.ask()
    d.stop()
    d.pass_time(29)
    assert d.stops() == []
    d.pass_time(2)
    assert d.stops() == [old]


def test_stop_ends_a_load_and_answers_those_who_waited_for_it() -> None:
    d = Driver()
    d.folder(entry(), initial=True)
    starter, lease = d.start(), d.ask()
    stopper = d.stop()
    assert d.code(starter) == "model_stopped"
    assert d.code(lease) == "model_stopped"
    d.stopped()
    assert d.answer(stopper) == 0


def test_a_request_during_an_unload_waits_for_a_new_engine() -> None:
    d = Driver(idle_unload_s=10)
    old = d.run()
    d.pass_time(10.1)
    assert d.stops() == [old]
    lease = d.ask()
    d.stopped(old)
    d.ready()
    assert d.answer(lease) == d.started()[0] != old


def test_a_request_during_a_stop_is_served_once_the_stop_is_done() -> None:
    d = Driver()
    old = d.run()
    waiter = d.stop()
    lease = d.ask()
    d.stopped(old)
    assert d.answer(waiter) == 0
    d.ready()
    assert d.answer(lease) == d.started()[0] != old


def test_a_late_ready_of_an_engine_that_was_stopped_is_ignored() -> None:
    d = Driver()
    d.folder(entry(), initial=True)
    d.start()
    engine = d.started()[0]
    d.stop()
    assert d.ready(engine) == []
    assert d.state() == "stopping"


def test_an_idle_model_is_unloaded_and_a_busy_one_never() -> None:
    d = Driver(idle_unload_s=10)
    old = d.run()
    lease = d.ask()
    d.tell(ev.StepsSeen(old, 1, 5))
    d.pass_time(60)
    assert d.stops() == []
    d.end(lease)
    d.pass_time(9.9)
    assert d.stops() == []
    d.pass_time(0.2)
    assert d.stops() == [old]


def test_a_pinned_model_is_neither_unloaded_nor_evicted() -> None:
    d = Driver(ram=3 * GB, idle_unload_s=10, load_wait_s=20)
    d.run("a", size=2 * GB, metadata={"pin": True})
    d.pass_time(1000)
    assert d.stops() == []
    d.folder(entry("b", size=2 * GB), initial=True)
    lease = d.ask("b")
    d.pass_time(21)
    assert d.code(lease) == "memory_busy"
    assert d.stops() == []


def test_limits_that_change_hold_for_what_runs_already() -> None:
    d = Driver(idle_unload_s=1000)
    engine = d.run()
    d.tell(ev.LimitsChanged(Limits(idle_unload_s=10)))
    d.pass_time(9.9)
    assert d.stops() == []
    d.pass_time(0.2)
    assert d.stops() == [engine]


def test_going_offline_ends_downloads_and_going_online_resumes_them() -> None:
    d = Driver()
    d.folder(lacking())
    assert d.fetching() == ["a"]
    d.tell(ev.LimitsChanged(Limits(may_fetch=False)))
    assert isinstance(d.log[-1], StopFetch)
    d.fetch_ended(fault=Fault("stopped", "stopped"))
    assert d.fetching() == []
    d.tell(ev.LimitsChanged(Limits()))
    assert d.fetching() == ["a"]


def test_idle_unload_of_the_manifest_wins_and_zero_means_never() -> None:
    d = Driver(idle_unload_s=10)
    d.run("a", metadata={"idle_unload_s": 0})
    d.run("b", metadata={"idle_unload_s": 100})
    d.pass_time(99)
    assert d.stops() == []
    d.pass_time(5)
    assert len(d.stops()) == 1
    assert d.state("a") == "running"


def test_what_does_not_fit_evicts_the_least_recently_used_idle_model() -> None:
    d = Driver(ram=6 * GB)
    a = d.run("a", size=2 * GB)
    d.pass_time(1)
    b = d.run("b", size=2 * GB)
    d.pass_time(1)
    d.end(d.ask("a"))
    d.folder(entry("c", size=3 * GB), initial=True)
    lease = d.ask("c")
    assert d.stops() == [b]
    d.stopped(b)
    d.ready()
    assert d.answer(lease) not in (a, b, None)


def test_a_busy_model_is_never_evicted_and_the_request_waits_until_it_is_idle() -> None:
    d = Driver(ram=3 * GB)
    a = d.run("a", size=2 * GB)
    busy = d.ask("a")
    d.folder(entry("b", size=2 * GB), initial=True)
    lease = d.ask("b")
    assert d.stops() == []
    d.end(busy)
    assert d.stops() == [a]
    d.stopped(a)
    d.ready()
    assert isinstance(d.answer(lease), int)


def test_a_model_that_can_never_fit_is_refused_at_once_with_figures() -> None:
    d = Driver(ram=2 * GB)
    d.folder(entry(size=5 * GB), initial=True)
    lease = d.ask()
    assert d.code(lease) == "insufficient_memory"
    answer = d.answer(lease)
    assert isinstance(answer, Refusal)
    assert "5.09 GB" in answer.message
    d.tell(ev.MemorySeen(type(d.machine.budget)(8 * GB)))
    d.ask()
    assert d.state() == "starting"


def test_a_load_that_fails_for_good_is_told_and_not_tried_again() -> None:
    d = Driver()
    d.folder(entry(), initial=True)
    lease = d.ask()
    d.exited(kind=ev.ExitKind.LOAD_FAILED, words="unknown architecture")
    assert d.code(lease) == "engine_failed"
    assert d.state() == "failed"
    assert d.code(d.ask()) == "engine_failed"
    assert d.started() == []
    d.start()
    assert d.state() == "starting"


def test_a_crash_is_restarted_at_once_the_first_time_then_with_back_off() -> None:
    d = Driver()
    d.run()
    d.exited()
    assert d.state() == "failed"
    d.ask()
    assert d.state() == "starting"
    d.ready()
    d.exited()
    refused = d.ask()
    assert d.code(refused) == "engine_backoff"
    answer = d.answer(refused)
    assert isinstance(answer, Refusal)
    assert answer.retry_after_s == pytest.approx(1.0)
    d.pass_time(1.1)
    d.ask()
    assert d.state() == "starting"
    d.exited()
    d.pass_time(1.1)
    assert d.code(d.ask()) == "engine_backoff"
    d.pass_time(1.0)
    d.ask()
    assert d.state() == "starting"


def test_an_engine_that_served_long_before_it_died_starts_the_count_anew() -> None:
    d = Driver(idle_unload_s=0)
    d.run()
    for _ in range(5):
        d.pass_time(301)
        d.exited()
        d.ask()
        d.ready()
    assert d.state() == "running"


def test_an_engine_with_requests_and_no_step_is_killed() -> None:
    d = Driver(stall_s=120)
    engine = d.run()
    d.pass_time(500)
    lease = d.ask()
    d.tell(ev.StepsSeen(engine, 1, 7))
    d.pass_time(119)
    d.tell(ev.StepsSeen(engine, 1, 7))
    assert d.stops() == []
    (action,) = d.pass_time(2)
    assert action == StopEngine(engine, action.ticket, 0.0)
    d.stopped(engine)
    d.end(lease)
    assert d.status().error is not None
    assert "no decode step for 120 s" in d.status().error.message


def test_an_engine_whose_requests_wait_for_their_readers_is_not_stalled() -> None:
    d = Driver(stall_s=120)
    engine = d.run()
    d.ask()
    for _ in range(10):
        d.pass_time(60)
        d.tell(ev.StepsSeen(engine, 0, 7))
    assert d.stops() == []


def test_a_load_that_never_ends_is_ended_by_its_deadline() -> None:
    d = Driver()
    d.folder(entry(size=GB), initial=True)
    lease = d.ask()
    d.pass_time(159)
    assert d.stops() == []
    d.pass_time(2)
    assert len(d.stops()) == 1
    d.stopped()
    d.ready()  # tried once more
    assert isinstance(d.answer(lease), int)


def test_delete_drains_then_removes_the_files_then_answers() -> None:
    d = Driver()
    engine = d.run()
    lease = d.ask()
    waiter = d.delete()
    assert d.machine.statuses() == []
    assert d.code(d.ask()) == "model_not_found"
    assert d.removals() == []
    d.end(lease)
    d.stopped(engine)
    (removal,) = d.removals()
    assert d.answer(waiter) is None
    d.tell(ev.FilesRemoved("a.json", removal.ticket))
    assert d.answer(waiter) == 0
    d.gone("a")
    assert d.machine.statuses() == []


def test_a_delete_that_fails_brings_the_model_back() -> None:
    d = Driver()
    d.folder(entry(), initial=True)
    waiter = d.delete()
    (removal,) = d.removals()
    d.tell(ev.FilesRemoved("a.json", removal.ticket, "read-only file system"))
    assert d.code(waiter) == "delete_failed"
    assert d.state() == "downloaded"


def test_what_the_folder_says_during_a_removal_counts_more_than_its_outcome() -> None:
    d = Driver()
    d.folder(entry("a"), entry("b"), initial=True)
    d.delete("a")
    d.delete("b")
    first, second = d.removals()
    d.folder(entry("a", version=2))  # dropped anew while the old weights are still being deleted
    d.gone("b")
    d.tell(ev.FilesRemoved("a.json", first.ticket, None))
    d.tell(ev.FilesRemoved("b.json", second.ticket, "b.gguf: not permitted"))
    assert [status.id for status in d.machine.statuses()] == ["a"]


def test_an_offline_root_drains_everything_and_all_comes_back() -> None:
    d = Driver()
    engine = d.run()
    lease = d.ask()
    d.offline()
    assert d.state() == "stopping"
    d.end(lease)
    d.stopped(engine)
    assert d.state() == "missing"
    assert d.status().error is not None
    assert d.code(d.ask()) == "model_missing"
    d.offline(False)
    assert d.state() == "downloaded"
    d.ask()
    assert d.state() == "starting"


def test_shutdown_starts_nothing_and_lets_answers_finish_within_the_limit() -> None:
    d = Driver(drain_s=30)
    a = d.run("a")
    b = d.run("b")
    d.ask("a")
    d.tell(ev.ShutdownWanted())
    assert d.stops() == [b]
    assert d.code(d.ask("a")) == "shutting_down"
    d.folder(entry("c"))
    d.pass_time(31)
    assert d.stops() == [b, a]
    d.stopped(b)
    d.stopped(a)
    assert not d.machine.has_engines


def test_handle_is_not_re_entrant() -> None:
    d = Driver()
    d.machine._is_handling = True
    with pytest.raises(RuntimeError, match="re-entrant"):
        d.machine.handle(ev.Tick(), 1.0)


def test_a_ticket_from_before_is_dropped() -> None:
    d = Driver()
    d.folder(entry(), initial=True)
    d.ask()
    engine = d.started()[0]
    assert d.tell(ev.EngineReady(engine, 999_999, 512, 1)) == []
    assert d.state() == "starting"


def test_a_start_that_asks_for_too_much_is_refused_and_spoils_no_later_request() -> None:
    d = Driver(ram=3 * GB)
    header = Header(version=3, architecture="llama", required_bytes=1, block_count=32, head_count_kv=8)
    sized = replace(header, key_length=128, value_length=128, embedding_length=4096, context_length=8192)
    d.folder(replace(entry(size=GB), header=sized), initial=True)
    waiter = d.start(ctx_len=100_000, n_parallel=4)
    assert d.code(waiter) == "insufficient_memory"
    assert d.state() == "downloaded"
    lease = d.ask()
    d.ready()
    assert isinstance(d.answer(lease), int)


def test_a_budget_that_grows_too_little_changes_nothing() -> None:
    d = Driver(ram=2 * GB)
    d.folder(entry(size=5 * GB), initial=True)
    d.ask()
    d.tell(ev.MemorySeen(Budget(2 * GB + 1)))
    assert d.state() == "failed"


def test_nothing_is_deleted_while_the_root_is_offline() -> None:
    d = Driver()
    d.folder(entry(), initial=True)
    d.offline()
    assert d.code(d.delete()) == "delete_refused"
    d.offline(False)
    assert d.state() == "downloaded"


def test_a_bug_costs_one_model_and_is_reported() -> None:
    d = Driver()
    d.run("a")
    b = d.run("b")
    d.machine._is_strict = False
    d.machine._world.models["b.json"].engines[0].plan = None  # type: ignore[assignment]
    outcome = d.machine.handle(ev.LeaseAsked("a.json", 5), d.now)
    assert outcome.errors
    assert any(isinstance(action, GrantLease) for action in outcome.actions)
    assert [action.engine for action in outcome.actions if isinstance(action, StopEngine)] == [b]


def test_a_binary_goes_with_the_last_model_that_uses_it_however_quickly_they_are_deleted() -> None:
    d = Driver()
    one = replace(entry("a").binaries[0], shared=True)
    d.folder(*(replace(entry(name), binaries=(one,)) for name in "ab"), initial=True)
    d.delete("a")
    (first,) = d.removals()
    assert first.entry.binaries[0].shared
    d.tell(ev.FilesRemoved("a.json", first.ticket))
    d.delete("b")
    assert not d.removals()[1].entry.binaries[0].shared
