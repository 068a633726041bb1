"""Whole transfers against a hub on loopback that misbehaves."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from janagent.fetch.faults import FetchError
from janagent.fetch.plan import RemoteFile
from janagent.fetch.transfer import Limits, pause_s
from tests.fetch.hub import TestHub
from tests.fetch.transfers import (
    IMPATIENT,
    LARGE,
    QUICK,
    REPO,
    SMALL,
    bring,
    interrupted,
    listing,
    parts,
    remote,
)


@pytest.fixture
async def hub() -> AsyncIterator[TestHub]:
    async with TestHub() as running:
        running.add_repo(REPO, {"model.gguf": LARGE, "sub/note.txt": SMALL, "empty": b""})
        yield running


async def test_files_arrive_whole_with_nothing_left_beside_them(hub: TestHub, tmp_path: Path):
    files = (remote(hub), remote(hub, "sub/note.txt", SMALL), remote(hub, "empty", b""))
    told = await bring(hub, tmp_path, *files)
    assert (tmp_path / "model.gguf").read_bytes() == LARGE
    assert (tmp_path / "sub/note.txt").read_bytes() == SMALL
    assert (tmp_path / "empty").read_bytes() == b""
    assert listing(tmp_path) == ["empty", "model.gguf", "sub", "sub/note.txt"]
    assert (told[-1].done_bytes, told[-1].total_bytes, told[-1].files) == (len(LARGE + SMALL),) * 2 + (3,)
    assert 1 < hub.most_connections <= 2 * QUICK.connections


async def test_what_is_there_and_right_is_not_fetched(hub: TestHub, tmp_path: Path):
    (tmp_path / "model.gguf").write_bytes(LARGE)
    await bring(hub, tmp_path)
    assert hub.requests == []
    assert listing(tmp_path) == ["model.gguf"]


async def test_another_file_of_that_name_is_never_overwritten(hub: TestHub, tmp_path: Path):
    mine = bytes(len(LARGE))
    (tmp_path / "model.gguf").write_bytes(mine)
    with pytest.raises(FetchError) as caught:
        await bring(hub, tmp_path)
    assert caught.value.code == "in_the_way"
    assert (tmp_path / "model.gguf").read_bytes() == mine


async def test_the_token_is_shown_to_the_hub_alone(hub: TestHub, tmp_path: Path):
    await bring(hub, tmp_path, token="hf_secret")
    seen = {(r.host, "hf_secret" in r.headers.get("authorization", "")) for r in hub.requests}
    assert seen == {("hub", True), ("cdn", False)}


async def test_a_server_that_ignores_range_is_read_from_the_beginning(hub: TestHub, tmp_path: Path):
    hub.file(REPO, "model.gguf").ignore_range = True
    await bring(hub, tmp_path)
    assert (tmp_path / "model.gguf").read_bytes() == LARGE


async def test_a_wrong_hash_gives_no_file_its_name(hub: TestHub, tmp_path: Path):
    with pytest.raises(FetchError) as caught:
        await bring(hub, tmp_path, remote(hub, content=bytes(len(LARGE))))
    assert (caught.value.code, caught.value.is_permanent) == ("wrong_hash", True)
    assert not (tmp_path / "model.gguf").exists()
    assert not parts(tmp_path)


async def test_a_wrong_length_is_noticed_before_the_first_byte(hub: TestHub, tmp_path: Path):
    with pytest.raises(FetchError) as caught:
        await bring(hub, tmp_path, remote(hub, content=LARGE[1:]))
    assert caught.value.code == "wrong_length"
    assert not (tmp_path / "model.gguf").exists()


async def test_a_missing_file_is_said_to_be_missing(hub: TestHub, tmp_path: Path):
    with pytest.raises(FetchError) as caught:
        await bring(hub, tmp_path, remote(hub, "other.gguf"))
    assert (caught.value.code, caught.value.is_permanent) == ("file_not_found", True)
    assert not parts(tmp_path, "other.gguf"), "nothing came, so there is nothing to go on with"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4000\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><title>Sign in</title>", "web page"),
        (b"", "empty"),
    ],
)
@pytest.mark.parametrize("has_hash", [False, True])
async def test_what_people_get_in_place_of_a_model_does_not_get_its_name(
    hub: TestHub, tmp_path: Path, content: bytes, words: str, has_hash: bool
):
    hub.add_repo(REPO, {"model.gguf": content})
    direct = RemoteFile("model.gguf", hub.direct_url(REPO, "model.gguf"))
    with pytest.raises(FetchError, match=words) as caught:
        await bring(hub, tmp_path, remote(hub, content=content) if has_hash else direct)
    assert (caught.value.code, caught.value.is_permanent) == ("not_a_model", True)
    assert not list(tmp_path.glob("model*"))


async def test_a_link_out_of_the_folder_is_not_followed(hub: TestHub, tmp_path: Path):
    folder, outside = tmp_path / "m", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    os.symlink(outside, folder / "sub")
    with pytest.raises(FetchError) as caught:
        await bring(hub, folder, remote(hub, "sub/note.txt", SMALL))
    assert caught.value.code == "unsafe_name"
    assert list(outside.iterdir()) == []


async def test_a_part_of_somebody_else_is_left_alone(hub: TestHub, tmp_path: Path):
    (tmp_path / "model.gguf.part").write_bytes(b"a browser's")
    await bring(hub, tmp_path)
    assert (tmp_path / "model.gguf.part").read_bytes() == b"a browser's"
    assert listing(tmp_path) == ["model.gguf", "model.gguf.part"]


@pytest.mark.parametrize(
    ("tries", "asked_s", "least_s", "most_s"),
    [(1, None, 0.25, 0.5), (3, None, 1.0, 2.0), (99, None, 10.0, 20.0), (1, 60.0, 60.0, 66.0)],
)
def test_those_who_were_turned_away_together_do_not_come_back_together(
    tries: int, asked_s: float | None, least_s: float, most_s: float
):
    pauses = [pause_s(Limits(), tries, asked_s=asked_s) for _ in range(1000)]
    assert least_s <= min(pauses) < max(pauses) <= most_s
    assert max(pauses) - min(pauses) > 0.9 * (most_s - least_s)


async def test_a_server_that_answers_416_is_given_up(hub: TestHub, tmp_path: Path):
    hosted = hub.file(REPO, "model.gguf")
    hosted.fail_status, hosted.fail_times = 416, None
    with pytest.raises(FetchError) as caught:
        async with asyncio.timeout(30):
            await bring(hub, tmp_path)
    assert caught.value.code == "changed"
    assert len(hub.requests) < 40


async def test_a_file_that_was_damaged_between_two_tries_is_fetched_anew(hub: TestHub, tmp_path: Path):
    await interrupted(hub, tmp_path, begin_bytes=1 << 20)
    part = parts(tmp_path)[0]
    with part.open("r+b") as file:
        is_first_block_there = file.read(1 << 20) == LARGE[: 1 << 20]
        assert is_first_block_there, "its damage matters"
        file.seek(0)
        file.write(b"damage")
    told = await bring(hub, tmp_path)
    assert told[0].done_bytes > 0
    assert (tmp_path / "model.gguf").read_bytes() == LARGE


async def test_a_busy_server_is_asked_again_after_the_time_it_names(hub: TestHub, tmp_path: Path):
    hosted = hub.file(REPO, "model.gguf")
    hosted.fail_status, hosted.fail_times, hosted.retry_after_s = 429, 1, 1
    began = asyncio.get_running_loop().time()
    await bring(hub, tmp_path)
    assert asyncio.get_running_loop().time() - began >= 1
    assert (tmp_path / "model.gguf").read_bytes() == LARGE


@pytest.mark.parametrize(("status", "code"), [(429, "rate_limited"), (503, "server_error")])
async def test_a_server_that_stays_in_trouble_is_given_up_for_now(
    hub: TestHub, tmp_path: Path, status: int, code: str
):
    hosted = hub.file(REPO, "model.gguf")
    hosted.fail_status, hosted.retry_after_s = status, 60
    with pytest.raises(FetchError) as caught:
        await bring(hub, tmp_path)
    assert (caught.value.code, caught.value.is_permanent) == (code, False)
    assert caught.value.retry_after_s == 60


async def test_a_peer_that_sends_nothing_any_more_is_left(hub: TestHub, tmp_path: Path):
    hub.file(REPO, "model.gguf").stall_after_bytes = 0
    with pytest.raises(FetchError) as caught:
        await bring(hub, tmp_path, limits=IMPATIENT)
    assert (caught.value.code, caught.value.is_permanent) == ("stalled", False)


async def test_the_next_fetch_goes_on_where_the_last_gave_up(hub: TestHub, tmp_path: Path):
    await interrupted(hub, tmp_path)
    assert parts(tmp_path)
    told = await bring(hub, tmp_path)
    assert told[0].done_bytes > 0
    assert (tmp_path / "model.gguf").read_bytes() == LARGE


async def test_a_part_that_became_shorter_between_two_tries_is_fetched_anew(hub: TestHub, tmp_path: Path):
    await interrupted(hub, tmp_path)
    os.truncate(parts(tmp_path)[0], 100_000)
    await bring(hub, tmp_path)
    assert (tmp_path / "model.gguf").read_bytes() == LARGE
    assert listing(tmp_path) == ["model.gguf"]


async def test_what_is_no_longer_wanted_does_not_stay(hub: TestHub, tmp_path: Path):
    await interrupted(hub, tmp_path)
    assert parts(tmp_path)
    await bring(hub, tmp_path, remote(hub, "sub/note.txt", SMALL))
    assert listing(tmp_path) == ["sub", "sub/note.txt"]
