"""The power fails: what the system had not yet written is gone, and what comes next is still the right file.

A disk may have kept the record and lost the bytes that it speaks of. That is done here to real files: the
record stays as it is, and of the unfinished file only what was synced.
"""

import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from janagent.aio import cancel_and_wait, create_task
from janagent.fetch.noting import SYNC_BYTES, Noting
from janagent.fetch.part import Part
from janagent.fetch.place import Place
from janagent.fetch.plan import RemoteFile
from janagent.fetch.record import Entry, Record
from janagent.folder.records import record_path
from tests.fetch.hub import TestHub
from tests.fetch.transfers import LARGE, REPO, bring, eventually, interrupted, listing, parts, remote

NAME = "model.gguf"


@pytest.fixture
async def hub() -> AsyncIterator[TestHub]:
    async with TestHub() as running:
        running.add_repo(REPO, {NAME: LARGE})
        yield running


class Disk:
    """Knows of each file what its last sync brought onto the disk."""

    def __init__(self) -> None:
        self.synced: dict[int, bytes] = {}
        self._fdatasync = os.fdatasync

    def fdatasync(self, fd: int) -> None:
        content = os.pread(fd, os.fstat(fd).st_size, 0)
        self._fdatasync(fd)
        self.synced[os.fstat(fd).st_ino] = content

    def fail(self, part: Path) -> None:
        """What was not synced reads as zeros, where it is within the file at all."""
        kept = self.synced.get(part.stat().st_ino, b"")
        with part.open("r+b") as file:
            size = os.fstat(file.fileno()).st_size
            os.ftruncate(file.fileno(), 0)
            os.pwrite(file.fileno(), kept, 0)
            os.ftruncate(file.fileno(), size)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    watched = Disk()
    monkeypatch.setattr(os, "fdatasync", watched.fdatasync)
    return watched


@pytest.mark.parametrize("is_orderly", [False, True])
async def test_without_a_hash_nothing_counts_as_there_that_the_disk_may_have_lost(
    hub: TestHub, tmp_path: Path, disk: Disk, is_orderly: bool
):
    """Once in the middle of the transfer, once after its end by a pause."""
    file = RemoteFile(NAME, hub.direct_url(REPO, NAME))
    if is_orderly:
        await interrupted(hub, tmp_path, file)
        (part,) = parts(tmp_path)
    else:
        part = await stopped_dead(hub, tmp_path, file, disk=disk)
    disk.fail(part)
    told = await bring(hub, tmp_path, file)
    assert told[0].done_bytes > 0, "what was on the disk is not fetched again"
    assert (tmp_path / NAME).read_bytes() == LARGE
    assert listing(tmp_path) == [NAME]


async def stopped_dead(hub: TestHub, folder: Path, file: RemoteFile, *, disk: Disk) -> Path:
    """A transfer of which there is what there was in its middle; returns its `.part`."""
    hub.file(REPO, NAME).slow_bytes_per_s = 1_200_000
    fetching = create_task(bring(hub, folder, file), name="to be stopped")
    path = record_path(folder, "m.json")
    await eventually(lambda: path.exists() and path.read_text().partition("blocks")[2].count("1") > 3)
    record, synced, (part,) = path.read_bytes(), dict(disk.synced), parts(folder)
    await cancel_and_wait(fetching)
    path.write_bytes(record)
    disk.synced = synced
    hub.file(REPO, NAME).slow_bytes_per_s = None
    return part


async def test_with_a_hash_what_the_disk_lost_is_noticed_and_comes_again(
    hub: TestHub, tmp_path: Path, disk: Disk
):
    await interrupted(hub, tmp_path)
    disk.fail(parts(tmp_path)[0])
    told = await bring(hub, tmp_path)
    assert told[0].done_bytes > 0, "the record believes that it is there"
    assert (tmp_path / NAME).read_bytes() == LARGE
    assert listing(tmp_path) == [NAME]


def test_a_batch_that_is_being_synced_is_waited_for_and_a_later_one_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Of several connections that bring the end of a file each may still be here when it is complete."""
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()
    monkeypatch.setattr(os, "fdatasync", lambda fd: (begun.set(), go.wait(10), ended.set()))
    file = RemoteFile("a.bin", "http://x/a.bin", 4 * SYNC_BYTES)
    part, record = Part(file, Place.at(tmp_path)), Record(record_path(tmp_path, "k"), key="k")
    record.begin([Entry(file.name, file.size_bytes)], {})
    assert part.open()
    noting = Noting(file, part=part, record=record)
    slow = threading.Thread(target=noting.add, args=(0, SYNC_BYTES), kwargs={"grown_bytes": SYNC_BYTES})
    slow.start()
    assert begun.wait(10)
    threading.Timer(0.1, go.set).start()
    noting.end()
    assert ended.is_set()
    part.close()
    noting.add(SYNC_BYTES, 2 * SYNC_BYTES, grown_bytes=SYNC_BYTES)
    slow.join()
    record.remove()


async def test_a_part_that_the_disk_lost_altogether_is_fetched_anew(hub: TestHub, tmp_path: Path):
    await interrupted(hub, tmp_path, remote(hub))
    parts(tmp_path)[0].unlink()
    await bring(hub, tmp_path)
    assert (tmp_path / NAME).read_bytes() == LARGE
