"""Several fetches that want one file: one of them brings it, and nobody takes it from under another."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from janagent.aio import cancel_and_wait, create_task
from janagent.fetch import download
from janagent.fetch.faults import FetchError
from janagent.fetch.part import Part
from janagent.fetch.plan import RemoteFile
from janagent.fetch.record import Entry, Record
from janagent.fetch.transfer import Progress
from janagent.fetch.turns import take_turn
from janagent.folder.records import OpenFetch, discard, open_fetches, record_path
from tests.fetch.hub import TestHub
from tests.fetch.transfers import LARGE, REPO, bring, eventually, interrupted, listing, parts, remote

WITH_LOSSES = len(LARGE) + 6 * (1 << 20)
"""A block of each connection is lost with an interruption."""


@pytest.fixture
async def hub() -> AsyncIterator[TestHub]:
    async with TestHub() as running:
        running.add_repo(REPO, {"model.gguf": LARGE})
        yield running


def records(folder: Path) -> list[OpenFetch]:
    return list(open_fetches(folder).values())


async def test_what_two_want_at_once_is_fetched_once(hub: TestHub, tmp_path: Path):
    hub.file(REPO, "model.gguf").slow_bytes_per_s = 3_000_000
    await asyncio.gather(*(bring(hub, tmp_path, key=f"{name}.json") for name in "abc"))
    assert (tmp_path / "model.gguf").read_bytes() == LARGE
    assert listing(tmp_path) == ["model.gguf"]
    assert hub.bytes_sent("model.gguf") == len(LARGE)


async def test_what_one_was_interrupted_at_another_goes_on_with(hub: TestHub, tmp_path: Path):
    await interrupted(hub, tmp_path, key="a.json")
    told = await bring(hub, tmp_path, key="b.json")
    assert max(progress.done_bytes for progress in told) == len(LARGE)
    assert hub.bytes_sent("model.gguf") < WITH_LOSSES
    await bring(hub, tmp_path, key="a.json")
    assert (tmp_path / "model.gguf").read_bytes() == LARGE
    assert listing(tmp_path) == ["model.gguf"]
    assert hub.bytes_sent("model.gguf") < WITH_LOSSES


async def test_who_gives_up_leaves_what_another_is_writing(hub: TestHub, tmp_path: Path):
    await interrupted(hub, tmp_path, key="a.json")
    hub.file(REPO, "model.gguf").slow_bytes_per_s = 1_200_000
    going_on = create_task(bring(hub, tmp_path, key="b.json"), name="the other fetch")
    await eventually(lambda: any(fetch.key == "b.json" and any(fetch.inodes) for fetch in records(tmp_path)))
    inode = parts(tmp_path)[0].stat().st_ino
    discard(tmp_path, "a.json")
    assert parts(tmp_path)[0].stat().st_ino == inode
    await cancel_and_wait(going_on)
    discard(tmp_path, "b.json")
    assert listing(tmp_path) == [], "the last one takes it along"


async def test_who_gives_up_leaves_what_another_may_go_on_with(hub: TestHub, tmp_path: Path):
    await interrupted(hub, tmp_path, key="a.json")
    await interrupted(hub, tmp_path, key="b.json")
    discard(tmp_path, "a.json")
    assert parts(tmp_path)
    await bring(hub, tmp_path, key="b.json")
    assert (tmp_path / "model.gguf").read_bytes() == LARGE
    assert listing(tmp_path) == ["model.gguf"]


async def one_and_one_that_waits(hub: TestHub, folder: Path) -> list[asyncio.Task[list[Progress]]]:
    """`a.json` has most of the file, and `b.json` waits for it."""
    hub.file(REPO, "model.gguf").slow_bytes_per_s = 500_000
    first = create_task(bring(hub, folder, key="a.json"), name="the first fetch")
    await eventually(lambda: any(any(fetch.inodes) for fetch in records(folder)))
    second = create_task(bring(hub, folder, key="b.json"), name="the one that waits")
    await eventually(lambda: "b.json" in open_fetches(folder))
    await eventually(lambda: hub.bytes_sent("model.gguf") > len(LARGE) * 3 // 4)
    return [first, second]


async def test_who_waits_for_one_that_is_given_up_goes_on_with_what_it_brought(hub: TestHub, tmp_path: Path):
    first, second = await one_and_one_that_waits(hub, tmp_path)
    await cancel_and_wait(first)
    discard(tmp_path, "a.json")
    hub.file(REPO, "model.gguf").slow_bytes_per_s = None
    await second
    assert (tmp_path / "model.gguf").read_bytes() == LARGE
    assert listing(tmp_path) == ["model.gguf"]
    assert hub.bytes_sent("model.gguf") < WITH_LOSSES


async def test_who_waited_and_is_given_up_takes_along_what_the_other_left(hub: TestHub, tmp_path: Path):
    first, second = await one_and_one_that_waits(hub, tmp_path)
    await cancel_and_wait(second)
    await cancel_and_wait(first)
    assert not any(open_fetches(tmp_path)["b.json"].inodes), "it never opened the file"
    discard(tmp_path, "a.json")
    assert parts(tmp_path)
    discard(tmp_path, "b.json")
    assert listing(tmp_path) == []


async def test_two_that_are_given_up_at_once_leave_nothing_to_each_other(hub: TestHub, tmp_path: Path):
    await interrupted(hub, tmp_path, key="a.json")
    await interrupted(hub, tmp_path, key="b.json")
    await asyncio.gather(*(asyncio.to_thread(discard, tmp_path, f"{name}.json") for name in "ab"))
    assert listing(tmp_path) == []


async def test_who_wants_another_version_leaves_what_others_may_go_on_with(hub: TestHub, tmp_path: Path):
    await interrupted(hub, tmp_path, key="a.json")
    await interrupted(hub, tmp_path, key="b.json")
    hub.add_repo(REPO, {"model.gguf": LARGE, "other.gguf": b"GGUF other"})
    await bring(hub, tmp_path, remote(hub, "other.gguf", b"GGUF other"), key="a.json")
    assert parts(tmp_path)
    await bring(hub, tmp_path, key="b.json")
    assert listing(tmp_path) == ["model.gguf", "other.gguf"]
    assert hub.bytes_sent("model.gguf") < WITH_LOSSES


async def test_without_a_hash_nobody_goes_on_with_what_another_began(hub: TestHub, tmp_path: Path):
    """Nothing would tell if one of them lost what the other believes to be there."""
    file = RemoteFile("model.gguf", hub.direct_url(REPO, "model.gguf"))
    await interrupted(hub, tmp_path, file, key="a.json")
    with pytest.raises(FetchError) as caught:
        await bring(hub, tmp_path, file, key="b.json")
    assert (caught.value.code, caught.value.is_permanent) == ("in_the_way", False)
    await bring(hub, tmp_path, file, key="a.json")
    await bring(hub, tmp_path, file, key="b.json")
    assert (tmp_path / "model.gguf").read_bytes() == LARGE
    assert os.listdir(tmp_path) == ["model.gguf"]


async def test_a_new_file_with_the_number_of_one_that_is_gone_is_nobody_elses(
    hub: TestHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """File systems give the number of a removed file to the next one; here a record still has it."""
    other = Record(record_path(tmp_path, "other.json"), key="other.json")
    other.begin([Entry("other.gguf", len(LARGE), "0" * 64)], {})

    def noted(
        file: RemoteFile, part: Part, record: Record, decide: Callable[[], None]
    ) -> tuple[bool, Path | None]:
        def decide_then() -> None:
            other.owns("other.gguf", part.inode, [(0, len(LARGE))])
            decide()

        return take_turn(file, part, record, decide_then)

    monkeypatch.setattr(download, "take_turn", noted)
    await bring(hub, tmp_path)
    other.remove()
    assert (tmp_path / "model.gguf").read_bytes() == LARGE
    assert listing(tmp_path) == ["model.gguf"]
