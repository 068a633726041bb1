import asyncio
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from janagent.children import wire
from janagent.children.exits import ExitKind
from janagent.children.logs import LogRing
from janagent.children.pool import EnginePool
from janagent.children.spawn import Child
from tests.children.conftest import is_running, logged, program, until, within
from tests.children.test_spawn import SPEC

WORKER = program("worker")


async def ready(child: Child) -> wire.Ready:
    async def find() -> wire.Ready:
        async for line in child.status():
            if isinstance(line, wire.Ready):
                return line
        raise AssertionError(f"never ready: {child.logs.text()}")

    return await within(find())


async def test_an_engine_is_the_warm_spare_with_its_early_log_lines() -> None:
    logs = LogRing()
    async with EnginePool(argv=WORKER) as pool:
        await within(pool.wait_until_warm())
        spare = pool.spare_pid
        child = await pool.start(SPEC, logs=logs)
        assert child.pid == spare
        assert pool.spare_pid is None
        assert (await ready(child)).ctx_len == SPEC.ctx_len
        assert [line.text for line in logs.lines()] == ["worker is up", "loading m"]
        assert child.name == "engine m"
        await within(child.stop(grace_s=10))


async def test_a_spare_that_is_not_warm_yet_is_taken_too_and_loses_no_status_line() -> None:
    async with EnginePool(argv=WORKER) as pool:
        await until(lambda: pool.spare_pid is not None, what="a spare was started")
        spare = pool.spare_pid
        child = await pool.start(SPEC, logs=LogRing())
        assert child.pid == spare
        lines = []
        async for line in child.status():
            lines.append(line.event)
            if isinstance(line, wire.Ready):
                break
        assert lines == ["spare", "loading", "ready"]
        await within(child.stop(grace_s=10))


async def test_a_taken_spare_is_replaced_after_the_delay_and_not_before() -> None:
    async with EnginePool(argv=WORKER, refill_delay_s=0.3) as pool:
        await within(pool.wait_until_warm())
        child = await pool.start(SPEC, logs=LogRing())
        taken = time.monotonic()
        await until(lambda: pool.spare_pid is not None, what="the next spare")
        assert time.monotonic() - taken >= 0.3
        assert pool.spare_pid != child.pid
        await within(child.stop(grace_s=10))


async def test_many_engines_started_at_once_are_different_processes() -> None:
    async with EnginePool(argv=WORKER, refill_delay_s=0) as pool:
        await within(pool.wait_until_warm())
        children = await asyncio.gather(*(pool.start(SPEC, logs=LogRing()) for _ in range(3)))
        assert len({child.pid for child in children}) == 3
        for child in children:
            await ready(child)
        await within(asyncio.gather(*(child.stop(grace_s=10) for child in children)))


async def test_without_a_spare_an_engine_is_started_when_wanted() -> None:
    async with EnginePool(argv=WORKER, spare=False) as pool:
        assert pool.spare_pid is None
        child = await pool.start(SPEC, logs=LogRing())
        await ready(child)
        assert pool.spare_pid is None
        await within(child.stop(grace_s=10))


async def test_a_killed_spare_is_not_handed_out_and_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    async with EnginePool(argv=WORKER, backoff_s=(0.05, 1)) as pool:
        await within(pool.wait_until_warm())
        killed = pool.spare_pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        await until(lambda: not is_running(killed), what="the spare died")
        child = await pool.start(SPEC, logs=LogRing())
        assert child.pid != killed
        await ready(child)
        await within(pool.wait_until_warm())
        assert pool.spare_pid not in (None, killed, child.pid)
        assert "probably out of memory (SIGKILL)" in caplog.text
        await within(child.stop(grace_s=10))


async def test_a_spare_that_keeps_dying_is_tried_ever_more_rarely(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lives = tmp_path / "lives"
    lives.touch()
    argv = program("spare_that_dies", lives)
    async with EnginePool(argv=argv, backoff_s=(0.1, 100)):
        await until(lambda: len(lives.read_bytes()) == 4, what="four lives")
    waits = [record.args[0] for record in caplog.records if isinstance(record.args, tuple)]
    assert waits[:3] == [0.1, 0.2, 0.4]
    assert "does not fit this processor" in caplog.text
    assert "no such instruction" in caplog.text


async def test_a_spare_that_never_gets_warm_is_killed_and_replaced(caplog: pytest.LogCaptureFixture) -> None:
    async with EnginePool(argv=program("never_ready"), warm_limit_s=0.2, backoff_s=(0.05, 0.05)) as pool:
        await until(lambda: pool.spare_pid is not None, what="a spare")
        first = pool.spare_pid
        await until(lambda: pool.spare_pid not in (None, first), what="another spare")
    assert "did not get ready in 0.2 s" in caplog.text


async def test_a_program_that_does_not_exist_fails_the_start_and_not_the_pool(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with EnginePool(argv=["/no/such/engine"], backoff_s=(0.05, 0.05)) as pool:
        await until(lambda: "cannot be started" in caplog.text, what="the spare failed")
        with pytest.raises(FileNotFoundError):
            await pool.start(SPEC, logs=LogRing())


async def test_closing_the_pool_ends_the_spare_and_not_the_engines() -> None:
    async with EnginePool(argv=WORKER, refill_delay_s=0) as pool:
        await within(pool.wait_until_warm())
        child = await pool.start(SPEC, logs=LogRing())
        await within(pool.wait_until_warm())
        spare = pool.spare_pid
    assert spare is not None
    assert not is_running(spare)
    assert child.is_alive
    await ready(child)
    await within(child.stop(grace_s=10))
    with pytest.raises(RuntimeError, match="not open"):
        await pool.start(SPEC, logs=LogRing())


async def test_an_engine_taken_while_the_pool_closes_stays_its_takers() -> None:
    pool = EnginePool(argv=WORKER)
    await pool.__aenter__()
    await within(pool.wait_until_warm())
    child, _ = await within(
        asyncio.gather(pool.start(SPEC, logs=LogRing()), pool.__aexit__(None, None, None))
    )
    await ready(child)
    assert (await within(child.stop(grace_s=10))).kind is ExitKind.CLEAN


async def test_a_start_that_is_cancelled_leaves_no_process() -> None:
    spec = SPEC.model_copy(update={"chat_template": "x" * 900_000})
    async with EnginePool(argv=program("never_reads"), spare=False) as pool:
        logs = LogRing()
        starting = asyncio.gather(pool.start(spec, logs=logs))
        await until(lambda: "not listening" in logs.text(), what="the process is there")
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)


async def parent_of_three(spec: wire.EngineSpec, argv: Sequence[str]) -> tuple[Child, list[int]]:
    """A process that holds two ready engines and a warm spare, all of `argv`; their pids."""
    command = program("parent", spec.model_dump_json(), *argv)
    parent = await Child.spawn(command, logs=LogRing(), name="parent")
    async for line in parent.logs.follow():
        if line.text.replace(" ", "").isdigit():
            return parent, [int(pid) for pid in line.text.split()]
    raise AssertionError(parent.logs.text())


async def test_every_worker_and_the_spare_end_when_their_daemon_is_killed() -> None:
    parent, pids = await within(parent_of_three(SPEC, WORKER))
    assert len(pids) == 3
    assert all(is_running(pid) for pid in pids)
    os.kill(parent.pid, signal.SIGKILL)
    await within(parent.wait())
    await until(lambda: not any(is_running(pid) for pid in pids), what="no worker is left")


async def test_a_killed_engine_is_told_as_out_of_memory() -> None:
    async with EnginePool(argv=WORKER, spare=False) as pool:
        child = await pool.start(SPEC, logs=LogRing())
        await logged(child, "loading m")
        os.kill(child.pid, signal.SIGKILL)
        assert (await within(child.wait())).kind is ExitKind.OUT_OF_MEMORY
