"""The runtime over a real folder and a real child program that speaks the wire."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from janagent import paths
from janagent.config import Settings
from janagent.core.faults import Refusal
from janagent.core.status import State
from janagent.executor import Executor
from janagent.feed import Closed, MachineChanged, ModelChanged, ModelRemoved, Subscription
from janagent.memory_watch import MemoryWatch
from janagent.runtime import Runtime
from tests.gguf_files import write_model

ODD_ENGINE = (sys.executable, str(Path(__file__).parent / "http" / "odd_engine.py"))


@asynccontextmanager
async def running(root: Path, **flags: Any) -> AsyncIterator[Runtime]:
    given = {"root": root, "hot_load": "never", "spare_worker": False, "drain_s": 1, "offline": True, **flags}
    with paths.socket_folder() as sockets:
        async with Runtime(Settings.load(given), sockets=sockets, engine_argv=ODD_ENGINE) as runtime:
            yield runtime


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "models" / "tiny" / "tiny.gguf"
    path.parent.mkdir(parents=True)
    write_model(path)
    os.utime(path, (1_600_000_000, 1_600_000_000))
    return tmp_path


async def heard(subscription: Subscription, kind: type[Any], **wanted: Any) -> Any:
    async with asyncio.timeout(60):
        while True:
            change = await subscription.get()
            if isinstance(change, kind) and all(
                getattr(change, name) == value for name, value in wanted.items()
            ):
                return change


async def test_a_hundred_leases_of_a_cold_model_are_one_engine(root: Path) -> None:
    async with running(root) as runtime:
        key = runtime.resolve("tiny")

        async def one() -> int:
            async with runtime.lease(key) as lease:
                answer = await lease.engine.post("/v1/completions", b"{}", headers={})
                await answer.read()
                return answer.status

        assert await asyncio.gather(*(one() for _ in range(100))) == [200] * 100
        assert len(runtime.engines()) == 1


async def test_a_lease_carries_the_defaults_of_the_manifest_of_that_moment(root: Path) -> None:
    async with running(root) as runtime:
        with runtime.subscribe() as changes:
            manifest = root / "models" / "tiny" / "tiny.json"
            manifest.write_text('{"parameters": {"runtime": {"temperature": "0.25"}}}')
            while (await heard(changes, ModelChanged)).status.entry.key != "tiny/tiny.json":
                pass
        async with runtime.lease("tiny/tiny.json") as lease:
            assert lease.defaults == {"temperature": 0.25}
            assert lease.model_id == "tiny"


async def test_start_and_stop_wait_until_it_is_so(root: Path) -> None:
    async with running(root) as runtime:
        key = runtime.resolve("tiny")
        assert (await runtime.start(key, parameters={"ctx_len": 64}, wait=True)).state is State.RUNNING
        assert runtime.status(key).ctx_len is not None
        assert (await runtime.stop(key)).state is State.DOWNLOADED
        assert runtime.engines() == []


async def test_start_with_a_wrong_parameter_names_it(root: Path) -> None:
    async with running(root) as runtime:
        with pytest.raises(Refusal) as caught:
            await runtime.start(runtime.resolve("tiny"), parameters={"ctx_len": "many"}, wait=True)
        assert caught.value.code == "invalid_parameter"
        assert "ctx_len" in caught.value.message
        assert runtime.status(runtime.resolve("tiny")).state is State.DOWNLOADED


async def test_an_unknown_name_is_refused_with_near_ones(root: Path) -> None:
    async with running(root) as runtime:
        with pytest.raises(Refusal, match="did you mean tiny"):
            runtime.resolve("tinny")
        with pytest.raises(Refusal) as caught:
            runtime.resolve("x" * 100_000)
        assert len(caught.value.message) < 500


async def test_a_name_is_found_however_its_accents_are_encoded(root: Path) -> None:
    (root / "models" / "tiny").rename(root / "models" / "caf\u00e9")
    async with running(root) as runtime:
        assert runtime.resolve("/cafe\u0301/tiny") == runtime.resolve("tiny")


async def test_a_model_whose_files_cannot_be_removed_still_answers_to_its_name(root: Path) -> None:
    (root / "models" / ".janagent").write_text("in the way")
    async with running(root) as runtime:
        key = runtime.resolve("tiny")
        with pytest.raises(Refusal, match=r"\.janagent"):
            await runtime.delete(key)
        assert runtime.resolve("tiny") == key
        assert (root / "models" / "tiny" / "tiny.gguf").exists()


async def test_delete_removes_the_files_and_the_name(root: Path) -> None:
    async with running(root) as runtime:
        key = runtime.resolve("tiny")
        await runtime.start(key, parameters={}, wait=True)
        with runtime.subscribe() as changes:
            assert await runtime.delete(key) == "tiny"
            await heard(changes, ModelRemoved, id="tiny")
        assert runtime.statuses() == []
        assert not (root / "models" / "tiny").exists()
        with pytest.raises(Refusal):
            runtime.resolve("tiny")


async def test_what_was_deleted_may_be_put_back_at_once_and_is_there_again(root: Path) -> None:
    """Even as the very same file, before the folder counts it as deleted."""
    folder, kept = root / "models" / "far", root / "far.json"
    kept.write_text('{"origin": "http://localhost:9/v1", "import_format": "openai"}')
    folder.mkdir()
    shutil.copy2(kept, folder)
    async with running(root) as runtime:
        for _ in range(3):
            with runtime.subscribe() as changes:
                await runtime.delete(runtime.resolve("far"))
                folder.mkdir()
                shutil.copy2(kept, folder)
                while (await heard(changes, ModelChanged)).status.entry.id != "far":
                    pass
            assert runtime.resolve("far") == "far/far.json"


async def test_delete_of_a_linked_file_outside_is_refused_before_anything_stops(
    root: Path, tmp_path: Path
) -> None:
    real = root / "models" / "tiny" / "tiny.gguf"
    elsewhere = tmp_path / "precious.gguf"
    real.rename(elsewhere)
    real.symlink_to(elsewhere)
    async with running(root) as runtime:
        key = runtime.resolve("tiny")
        await runtime.start(key, parameters={}, wait=True)
        with pytest.raises(Refusal, match=r"models/tiny/tiny\.gguf is a link"):
            await runtime.delete(key)
        assert runtime.status(key).state is State.RUNNING
    assert elsewhere.exists()


async def test_a_lease_that_stops_waiting_leaves_nothing_behind(root: Path) -> None:
    async with running(root) as runtime:
        key = runtime.resolve("tiny")

        async def ask() -> None:
            async with runtime.lease(key):
                pass

        tasks = [asyncio.ensure_future(ask()) for _ in range(5)]  # noqa: TID251
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert runtime._machine._world.leases == {}
        assert runtime._waiting == {}


async def test_memory_that_a_load_took_is_told_although_each_sample_moves_little(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryWatch, "interval_s", 0.05)
    async with running(root, memory_budget="10GB") as runtime:
        monkeypatch.setattr(
            Executor, "memory_bytes", lambda _: (runtime.machine()["memory_used_bytes"] + 4 * 10**6, 0)
        )
        with runtime.subscribe() as changes:
            told = await heard(changes, MachineChanged)
            assert told.machine["memory_used_bytes"] > 10**7


async def test_listeners_hear_each_state_and_the_end(root: Path) -> None:
    async with running(root) as runtime:
        with runtime.subscribe() as changes:
            await runtime.start(runtime.resolve("tiny"), parameters={}, wait=True)
            states = [(await heard(changes, ModelChanged)).status.state for _ in range(2)]
            assert states == [State.STARTING, State.RUNNING]
            await runtime.drain()
            await heard(changes, Closed)
        with pytest.raises(Refusal, match="shutting down"):
            async with runtime.lease(runtime.resolve("tiny")):
                pass


async def test_a_delete_sees_a_manifest_that_was_dropped_a_moment_before(root: Path) -> None:
    models = root / "models"
    (models / "a.json").write_text('{"download_url": "tiny/tiny.gguf"}')
    async with running(root) as runtime:
        (models / "b.json").write_text('{"download_url": "tiny/tiny.gguf"}')
        await runtime.delete("a.json")
    assert not (models / "a.json").exists()
    assert (models / "tiny" / "tiny.gguf").exists()


async def test_memory_is_looked_at_again_after_a_look_that_failed(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(root) as runtime:
        looked = [asyncio.Event(), asyncio.Event()]

        def failing(*_held: int) -> None:
            looked[looked[0].is_set()].set()
            raise OSError("/proc is away")

        monkeypatch.setattr(runtime._memory, "budget", failing)
        monkeypatch.setattr(MemoryWatch, "interval_s", 0.01)
        async with asyncio.timeout(60):
            await looked[1].wait()
    assert "trying again" in caplog.text
