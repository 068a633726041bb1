import asyncio
import gc
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from janagent.children import wire
from janagent.children.exits import ExitKind
from janagent.children.logs import LogRing
from janagent.children.spawn import Child
from tests.children.conftest import is_running, logged, until, within

Start = Callable[..., Awaitable[Child]]

SPEC = wire.EngineSpec(socket_path="/nowhere", model_path="/nowhere", model_id="m", ctx_len=64, n_parallel=2)
HUGE_SPEC = SPEC.model_copy(update={"chat_template": "x" * 900_000})


def descriptors() -> int:
    """How many this process has open, less what earlier tests left to the garbage collector."""
    gc.collect()
    return psutil.Process().num_fds()


async def statuses(child: Child) -> list[wire.StatusLine]:
    return [line async for line in child.status()]


# -- a child that behaves ------------------------------------------------------------------------


async def test_a_worker_reports_takes_its_spec_and_ends_in_good_order_on_sigterm(start: Start) -> None:
    child = await start("worker")
    await child.send(wire.encode(SPEC))
    reported = []
    async for line in child.status():
        reported.append(line)
        if isinstance(line, wire.Ready):
            break
    assert reported == [wire.Spare(), wire.Loading(progress=0.5), wire.Ready(ctx_len=64, n_parallel=2)]
    exit_ = await within(child.stop(grace_s=10))
    assert exit_.kind is ExitKind.CLEAN
    assert [line.text for line in child.logs.lines()] == ["worker is up", "loading m"]


async def test_the_end_of_a_child_can_be_awaited_by_many_and_again(start: Start) -> None:
    child = await start("die", "exit", 65)
    ends = await within(asyncio.gather(*(child.wait() for _ in range(5))))
    assert {end.kind for end in ends} == {ExitKind.LOAD_FAILED}
    assert await child.wait() == ends[0] == child.exit


async def test_a_waiter_that_is_cancelled_takes_nothing_from_the_others(start: Start) -> None:
    child = await start("never_ready")
    impatient = asyncio.gather(child.wait())
    await asyncio.sleep(0)
    impatient.cancel()
    patient = asyncio.gather(child.wait())
    child.kill()
    assert (await within(patient))[0].kind is ExitKind.TERMINATED


async def test_stop_twice_at_once_and_after_the_end_gives_the_same_exit(start: Start) -> None:
    child = await start("never_ready")
    first, second = await within(asyncio.gather(child.stop(grace_s=5), child.stop(grace_s=5)))
    assert first == second == await child.stop(grace_s=5)
    child.kill()


async def test_a_program_that_does_not_exist_raises_and_leaks_no_descriptor() -> None:
    before = descriptors()
    with pytest.raises(FileNotFoundError):
        await Child.spawn(["/no/such/program"], logs=LogRing(), name="nothing")
    assert descriptors() == before


async def test_an_ended_child_leaves_no_descriptor_and_no_zombie(start: Start) -> None:
    before = descriptors()
    child = await start("die", "exit", 0)
    await within(child.wait())
    assert descriptors() == before
    assert not psutil.pid_exists(child.pid)


async def test_memory_is_that_of_the_process_and_nothing_once_it_ended(start: Start) -> None:
    child = await start("worker")
    await logged(child, "worker is up")
    assert 1_000_000 < child.held_bytes() <= child.memory_bytes() < 100_000_000
    child.kill()
    await within(child.wait())
    assert child.memory_bytes() == child.held_bytes() == 0


# -- children that end badly ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "number", "kind"),
    [
        ("exit", 0, ExitKind.CLEAN),
        ("exit", 64, ExitKind.BAD_SPEC),
        ("exit", 1, ExitKind.CRASHED),
        ("signal", signal.SIGKILL, ExitKind.OUT_OF_MEMORY),
        ("signal", signal.SIGABRT, ExitKind.CRASHED),
        ("signal", signal.SIGTERM, ExitKind.TERMINATED),
    ],
)
async def test_a_child_that_dies_at_once_is_told_with_its_last_word(
    start: Start, how: str, number: int, kind: ExitKind
) -> None:
    child = await start("die", how, int(number))
    exit_ = await within(child.wait())
    assert (exit_.kind, exit_.returncode) == (kind, number if how == "exit" else -number)
    assert child.logs.lines()[0].text.startswith("last word")
    assert await within(statuses(child)) == []


async def test_a_child_that_ignores_sigterm_is_killed_after_the_grace(start: Start) -> None:
    child = await start("ignore_sigterm")
    await logged(child, "deaf now")
    begun = time.monotonic()
    exit_ = await within(child.stop(grace_s=0.2))
    assert time.monotonic() - begun >= 0.2
    assert exit_.kind is ExitKind.TERMINATED
    assert exit_.returncode == -signal.SIGKILL
    assert "did not stop within 0.2 s" in child.logs.text()


async def test_a_stop_without_grace_overtakes_a_patient_one(start: Start) -> None:
    child = await start("ignore_sigterm")
    await logged(child, "deaf now")
    patient = asyncio.gather(child.stop(grace_s=1000))
    await asyncio.sleep(0)
    assert await within(child.stop(grace_s=0)) == (await within(patient))[0]


async def test_a_child_stopped_by_job_control_is_killed_all_the_same(start: Start) -> None:
    child = await start("worker")
    await logged(child, "worker is up")
    os.kill(child.pid, signal.SIGSTOP)
    exit_ = await within(child.stop(grace_s=0.1))
    assert exit_.returncode == -signal.SIGKILL


async def test_a_grandchild_that_holds_the_pipes_does_not_hide_the_exit_and_is_ended(start: Start) -> None:
    child = await start("leave_grandchild")
    exit_ = await within(child.wait())
    assert exit_.returncode == 7
    grandchild = int((await logged(child, "grandchild")).split()[1])
    await until(lambda: not is_running(grandchild), what="the grandchild is gone")
    assert await within(statuses(child)) == []


async def test_stop_reaches_a_grandchild_that_ignores_sigterm(start: Start) -> None:
    child = await start("leave_grandchild", "stay")
    grandchild = int((await logged(child, "grandchild")).split()[1])
    exit_ = await within(child.stop(grace_s=10))
    assert exit_.returncode == -signal.SIGTERM
    await until(lambda: not is_running(grandchild), what="the grandchild is gone")


# -- pipes ---------------------------------------------------------------------------------------


async def test_a_child_that_exits_during_its_spec_is_no_error_for_the_sender(start: Start) -> None:
    child = await start("exit_during_spec")
    await within(child.send(wire.encode(HUGE_SPEC)))
    assert (await within(child.wait())).kind is ExitKind.BAD_SPEC
    await within(child.send(b"more"))


async def test_a_sender_stuck_on_a_full_pipe_returns_when_the_child_ends(start: Start) -> None:
    child = await start("never_reads")
    await logged(child, "not listening")
    stuck = asyncio.gather(child.send(wire.encode(HUGE_SPEC)))
    await asyncio.sleep(0.05)
    assert not stuck.done()
    os.kill(child.pid, signal.SIGUSR1)
    await within(stuck)
    assert (await within(child.wait())).returncode == 3


async def test_a_spec_larger_than_the_pipe_arrives_whole(start: Start) -> None:
    child = await start("worker")
    await within(child.send(wire.encode(HUGE_SPEC)))
    await logged(child, "loading m")


async def test_rubbish_on_the_status_pipe_is_skipped_and_shown_in_the_log(start: Start) -> None:
    child = await start("rubbish_status")
    assert await within(statuses(child)) == [wire.Loading(progress=0.25), wire.Loading(progress=0.75)]
    assert (await within(child.wait())).kind is ExitKind.CLEAN
    text = child.logs.text()
    assert "coffee" in text
    assert "longer than 65536 bytes" in text
    assert text.count("skipped a line") == 20
    assert len(text) < 20_000


async def test_status_lines_that_nobody_takes_stay_in_the_pipe_and_none_is_lost(start: Start) -> None:
    child = await start("many_statuses")
    await asyncio.sleep(0.3)
    assert child.is_alive, "the child should be held back by its full pipe"
    taken = await within(statuses(child))
    assert [line.steps for line in taken if isinstance(line, wire.Stats)] == list(range(5000))


@pytest.mark.parametrize("how", ["lines", "endless"])
async def test_a_flood_of_output_costs_the_loop_little_and_stays_within_bounds(
    start: Start, how: str
) -> None:
    child = await start("flood", how)
    await until(lambda: len(child.logs) > 0, what="something was logged")
    before, begun = time.thread_time(), time.monotonic()
    await asyncio.sleep(0.5)
    assert (time.thread_time() - before) / (time.monotonic() - begun) < 0.5
    assert len(child.logs) <= 2000
    assert len(child.logs.text()) < 1_000_000
    assert (await within(child.stop(grace_s=10))).returncode == -signal.SIGTERM


# -- what a child gets ---------------------------------------------------------------------------


async def facts_of(start: Start, folder: Path, **options: object) -> dict[str, Any]:
    child = await start("environment", folder / "facts.json", **options)
    await within(child.wait())
    facts: dict[str, Any] = json.loads((folder / "facts.json").read_text())
    return facts


async def test_a_child_has_a_session_and_group_of_its_own_and_holds_no_folder(
    start: Start, tmp_path: Path
) -> None:
    facts = await facts_of(start, tmp_path)
    assert facts["group"] == facts["session"] == facts["pid"] != os.getpid()
    assert facts["cwd"] == "/"


async def test_a_child_gets_no_secret_and_no_tie_to_systemd_unless_given(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("JANAGENT_API_KEY", "HF_TOKEN", "OPENAI_API_KEY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "PLAIN"):
        monkeypatch.setenv(name, "given to the daemon")
    environment = (await facts_of(start, tmp_path, env={"HF_TOKEN": "given to the child"}))["environment"]
    assert environment["PLAIN"] == "given to the daemon"
    assert environment["HF_TOKEN"] == "given to the child"
    assert not {"JANAGENT_API_KEY", "OPENAI_API_KEY", "NOTIFY_SOCKET", "WATCHDOG_USEC"} & set(environment)


async def test_a_child_inherits_its_own_pipes_and_nothing_of_the_daemon_or_its_siblings(
    start: Start, tmp_path: Path
) -> None:
    await logged(await start("never_ready"), "thinking")
    descriptors = (await facts_of(start, tmp_path))["descriptors"]
    assert len(descriptors) == 4, "stdin, stdout, stderr and the status pipe"
    assert len({tuple(held) for held in descriptors.values()}) == 3, "stdout and stderr are one pipe"


async def test_a_reader_that_never_takes_a_line_does_not_keep_the_exit_from_being_told(start: Start) -> None:
    child = await start("many_statuses")
    child.kill()
    assert (await within(child.wait())).kind is ExitKind.TERMINATED


async def test_the_loop_is_not_blocked_by_a_burst_of_starts(start: Start) -> None:
    children = await within(asyncio.gather(*(start("die", "exit", 0) for _ in range(10))))
    ends = await within(asyncio.gather(*(child.wait() for child in children)))
    assert all(end.kind is ExitKind.CLEAN for end in ends)


async def test_exits_are_told_and_groups_ended_where_the_system_has_no_waitid(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "waitid")  # as Python on macOS
    child = await start("leave_grandchild")
    assert (await within(child.wait())).returncode == 7
    grandchild = int((await logged(child, "grandchild")).split()[1])
    await until(lambda: not is_running(grandchild), what="the grandchild is gone")
    deaf = await start("ignore_sigterm")
    await logged(deaf, "deaf now")
    assert (await within(deaf.stop(grace_s=0.1))).kind is ExitKind.TERMINATED
    assert not deaf.is_alive
