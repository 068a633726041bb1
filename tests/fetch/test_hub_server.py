"""The hub of the tests against the real huggingface_hub, and its misbehaviour against a plain client."""

import asyncio
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import aiohttp
import pytest
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.fetch.hub import TestHub

REPO = "owner/repo"
BIG = os.urandom(3_000_000)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[TestHub]:
    big = tmp_path / "big"
    big.write_bytes(BIG)
    with TestHub() as running:
        running.add_repo(REPO, {"model.gguf": big, "README.md": b"hello", "sub/config.json": b"{}"})
        yield running


def test_model_info_has_sizes_hashes_and_the_commit(hub: TestHub) -> None:
    info = HfApi(endpoint=hub.url, token=False).model_info(REPO, files_metadata=True)
    assert info.sha is not None
    assert len(info.sha) == 40
    found = {one.rfilename: one for one in info.siblings or []}
    assert found["model.gguf"].size == len(BIG)
    assert found["model.gguf"].lfs is not None
    assert found["model.gguf"].lfs.sha256 == hashlib.sha256(BIG).hexdigest()
    assert found["README.md"].lfs is None
    # What `git hash-object` says of the five bytes "hello".
    assert found["README.md"].blob_id == "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"


def test_the_tree_is_listed_flat_and_deep(hub: TestHub) -> None:
    api = HfApi(endpoint=hub.url, token=False)
    assert {one.path for one in api.list_repo_tree(REPO)} == {"model.gguf", "README.md", "sub"}
    deep = {one.path for one in api.list_repo_tree(REPO, recursive=True)}
    assert deep == {"model.gguf", "README.md", "sub", "sub/config.json"}


@pytest.mark.parametrize(("name", "content"), [("README.md", b"hello"), ("model.gguf", BIG)])
def test_hf_hub_download_brings_small_and_large_files(
    hub: TestHub, tmp_path: Path, name: str, content: bytes
) -> None:
    path = hf_hub_download(REPO, name, endpoint=hub.url, cache_dir=tmp_path / "cache", token="hf_abc")
    assert Path(path).read_bytes() == content
    carriers = [one for one in hub.requests if one.bytes_sent]
    assert [one.host for one in carriers] == ["cdn" if name == "model.gguf" else "hub"]
    assert hub.bytes_sent(name) == len(content)
    assert all("authorization" not in one.headers for one in hub.requests if one.host == "cdn")
    assert any(one.headers.get("authorization") == "Bearer hf_abc" for one in hub.requests)


def test_a_revision_is_found_by_name_and_by_commit(hub: TestHub) -> None:
    api = HfApi(endpoint=hub.url, token=False)
    commit = hub.add_repo(REPO, {"other.gguf": b"other"}, revision="v2")
    for revision in ("v2", commit):
        info = api.model_info(REPO, revision=revision)
        assert info.sha == commit
        assert [one.rfilename for one in info.siblings or []] == ["other.gguf"]
    with pytest.raises(RevisionNotFoundError):
        api.model_info(REPO, revision="v3")


def test_what_is_not_there_is_told_apart(hub: TestHub, tmp_path: Path) -> None:
    with pytest.raises(RepositoryNotFoundError):
        HfApi(endpoint=hub.url, token=False).model_info("owner/none")
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(REPO, "none.gguf", endpoint=hub.url, cache_dir=tmp_path / "cache", token=False)


@pytest.mark.parametrize(("token", "status"), [(False, 401), ("wrong", 403)])
def test_a_gated_repo_shows_its_list_and_refuses_its_files(
    hub: TestHub, tmp_path: Path, token: str | bool, status: int
) -> None:
    hub.add_repo("owner/gated", {"model.gguf": b"gated"}, gated=True, private_token="right")
    assert HfApi(endpoint=hub.url, token=token).model_info("owner/gated").gated == "auto"
    with pytest.raises(GatedRepoError) as refused:
        hf_hub_download(
            "owner/gated", "model.gguf", endpoint=hub.url, cache_dir=tmp_path / "cache", token=token
        )
    assert refused.value.response.status_code == status
    path = hf_hub_download(
        "owner/gated", "model.gguf", endpoint=hub.url, cache_dir=tmp_path / "cache", token="right"
    )
    assert Path(path).read_bytes() == b"gated"


def test_a_private_repo_needs_its_token(hub: TestHub) -> None:
    hub.add_repo("owner/private", {"model.gguf": b"private"}, private_token="right")
    with pytest.raises(RepositoryNotFoundError):
        HfApi(endpoint=hub.url, token=False).model_info("owner/private")
    assert HfApi(endpoint=hub.url, token="right").model_info("owner/private").private


async def _get(url: str, **headers: str) -> tuple[int, bytes, Mapping[str, str]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession() as session, session.get(url, headers=named) as answer:
        return answer.status, await answer.read(), answer.headers


@pytest.mark.parametrize(
    ("asked", "part"),
    [("bytes=10-19", (10, 20)), ("bytes=2999990-", (2999990, 3000000)), ("bytes=-5", (2999995, 3000000))],
)
async def test_ranges_are_served(hub: TestHub, asked: str, part: tuple[int, int]) -> None:
    status, body, headers = await _get(hub.direct_url(REPO, "model.gguf"), Range=asked)
    assert status == 206
    assert body == BIG[slice(*part)]
    assert headers["Content-Range"] == f"bytes {part[0]}-{part[1] - 1}/{len(BIG)}"


async def test_a_range_behind_the_end_and_one_of_another_version(hub: TestHub) -> None:
    url = hub.direct_url(REPO, "model.gguf")
    assert (await _get(url, Range="bytes=3000000-"))[0] == 416
    assert hub.requests[-1].status == 416
    status, body, _ = await _get(url, Range="bytes=5-9", If_Range='"another"')
    assert (status, len(body)) == (200, len(BIG))
    hub.file(REPO, "model.gguf").ignore_range = True
    assert (await _get(url, Range="bytes=5-9"))[0] == 200


async def test_connections_are_cut_as_often_as_asked(hub: TestHub) -> None:
    file = hub.file(REPO, "model.gguf")
    file.cut_after_bytes, file.cut_times = 1000, 1
    url = hub.direct_url(REPO, "model.gguf")
    with pytest.raises(aiohttp.ClientPayloadError):
        await _get(url)
    assert hub.requests[-1].bytes_sent == 1000
    assert (await _get(url))[1] == BIG


async def test_failures_come_as_often_as_asked_and_say_when_to_retry(hub: TestHub) -> None:
    file = hub.file(REPO, "model.gguf")
    file.fail_status, file.fail_times, file.retry_after_s = 503, 2, 7
    url = hub.direct_url(REPO, "model.gguf")
    answers = [await _get(url) for _ in range(3)]
    assert [status for status, _, _ in answers] == [503, 503, 200]
    assert answers[0][2]["Retry-After"] == "7"


async def test_a_stalled_answer_sends_nothing_more(hub: TestHub) -> None:
    hub.file(REPO, "model.gguf").stall_after_bytes = 1000
    async with (
        aiohttp.ClientSession() as session,
        session.get(hub.direct_url(REPO, "model.gguf")) as answer,
    ):
        assert len(await answer.content.readexactly(1000)) == 1000
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(answer.content.read(1), 0.3)


async def test_a_lie_about_the_length_is_noticed_by_the_client(hub: TestHub) -> None:
    hub.file(REPO, "model.gguf").lie_length = 10
    with pytest.raises(aiohttp.ClientPayloadError):
        await _get(hub.direct_url(REPO, "model.gguf"))


async def test_a_file_changes_half_way_with_its_etag(hub: TestHub) -> None:
    file = hub.file(REPO, "model.gguf")
    before = file.storage_etag
    file.change_after_bytes, file.new_content = 1_000_000, b"new"
    url = hub.direct_url(REPO, "model.gguf")
    with pytest.raises(aiohttp.ClientPayloadError):
        await _get(url)
    assert hub.requests[-1].bytes_sent == 1_000_000
    status, body, headers = await _get(url, Range="bytes=1-", If_Range=before)
    assert (status, body) == (200, b"new")
    assert headers["ETag"] != before


async def test_it_runs_on_the_loop_of_an_async_test_too() -> None:
    async with TestHub() as hub:
        hub.add_repo(REPO, {"empty.gguf": b""})
        status, body, _ = await _get(f"{hub.url}/{REPO}/resolve/main/empty.gguf")
        assert (status, body) == (200, b"")
        assert [one.host for one in hub.requests] == ["hub", "cdn"]
        assert hub.most_connections == 2
