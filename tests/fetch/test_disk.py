"""Disks that fill up, go away or refuse: real ones of memory where the test may mount them."""

import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from janagent.aio import create_task
from janagent.fetch.faults import FetchError
from janagent.fetch.part import Part
from janagent.fetch.place import Place
from tests.fetch.hub import TestHub
from tests.fetch.transfers import LARGE, QUICK, REPO, SMALL, bring, eventually, listing, remote


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
            Part(models / "sub" / "a", place).open()
        assert (caught.value.code, caught.value.is_permanent) == ("disk_error", False)
        assert (listing(models) if is_mounted else os.path.lexists(models)) in ([], False)


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
        await eventually(lambda: (models / "model.gguf.part").exists())
        take_away(models, is_mounted=is_mounted)
        with pytest.raises(FetchError) as caught:
            await fetching
        assert (caught.value.code, caught.value.is_permanent) == ("disk_error", False)
        assert (listing(models) if is_mounted else os.path.lexists(models)) in ([], False)
