"""The same promises with the real engine program: it is what `spawn` and `pool` exist for."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from janagent.children import machine, wire
from janagent.children.exits import ExitKind
from janagent.children.logs import LogRing
from janagent.children.pool import ENGINE_ARGV, EnginePool
from tests.children.conftest import is_running, until, within
from tests.children.test_pool import parent_of_three, ready


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A folder whose path is short enough for a Unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="jc-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def spec_of(model: Path, sockets: Path) -> wire.EngineSpec:
    return wire.EngineSpec(
        socket_path=str(sockets / "e.sock"), model_path=str(model), model_id="smol", ctx_len=256, n_parallel=1
    )


async def test_the_real_spare_loads_the_real_model_and_answers_on_its_socket(
    starter: Path, sockets: Path
) -> None:
    async with EnginePool(refill_delay_s=100) as pool:
        await within(pool.wait_until_warm())
        spare = pool.spare_pid
        child = await pool.start(spec_of(starter, sockets), logs=LogRing())
        assert child.pid == spare
        assert (await ready(child)).ctx_len == 256
        connector = aiohttp.UnixConnector(path=str(sockets / "e.sock"))
        async with aiohttp.ClientSession(connector=connector) as session:
            body = {"messages": [{"role": "user", "content": "Say hi."}], "max_tokens": 4}
            async with session.post("http://engine/v1/chat/completions", json=body) as answer:
                assert answer.status == 200, await answer.text()
        assert child.memory_bytes() > 90_000_000
        assert child.held_bytes() < child.memory_bytes()
        exit_ = await within(child.stop(grace_s=10))
    assert exit_.kind in (ExitKind.CLEAN, ExitKind.TERMINATED)


async def test_a_model_that_cannot_be_loaded_is_told_in_the_engines_words(
    tmp_path: Path, sockets: Path
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\0" * 1000)
    async with EnginePool(spare=False) as pool:
        child = await pool.start(spec_of(broken, sockets), logs=LogRing())
        lines = [line async for line in child.status()]
        exit_ = await within(child.wait())
    assert exit_.kind is ExitKind.LOAD_FAILED
    assert any(isinstance(line, wire.Failed) for line in lines), child.logs.text()


async def test_a_spec_that_makes_no_sense_is_told_as_such(starter: Path, sockets: Path) -> None:
    async with EnginePool(spare=False) as pool:
        spec = spec_of(starter, sockets).model_copy(update={"ctx_len": 0})
        child = await pool.start(spec, logs=LogRing())
        assert (await within(child.wait())).kind is ExitKind.BAD_SPEC


async def test_the_real_spare_is_replaced_when_it_is_killed() -> None:
    async with EnginePool(backoff_s=(0.05, 1)) as pool:
        await within(pool.wait_until_warm())
        killed = pool.spare_pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        await until(lambda: pool.spare_pid not in (None, killed), what="another spare")
        await within(pool.wait_until_warm())


async def test_real_engines_and_their_spare_end_when_their_daemon_is_killed(
    starter: Path, sockets: Path
) -> None:
    parent, pids = await within(parent_of_three(spec_of(starter, sockets), ENGINE_ARGV))
    assert all(is_running(pid) for pid in pids)
    os.kill(parent.pid, signal.SIGKILL)
    await within(parent.wait())
    await until(lambda: not any(is_running(pid) for pid in pids), what="no engine is left")


async def test_the_real_probe_says_which_llama_cpp_it_is() -> None:
    found = await within(machine.probe())
    assert found.llama_cpp is not None
    assert len(await within(machine.probe_gpus())) <= len(found.gpus)
