"""Disks that fill up, go away or refuse: real ones of memory where the test may mount them."""

import asyncio
import contextlib
import errno
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from janagent.aio import create_task
from janagent.fetch.disk import disk_fault
from janagent.fetch.faults import FetchError
from janagent.fetch.part import Part
from janagent.fetch.place import Place
from janagent.fetch.plan import RemoteFile
from janagent.fetch.record import Record
from janagent.folder.records import record_path
from tests.fetch.hub import TestHub
from tests.fetch.transfers import LARGE, QUICK, REPO, SMALL, bring, eventually, listing, parts, remote
from tests.folder.desks import without_privileges


@pytest.fixture
async def hub() -> AsyncIterator[TestHub]:
    async with TestHub() as running:
        running.add_repo(REPO, {"model.gguf": LARGE, "sub/note.txt": SMALL})
        yield running


@contextlib.contextmanager
def mounted(folder: Path, size: str) -> Iterator[bool]:
    """A disk of memory on `folder`; False where nobody but root may mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    is_mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    try:
        yield is_mounted
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


@contextlib.contextmanager
def another_s_folder() -> Iterator[Path]:
    """One that may be read and not written, by whoever runs the tests."""
    folder = Path(tempfile.mkdtemp(prefix="jt-", dir="/tmp"))
    try:
        folder.chmod(0o555)
        with without_privileges():
            yield folder
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


async def test_a_folder_that_may_not_be_written_is_said_to_be_that_and_not_tried_for_ever(hub: TestHub):
    with another_s_folder() as folder:
        with pytest.raises(FetchError, match="give janagent the right to read and write") as caught:
            await bring(hub, folder)
        assert (caught.value.code, caught.value.is_permanent) == ("not_writable", True)


async def test_a_disk_that_is_mounted_read_only_is_said_to_be_that(hub: TestHub, tmp_path: Path):
    """Where nothing can be mounted, the system's own words stand for it."""
    with mounted(tmp_path / "models", "64m") as is_mounted:
        if is_mounted:
            command = ["mount", "-o", "remount,ro", str(tmp_path / "models")]
            await asyncio.to_thread(subprocess.run, command, check=True)
            with pytest.raises(FetchError) as caught:
                await bring(hub, tmp_path / "models")
            error = caught.value
        else:
            error = disk_fault(OSError(errno.EROFS, os.strerror(errno.EROFS)), tmp_path)
        assert (error.code, error.is_permanent) == ("not_writable", True)
        assert "read-only" in error.message


async def test_a_name_that_leaves_no_room_for_its_part_is_said_to_be_too_long(hub: TestHub, tmp_path: Path):
    name = "n" * 247 + ".gguf"
    hub.add_repo(REPO, {name: LARGE})
    with pytest.raises(FetchError) as caught:
        await bring(hub, tmp_path, remote(hub, name))
    assert (caught.value.code, caught.value.is_permanent) == ("name_too_long", True)


async def test_a_file_in_the_place_of_a_folder_is_said_to_stand_in_the_way(hub: TestHub, tmp_path: Path):
    (tmp_path / "sub").write_bytes(b"mine")
    with pytest.raises(FetchError) as caught:
        await bring(hub, tmp_path, remote(hub, "sub/note.txt", SMALL))
    assert (caught.value.code, caught.value.is_permanent) == ("in_the_way", True)
    assert (tmp_path / "sub").read_bytes() == b"mine"


@contextlib.contextmanager
def filled(folder: Path, *, is_mounted: bool) -> Iterator[None]:
    """Hardly any room is left; where nothing can be mounted, for any one file."""
    if is_mounted:
        (folder / "ballast").write_bytes(bytes(7_000_000))
        yield
        (folder / "ballast").unlink()
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_disk_that_fills_up_keeps_what_came_and_goes_on_once_there_is_room(
    hub: TestHub, tmp_path: Path
):
    models = tmp_path / "models"
    with mounted(models, "12m") as is_mounted:
        hosted = hub.file(REPO, "model.gguf")
        hosted.slow_bytes_per_s = 1_500_000
        fetching = create_task(bring(hub, models), name="a fetch")  # there is room when it begins
        record = Record(record_path(models, "m.json"), key="m.json")
        if not is_mounted:  # any part of it may be the first that finds no room
            await eventually(lambda: any(list(entry.done()) for entry in record.read().values()))
        await eventually(lambda: parts(models) != [])
        with filled(models, is_mounted=is_mounted):
            with pytest.raises(FetchError) as caught:
                await fetching
            assert (caught.value.code, caught.value.is_permanent) == ("disk_full", False)
        hosted.slow_bytes_per_s = None
        await eventually(lambda: all(request.ended_at for request in hub.requests))
        sent = hub.bytes_sent("model.gguf")
        told = await bring(hub, models)
        assert told[0].done_bytes > 0
        assert hub.bytes_sent("model.gguf") - sent <= len(LARGE) - told[0].done_bytes
        assert (models / "model.gguf").read_bytes() == LARGE
        assert listing(models) == ["model.gguf"]


def take_away(folder: Path, *, is_mounted: bool) -> None:
    if is_mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)
    else:
        folder.rename(folder.with_name("away"))


def test_a_file_that_begins_after_its_disk_went_is_not_made_below_the_mount_point(tmp_path: Path):
    models = tmp_path / "models"
    with mounted(models, "1m") as is_mounted:
        place = Place.at(models)
        take_away(models, is_mounted=is_mounted)
        with pytest.raises(FetchError) as caught:
            Part(RemoteFile("sub/a", "http://x/a"), place).open()
        assert (caught.value.code, caught.value.is_permanent) == ("disk_error", False)
        assert (listing(models) if is_mounted else os.path.lexists(models)) in ([], False)


async def test_a_part_that_somebody_removes_is_missed_at_once(hub: TestHub, tmp_path: Path):
    hub.file(REPO, "model.gguf").slow_bytes_per_s = 500_000
    fetching = create_task(bring(hub, tmp_path), name="a fetch")
    await eventually(lambda: hub.bytes_sent("model.gguf") > 0)
    parts(tmp_path)[0].unlink()
    with pytest.raises(FetchError, match="removed or replaced") as caught:
        await fetching
    assert (caught.value.code, caught.value.is_permanent) == ("disk_error", False)
    assert hub.bytes_sent("model.gguf") < len(LARGE)
    hub.file(REPO, "model.gguf").slow_bytes_per_s = None
    await bring(hub, tmp_path)
    assert (tmp_path / "model.gguf").read_bytes() == LARGE
    assert listing(tmp_path) == ["model.gguf"]


async def test_a_disk_that_goes_in_the_middle_gets_nothing_below_its_mount_point(
    hub: TestHub, tmp_path: Path
):
    """A folder that is moved away stands for it where nothing can be mounted."""
    models = tmp_path / "models"
    with mounted(models, "64m") as is_mounted:
        hub.file(REPO, "model.gguf").slow_bytes_per_s = 3_000_000
        files = (remote(hub), remote(hub, "sub/note.txt", SMALL))
        limits = replace(QUICK, connections=1)  # the second file begins when the first is done
        fetching = create_task(bring(hub, models, *files, limits=limits), name="a fetch")
        await eventually(lambda: parts(models) != [])
        take_away(models, is_mounted=is_mounted)
        with pytest.raises(FetchError) as caught:
            await fetching
        assert hub.bytes_sent("model.gguf") < len(LARGE), "it is noticed at once"
        assert (caught.value.code, caught.value.is_permanent) == ("disk_error", False)
        assert (listing(models) if is_mounted else os.path.lexists(models)) in ([], False)
