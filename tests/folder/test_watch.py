"""The watcher on real folders: what wakes it, what does not, and where it falls back to polling."""

import asyncio
import functools
import os
import shutil
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from janagent.folder import watch
from janagent.folder.quiet import Quiet
from janagent.folder.watch import Watcher
from janagent.folder.watches import Watches

DEADLINE_S = 60.0
SILENCE_S = 0.4
"""Longer than the ceiling of a burst: a wake would have come by then."""


class Wakes:
    """What the watcher said, to be waited for."""

    def __init__(self) -> None:
        self.folders: set[str] = set()
        self.closed: set[str] = set()
        self.count = 0
        self.all = 0
        self._event = asyncio.Event()

    def __call__(self, folders: set[str] | None, closed: set[str]) -> None:
        self.count += 1
        self.all += folders is None
        self.folders |= folders or set()
        self.closed |= closed
        self._event.set()

    async def until(self, is_met: Callable[[], bool]) -> None:
        """Wait for wakes until the condition holds."""
        async with asyncio.timeout(DEADLINE_S):
            while not is_met():
                self._event.clear()
                await self._event.wait()

    async def calm(self) -> None:
        """Wait until nothing more comes, then forget everything."""
        while True:
            before = self.count
            await asyncio.sleep(SILENCE_S)
            if self.count == before:
                break
        self.folders, self.closed, self.count, self.all = set(), set(), 0, 0

    async def are_of(self, file: Path, name: str) -> None:
        """Write `file` until that is told: the watch on its folder is still being made when all is to be
        looked at."""
        async with asyncio.timeout(DEADLINE_S):
            while name not in self.closed:
                file.write_text("{}")
                await asyncio.sleep(SILENCE_S)

    async def are_not_of(self, file: Path) -> None:
        """Write `file` until nothing is told of it: a watch that is no longer wanted has to be taken away."""
        async with asyncio.timeout(DEADLINE_S):
            while self.count:
                await self.calm()
                file.write_text("{}")
                await asyncio.sleep(SILENCE_S)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "root" / "models"
    (folder / "a" / "b").mkdir(parents=True)
    return folder


@asynccontextmanager
async def watching(models: Path, **options: float | bool) -> AsyncIterator[tuple[Watcher, Wakes]]:
    wakes = Wakes()
    async with Watcher(models, wake=wakes, **options) as watcher:  # type: ignore[arg-type]
        yield watcher, wakes


async def test_a_written_file_wakes_its_folder_and_counts_as_closed(models: Path) -> None:
    async with watching(models) as (watcher, wakes):
        (models / "a" / "x.json").write_text("{}")
        await wakes.until(lambda: "a/x.json" in wakes.closed)
        assert wakes.folders == {"a"}
        assert watcher.notice is None


async def test_a_file_that_is_still_open_is_not_closed(models: Path) -> None:
    async with watching(models) as (_, wakes):
        with (models / "a" / "x.gguf").open("wb") as stream:
            stream.write(b"x")
            stream.flush()
            await wakes.until(lambda: "a" in wakes.folders)
            assert wakes.closed == set()
        await wakes.until(lambda: "a/x.gguf" in wakes.closed)


async def test_reading_and_listing_wake_nothing(models: Path) -> None:
    (models / "a" / "x.json").write_text("{}")
    async with watching(models) as (_, wakes):
        (models / "a" / "x.json").read_bytes()
        os.listdir(models / "a")
        await asyncio.sleep(SILENCE_S)
        assert wakes.count == 0


async def test_ignored_files_wake_nothing(models: Path) -> None:
    (models / ".janagent").mkdir()
    async with watching(models) as (_, wakes):
        (models / ".janagent" / "state").write_text("x")
        (models / "a" / "x.gguf.part").write_text("x")
        (models / "a" / ".x.json.swp").write_text("x")
        await asyncio.sleep(SILENCE_S)
        assert wakes.count == 0
        (models / "a" / "x.gguf.part").rename(models / "a" / "x.gguf")
        await wakes.until(lambda: "a" in wakes.folders)


async def test_the_end_of_a_download_tool_s_control_file_wakes(models: Path) -> None:
    (models / "a" / "x.gguf.aria2").write_text("x")
    async with watching(models) as (_, wakes):
        (models / "a" / "x.gguf.aria2").unlink()
        await wakes.until(lambda: "a" in wakes.folders)


async def test_a_move_wakes_both_folders(models: Path) -> None:
    (models / "a" / "x.json").write_text("{}")
    async with watching(models) as (_, wakes):
        (models / "a" / "x.json").rename(models / "a" / "b" / "x.json")
        await wakes.until(lambda: {"a", "a/b"} <= wakes.folders)


async def test_a_deletion_wakes(models: Path) -> None:
    (models / "a" / "x.json").write_text("{}")
    async with watching(models) as (_, wakes):
        (models / "a" / "x.json").unlink()
        await wakes.until(lambda: "a" in wakes.folders)


async def test_a_change_of_permissions_wakes(models: Path) -> None:
    file = models / "a" / "x.json"
    file.write_text("{}")
    async with watching(models) as (_, wakes):
        file.chmod(0o600)
        await wakes.until(lambda: "a" in wakes.folders)


async def test_a_new_folder_and_what_is_in_it_wake(models: Path, tmp_path: Path) -> None:
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "far" / "deep" / "x.json").write_text("{}")
    async with watching(models) as (_, wakes):
        (tmp_path / "far").rename(models / "near")
        await wakes.until(lambda: {"", "near"} <= wakes.folders)
        await wakes.calm()
        (models / "near" / "deep" / "y.json").write_text("{}")
        await wakes.until(lambda: "near/deep/y.json" in wakes.closed)


async def test_a_burst_over_many_folders_is_one_look_at_everything(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long this machine takes to tell of it."""
    monkeypatch.setattr(watch, "Quiet", functools.partial(Quiet, calm_s=1.0, ceiling_s=DEADLINE_S))
    for n in range(300):
        (models / f"d{n}").mkdir()
    async with watching(models) as (_, wakes):
        for n in range(300):
            (models / f"d{n}" / "x.json").write_text("{}")
        await wakes.until(lambda: wakes.all > 0)
        await wakes.calm()


async def test_a_linked_folder_is_watched_under_its_name_once_it_is_set(models: Path, tmp_path: Path) -> None:
    far = tmp_path / "far"
    (far / "sub").mkdir(parents=True)
    (models / "link").symlink_to(far)
    async with watching(models) as (watcher, wakes):
        watcher.set_linked({far: frozenset({"link"})})
        await wakes.until(lambda: "link" in wakes.folders)
        (far / "sub" / "x.json").write_text("{}")
        await wakes.until(lambda: "link/sub/x.json" in wakes.closed)
        assert "link/sub" in wakes.folders
        watcher.set_linked({})
        assert wakes.count
        await wakes.are_not_of(far / "sub" / "y.json")


async def test_a_linked_folder_that_goes_wakes_the_folder_of_its_link(models: Path, tmp_path: Path) -> None:
    far = tmp_path / "far"
    far.mkdir()
    async with watching(models) as (watcher, wakes):
        watcher.set_linked({far: frozenset({"a/link"})})
        await wakes.until(lambda: "a/link" in wakes.folders)
        await wakes.calm()
        far.rmdir()
        await wakes.until(lambda: {"a", "a/link"} <= wakes.folders)


async def test_a_linked_file_is_watched_and_its_neighbours_are_not(models: Path, tmp_path: Path) -> None:
    far = tmp_path / "far"
    far.mkdir()
    (far / "x.gguf").write_text("1")
    async with watching(models) as (watcher, wakes):
        watcher.set_linked({far / "x.gguf": frozenset({"a/link.gguf"})})
        await wakes.until(lambda: "a" in wakes.folders)
        await wakes.calm()
        (far / "other").write_text("x")
        await asyncio.sleep(SILENCE_S)
        assert wakes.count == 0
        (far / "x.gguf").write_text("22")
        await wakes.until(lambda: "a/link.gguf" in wakes.closed)


async def test_links_are_not_followed_by_the_watch_itself(models: Path, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (models / "link").symlink_to(tmp_path / "far")
    (models / "loop").symlink_to(models)
    async with watching(models) as (_, wakes):
        (tmp_path / "far" / "x.json").write_text("{}")
        await asyncio.sleep(SILENCE_S)
        assert wakes.count == 0


async def test_a_models_folder_that_comes_later_is_noticed_and_watched(tmp_path: Path) -> None:
    models = tmp_path / "root" / "models"
    async with watching(models) as (_, wakes):
        models.mkdir(parents=True)
        await wakes.until(lambda: wakes.all > 0)
        (models / "x.json").write_text("{}")
        await wakes.until(lambda: "x.json" in wakes.closed)


async def test_a_check_that_fails_is_logged_and_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    is_stale, failed = Watches.is_stale, threading.Event()

    def fail_once(watches: Watches, models: Path) -> bool:
        if failed.is_set():
            return is_stale(watches, models)
        failed.set()
        raise RuntimeError("a bug")

    monkeypatch.setattr(Watches, "is_stale", fail_once)
    monkeypatch.setattr(watch, "RETRY_S", 0.1)
    models = tmp_path / "root" / "models"
    async with watching(models) as (_, wakes):
        await asyncio.to_thread(failed.wait, DEADLINE_S)
        models.mkdir(parents=True)
        await wakes.until(lambda: wakes.all > 0)
    assert "the watches could not be checked" in caplog.text


async def test_a_models_folder_that_is_moved_away_and_back_is_noticed(models: Path) -> None:
    async with watching(models) as (_, wakes):
        models.rename(models.parent / "away")
        await wakes.until(lambda: wakes.all > 0)
        await wakes.calm()
        (models.parent / "away").rename(models)
        await wakes.until(lambda: wakes.all > 0)
        await wakes.are_of(models / "a" / "x.json", "a/x.json")


async def test_a_models_folder_that_is_deleted_and_made_again_is_watched_again(models: Path) -> None:
    async with watching(models) as (_, wakes):
        for _ in range(3):
            shutil.rmtree(models)
            (models / "new").mkdir(parents=True)
            await wakes.until(lambda: wakes.all > 0)
            await wakes.calm()
            await wakes.are_of(models / "new" / "x.json", "new/x.json")
            await wakes.calm()


async def test_a_models_folder_that_is_a_link_is_watched_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "disk" / "a").mkdir(parents=True)
    (tmp_path / "models").symlink_to(tmp_path / "disk")
    async with watching(tmp_path / "models") as (_, wakes):
        (tmp_path / "disk" / "a" / "x.json").write_text("{}")
        await wakes.until(lambda: "a/x.json" in wakes.closed)


async def test_forced_polling_looks_at_everything_again_and_again(models: Path) -> None:
    async with watching(models, force_polling=True, poll_s=0.05) as (watcher, wakes):
        await wakes.until(lambda: wakes.all >= 3)
        assert watcher.is_polling
        assert watcher.notice is None


async def test_stopping_leaves_no_thread_behind(models: Path) -> None:
    def watchers() -> int:
        return sum("inotify" in type(thread).__module__.lower() for thread in threading.enumerate())

    before = watchers()
    async with watching(models):
        assert sys.platform != "linux" or watchers() > before
    assert watchers() == before
