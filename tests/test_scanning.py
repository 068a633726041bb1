"""The loop around the catalog, over a real folder and the real watcher."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from janagent.folder.catalog import Catalog
from janagent.folder.defaults import defaults_of, defaults_path, read_all, save
from janagent.folder.entry import CatalogChange, Condition
from janagent.scanning import Scanning
from tests.gguf_files import write_model


class Heard:
    """Changes as they come."""

    def __init__(self) -> None:
        self.changes: list[CatalogChange] = []
        self._came = asyncio.Event()

    def __call__(self, change: CatalogChange) -> None:
        self.changes.append(change)
        self._came.set()

    async def until(self, key: str, condition: Condition | None, *, within_s: float = 60) -> None:
        """Wait until the newest word on `key` is `condition`, None for removed."""
        async with asyncio.timeout(within_s):
            while self.newest(key) != condition:
                self._came.clear()
                await self._came.wait()

    async def more_than(self, count: int, *, within_s: float = 60) -> None:
        """Wait until more than `count` scans were heard of."""
        async with asyncio.timeout(within_s):
            while len(self.changes) <= count:
                self._came.clear()
                await self._came.wait()

    def newest(self, key: str) -> Condition | str | None:
        word: Condition | str | None = "unheard of"
        for change in self.changes:
            word = None if key in change.removed else word
            for entry in change.changed:
                word = entry.condition if entry.key == key else word
        return word


@asynccontextmanager
async def scanning(root: Path, *, rescan_s: float = 600) -> AsyncIterator[tuple[Scanning, Heard]]:
    heard = Heard()
    loop = Scanning(Catalog(root, default_root=False), rescan_s=rescan_s, changed=heard)
    async with loop:
        yield loop, heard


async def test_the_folder_is_known_when_it_has_begun(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    write_model(tmp_path / "models" / "a.gguf")
    async with scanning(tmp_path) as (_, heard):
        assert [entry.id for entry in heard.changes[0].changed] == ["a"]


async def test_a_dropped_model_is_heard_of_settles_and_is_gone_when_removed(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    async with scanning(tmp_path) as (_, heard):
        write_model(tmp_path / "models" / "a.gguf")
        await heard.until("a.gguf", Condition.COMPLETE)
        (tmp_path / "models" / "a.gguf").unlink()
        await heard.until("a.gguf", None)


async def test_what_settles_is_looked_at_again_without_an_event(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    async with scanning(tmp_path) as (_, heard):
        (tmp_path / "models" / "model.json").write_text("")
        await heard.until("model.json", Condition.INVALID)


async def test_a_wake_by_hand_is_a_look(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    async with scanning(tmp_path) as (loop, heard):
        before = len(heard.changes)
        loop.wake(None, set())
        await heard.more_than(before)


async def test_a_full_look_is_taken_by_the_clock(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    async with scanning(tmp_path, rescan_s=0.2) as (_, heard):
        await heard.more_than(3)


async def test_problems_of_folders_are_notices(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "loop").symlink_to(tmp_path / "models")
    async with scanning(tmp_path) as (loop, _):
        assert any("loop" in notice for notice in loop.notices)


async def test_defaults_are_kept_while_a_linked_folder_may_come_back(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "ext").symlink_to(tmp_path / "disk")
    found, _ = defaults_of({"ctx_len": 64}, {})
    save(defaults_path(models, "0" * 32), found)
    async with scanning(tmp_path):
        assert len(read_all(models)) == 1
        (tmp_path / "disk").mkdir()
    async with scanning(tmp_path):
        assert len(read_all(models)) == 0, "it was of no model there"


async def test_defaults_of_models_that_are_gone_are_taken_away(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "a.json").write_text('{"origin": "janhq/a"}')
    kept = Catalog(tmp_path, default_root=False)
    kept.scan(None, now=time.monotonic())
    found, _ = defaults_of({"ctx_len": 64}, {})
    for key in (kept.entries()["a.json"].artifact_key, "0" * 32):
        save(defaults_path(models, key), found)
    async with scanning(tmp_path) as (loop, heard):
        assert len(read_all(models)) == 1, "those of a model that was never there"
        (models / "a.json").unlink()
        await heard.until("a.json", None)
        await loop.look("", set())
        assert [path.name for path in models.iterdir()] == []
