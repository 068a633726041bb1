"""What engines report: GPU memory that is not there; and remote ones, without a process, memory or steps."""

from janagent.core import events as ev
from janagent.core.memory import Budget
from janagent.folder.entry import Condition
from janagent.folder.fault import Fault
from tests.core.driver import GB, Driver, entry, remote
from tests.folder.test_estimate import LLAMA_8B

SHORT = ev.ExitKind.SHORT_OF_GPU
LAYERED = {"header": LLAMA_8B, "size": 5 * GB}


def on_gpu(gpu_gb: float) -> tuple[Driver, int]:
    """A machine where a request waits for a model with as many layers on the GPU as fit; its engine."""
    d = Driver(ram=64 * GB, gpu=int(gpu_gb * GB), hot_load="never")
    d.folder(entry(**LAYERED))
    d.ask()
    return d, d.started()[-1]


def test_an_engine_that_found_less_gpu_memory_is_started_anew_with_what_there_is() -> None:
    d, first = on_gpu(12)
    before = d.engines[first].plan
    assert before.ngl == 33
    d.tell(ev.MemorySeen(Budget(64 * GB, 3 * GB)))
    d.exited(first, SHORT)
    assert d.state() == "starting", "nobody was refused"
    (second,) = d.started()
    assert 0 < d.engines[second].plan.ngl < before.ngl
    assert d.engines[second].plan.gpu_bytes <= 3 * GB
    d.ready(second)
    assert d.state() == "running"


def test_one_that_should_have_fitted_gets_half_of_the_gpu_until_it_is_another() -> None:
    d, first = on_gpu(12)
    d.exited(first, SHORT)
    (second,) = d.started()
    assert d.engines[second].plan.gpu_bytes <= 6 * GB
    d.folder(entry(**LAYERED, version=2))
    d.stopped(second)
    assert d.engines[d.started()[-1]].plan.ngl == 33


def test_gpu_memory_that_stays_away_is_an_error_that_passes() -> None:
    d, first = on_gpu(12)
    lease = d.ask()
    d.exited(first, SHORT, "nothing is free")
    d.exited(kind=SHORT, words="nothing is free")
    assert d.code(lease) == "engine_failed"
    assert d.state() == "failed"
    d.pass_time(10)
    d.ask()
    d.ready()
    assert d.state() == "running"


def test_what_loaded_engines_were_promised_of_gpus_is_known_while_none_is_being_loaded() -> None:
    d, first = on_gpu(40)
    promised = d.engines[first].plan.gpu_bytes
    assert d.machine.loaded_gpu_bytes(teller=first) == 0, "it has not taken any of it"
    d.ready(first)
    assert d.machine.loaded_gpu_bytes(teller=first) == promised
    d.folder(entry("b", header=LLAMA_8B, size=GB))
    d.ask("b")
    second = d.started()[-1]
    assert d.machine.loaded_gpu_bytes(teller=second) == promised
    assert d.machine.loaded_gpu_bytes(teller=first) is None, "nobody knows how much of its share b has"


MISSING_KEY = {"kind": ev.ExitKind.LOAD_FAILED, "code": "key_missing"}


def without_key(d: Driver) -> None:
    engine = d.started()[-1]
    del d.engines[engine]
    d.tell(ev.EngineExited(engine, message="TEST_KEY is not set", **MISSING_KEY))  # type: ignore[arg-type]


def test_it_runs_as_soon_as_it_is_there_whatever_hot_load_says_and_takes_no_memory() -> None:
    d = Driver(ram=0, hot_load="never")
    d.folder(remote(), initial=True)
    assert d.state() == "starting"
    d.ready()
    assert d.state() == "running"
    assert d.machine.committed().ram_bytes == 0
    d.pass_time(100_000)
    assert d.state() == "running", "idleness costs nothing, so it ends nothing"


def test_a_full_memory_neither_keeps_it_out_nor_evicts_it() -> None:
    d = Driver(ram=2 * GB)
    d.folder(remote("far"), initial=True)
    d.ready()
    (far,) = d.started()
    d.run("near", size=GB)
    d.folder(entry("other", size=GB))
    d.ask("other")
    assert far not in d.stops()
    d.folder(remote("second"))
    d.ready()
    assert d.state("second") == "running"


def test_a_key_that_is_not_there_is_a_failure_in_its_own_words_and_is_looked_for_again() -> None:
    d = Driver()
    d.folder(remote())
    without_key(d)
    without_key(d)  # the first time at once
    assert d.state() == "failed"
    error = d.status().error
    assert error == Fault("key_missing", "TEST_KEY is not set")
    d.pass_time(5)
    assert d.started(), "nobody has to ask for it"
    for _ in range(12):
        without_key(d)
        d.pass_time(31)
        assert d.started(), "at least twice a minute"
    d.ready()
    assert d.state() == "running"


def test_a_request_looks_for_the_key_at_once_and_hears_why_it_is_not_there() -> None:
    d = Driver()
    d.folder(remote())
    without_key(d)
    without_key(d)
    lease = d.ask()
    assert d.started(), "a request does not wait for the back-off"
    without_key(d)
    assert d.code(lease) == "key_missing"
    lease = d.ask()
    d.ready()
    assert d.answer(lease) == d.started()[-1]


def test_a_start_that_waits_hears_why_there_is_no_key() -> None:
    d = Driver()
    d.folder(remote())
    without_key(d)
    waiter = d.start()
    without_key(d)
    assert d.code(waiter) == "key_missing"


def test_silence_is_not_a_stall() -> None:
    d = Driver(stall_s=120)
    d.folder(remote())
    d.ready()
    d.ask()
    d.pass_time(10_000)
    assert not d.stops()


def test_a_stop_lets_answers_finish_and_turns_new_ones_away_until_a_start() -> None:
    d = Driver(drain_s=30)
    d.folder(remote())
    d.ready()
    lease = d.ask()
    waiter = d.stop()
    assert d.state() == "stopping"
    assert d.code(d.ask()) == "model_stopped"
    d.end(lease)
    d.stopped()
    assert d.answer(waiter) == 0
    assert d.state() == "stopped"
    d.pass_time(1000)
    d.folder(remote(version=2))
    assert d.state() == "stopped", "an edit is no start"
    waiter = d.start()
    d.ready()
    assert (d.answer(waiter), d.state()) == (0, "running")


def test_a_stop_cuts_what_does_not_finish_in_time() -> None:
    d = Driver(drain_s=30)
    d.folder(remote())
    d.ready()
    d.ask()
    d.stop()
    assert not d.stops()
    d.pass_time(31)
    assert d.stops() == d.started()


def test_an_edit_of_its_address_leaves_running_answers_where_they_are() -> None:
    d = Driver()
    d.folder(remote())
    d.ready()
    (old,) = d.started()
    lease = d.ask()
    d.folder(remote(version=2))
    d.ready()
    new = d.started()[-1]
    assert d.answer(d.ask()) == new != old
    assert old not in d.stops()
    d.end(lease)
    assert old in d.stops()


def test_a_broken_edit_keeps_the_last_good_one_serving() -> None:
    d = Driver()
    d.folder(remote())
    d.ready()
    d.folder(remote(version=2, condition=Condition.INVALID, fault=Fault("invalid", "line 3")))
    assert d.state() == "running"
    assert d.status().error == Fault("invalid", "line 3")
    assert d.answer(d.ask()) == d.started()[-1]


def test_an_invalid_one_says_so() -> None:
    d = Driver()
    d.folder(remote(condition=Condition.INVALID, fault=Fault("invalid", "line 3")))
    assert d.state() == "invalid"
    assert d.code(d.ask()) == "model_invalid"


def test_a_local_model_that_becomes_remote_hands_over() -> None:
    d = Driver()
    local = d.run("a")
    lease = d.ask()
    d.folder(remote(version=2))
    assert d.answer(lease) == local
    d.ready()
    far = d.started()[-1]
    assert d.answer(d.ask()) == far
    d.end(lease)
    assert d.stops() == [local]


def test_a_stopped_remote_model_that_becomes_local_loads_on_request() -> None:
    d = Driver()
    d.folder(remote())
    d.ready()
    d.stop()
    d.stopped()
    d.folder(entry(version=2))
    lease = d.ask()
    d.ready()
    assert d.answer(lease) == d.started()[-1]


def test_health_is_told_when_it_changes_and_not_for_every_answer() -> None:
    d = Driver()
    d.folder(remote())
    d.ready()
    (engine,) = d.started()
    fault = Fault("upstream_limit", "429")

    def is_told(latency_ms: float | None, fault: Fault | None = None) -> bool:
        return bool(d.machine.handle(ev.RemoteSeen(engine, latency_ms, fault), d.now).touched - {""}) and (
            d.status() != before
        )

    before = d.status()
    assert is_told(100.0)
    assert d.status().latency_ms == 100
    before = d.status()
    assert not is_told(110.0)
    assert is_told(None, fault)
    assert (d.status().last_error, d.state()) == (fault, "running")
    before = d.status()
    assert is_told(105.0)
    assert d.status().last_error is None
    for _ in range(20):
        d.tell(ev.RemoteSeen(engine, 900.0))
    assert 700 < (d.status().latency_ms or 0) <= 900


def test_it_goes_with_its_file_and_after_its_answers() -> None:
    d = Driver()
    d.folder(remote())
    d.ready()
    lease = d.ask()
    d.gone("a")
    assert not d.stops()
    d.end(lease)
    assert d.stops() == d.started()


def test_shutdown_waits_for_its_answers() -> None:
    d = Driver(drain_s=30)
    d.folder(remote())
    d.ready()
    d.ask()
    d.tell(ev.ShutdownWanted())
    assert d.machine.has_engines
    assert not d.stops()
    d.pass_time(31)
    assert d.stops() == d.started()
