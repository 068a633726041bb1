"""`janagent.fetchers`: what a fetcher is told, and what becomes of its words."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from janagent.children.logs import LogRing
from janagent.core import events as ev
from janagent.core.actions import DiscardFetch, StartFetch, StopFetch
from janagent.core.memory import Budget
from janagent.fetchers import Fetchers, fetch_spec, hub_environment
from janagent.folder.brought import Brought, remember
from janagent.folder.records import open_fetches, record_path
from tests.core.driver import entry, lacking

WRITER = """
import json, os, sys, time
spec = json.loads(sys.stdin.readline())
os.makedirs(os.path.dirname(spec["record_path"]), exist_ok=True)
part = spec["folder"] + "/a.gguf.part"
open(part, "w").write("x")
file = {"name": "a.gguf", "inode": os.stat(part).st_ino}
json.dump({"key": spec["key"], "files": [file]}, open(spec["record_path"], "w"))
def say(**line):
    os.write(int(os.environ["JANAGENT_STATUS_FD"]), json.dumps(line).encode() + b"\\n")
say(event="planned", files=1, total_bytes=10, note="the only one")
say(event="fetching", done_bytes=3, total_bytes=10, bytes_per_s=1.0, eta_s=7.0, files=1)
"""
ENDS = {
    "well": 'say(event="fetched", files=["a.gguf"])',
    "badly": 'say(event="fetch_failed", code="gated", message="visit the page", is_permanent=True)',
    "silently": "sys.exit(9)",
    "never": "time.sleep(600)",
}


class Desk:
    """Fetchers over a folder, with everything they told."""

    def __init__(self, models: Path, end: str) -> None:
        self.told: asyncio.Queue[ev.Event | str] = asyncio.Queue()
        self.models = models
        self.action = StartFetch(1, lacking())
        self.fetchers = Fetchers(
            models=models,
            hub_endpoint=None,
            budget=lambda: Budget(10**9),
            post=self.told.put_nowait,
            logs_of=lambda key: LogRing(),
            look=self._look,
            argv=(sys.executable, "-c", WRITER + ENDS[end]),
        )

    async def _look(self, folder: str, closed: set[str]) -> None:
        self.told.put_nowait(f"looked at {folder!r} for {sorted(closed)}")

    async def next(self) -> ev.Event | str:
        async with asyncio.timeout(60):
            return await self.told.get()


@asynccontextmanager
async def running(models: Path, end: str) -> AsyncIterator[Desk]:
    desk = Desk(models, end)
    async with asyncio.TaskGroup() as group:
        group.create_task(desk.fetchers.run(desk.action))
        assert await desk.next() == ev.FetchPlanned(1, "the only one")
        advanced = await desk.next()
        assert isinstance(advanced, ev.FetchAdvanced)
        assert advanced.progress["done_bytes"] == 3
        yield desk


async def test_what_came_is_looked_at_before_the_end_is_told(tmp_path: Path):
    async with running(tmp_path, "well") as desk:
        assert await desk.next() == "looked at '' for ['a.gguf']"
        assert await desk.next() == ev.FetchEnded(1)


async def test_a_failure_is_told_in_the_fetcher_s_own_words(tmp_path: Path):
    async with running(tmp_path, "badly") as desk:
        ended = await desk.next()
        assert isinstance(ended, ev.FetchEnded)
        assert ended.fault is not None
        assert (ended.fault.code, ended.fault.message, ended.is_permanent) == (
            "gated",
            "visit the page",
            True,
        )


async def test_a_fetcher_that_dies_without_a_word_may_be_tried_again(tmp_path: Path):
    async with running(tmp_path, "silently") as desk:
        ended = await desk.next()
        assert isinstance(ended, ev.FetchEnded)
        assert ended.fault is not None
        assert ended.fault.code == "fetch_failed"
        assert not ended.is_permanent


async def test_a_stop_ends_it_at_once_and_what_it_wrote_goes_when_it_is_discarded(tmp_path: Path):
    async with running(tmp_path, "never") as desk:
        begun = asyncio.get_running_loop().time()
        await desk.fetchers.stop(StopFetch(1))
        assert isinstance(await desk.next(), ev.FetchEnded)
        assert asyncio.get_running_loop().time() - begun < 5
    assert (tmp_path / "a.gguf.part").exists()
    assert list(open_fetches(tmp_path)) == ["a.json"]
    await desk.fetchers.discard(DiscardFetch("a.json"))
    assert await desk.next() == "looked at '' for []"
    assert await desk.next() == ev.FetchDiscarded("a.json")
    assert list(tmp_path.iterdir()) == []


async def test_of_a_model_whose_disk_is_away_nothing_is_discarded(tmp_path: Path):
    path = record_path(tmp_path, "ext/a.json")
    path.parent.mkdir(parents=True)
    path.write_text('{"key": "ext/a.json", "files": []}')
    remember(tmp_path, "ext/a.json", [Brought("README.md", 1, 2, 3, is_written=True)])
    before = sorted(tmp_path.rglob("*"))
    (tmp_path / "ext").symlink_to(tmp_path / "away")
    desk = Desk(tmp_path, "well")
    desk.fetchers.sweep({})
    await desk.fetchers.discard(DiscardFetch("ext/a.json"))
    assert await desk.next() == "looked at 'ext' for []"
    assert await desk.next() == ev.FetchDiscarded("ext/a.json")
    (tmp_path / "ext").unlink()
    assert sorted(tmp_path.rglob("*")) == before
    desk.fetchers.sweep({})
    assert list(tmp_path.iterdir()) == [], "now it is known that it is gone"


def test_records_of_models_that_are_gone_or_complete_are_swept(tmp_path: Path):
    for key in ("a.json", "b.json", "c.json"):
        path = record_path(tmp_path, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{{"key": "{key}", "files": []}}')
    Desk(tmp_path, "well").fetchers.sweep({"a.json": lacking("a"), "c.json": entry("c")})
    assert set(open_fetches(tmp_path)) == {"a.json"}


def test_a_fetcher_is_told_where_what_and_for_how_much_memory(tmp_path: Path):
    entry_ = lacking(init={"ctx_len": 8192, "kv_type": "q8_0"})
    spec = fetch_spec(StartFetch(1, entry_), models=tmp_path, hub_endpoint="http://hub", budget=Budget(5, 7))
    assert (spec.key, spec.folder, spec.origin) == ("a.json", str(tmp_path), "owner/a")
    assert spec.artifact_key == "a-files"
    assert (spec.ram_bytes, spec.gpu_bytes, spec.hub_endpoint) == (5, 7, "http://hub")
    assert (spec.ctx_len, spec.n_parallel, spec.kv_type) == (8192, None, "q8_0")
    assert spec.record_path == str(record_path(tmp_path, "a.json"))


def test_only_the_hub_s_variables_are_passed_on():
    passed_on = hub_environment({"HF_TOKEN": "t", "OPENAI_API_KEY": "k"})
    assert passed_on == {"HF_TOKEN": "t", "HF_HUB_DISABLE_TELEMETRY": "1"}
