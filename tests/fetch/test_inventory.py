"""What is there before a transfer begins, and what becomes of it."""

import hashlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from janagent.fetch.faults import FetchError
from janagent.fetch.plan import RemoteFile
from tests.fetch.hub import TestHub
from tests.fetch.transfers import LARGE, REPO, SMALL, bring, listing, remote

README = b"# What the repo says\n"


@pytest.fixture
async def hub() -> AsyncIterator[TestHub]:
    async with TestHub() as running:
        running.add_repo(REPO, {"model.gguf": LARGE, "README.md": README, "sub/note.txt": SMALL})
        yield running


def small(hub: TestHub, name: str = "README.md", content: bytes = README) -> RemoteFile:
    """A file that the hub keeps in git itself."""
    git_sha1 = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    url = f"{hub.url}/{REPO}/resolve/main/{name}"
    return RemoteFile(name, url, len(content), None, git_sha1, True)


async def test_a_readme_of_somebody_else_stays_and_the_model_comes(
    hub: TestHub, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "README.md").write_bytes(b"mine")
    with caplog.at_level(logging.WARNING):
        told = await bring(hub, tmp_path, small(hub), remote(hub))
    assert (tmp_path / "README.md").read_bytes() == b"mine"
    assert (tmp_path / "model.gguf").read_bytes() == LARGE
    assert listing(tmp_path) == ["README.md", "model.gguf"]
    assert "README.md is there already" in caplog.text
    assert "it stays as it is" in caplog.text
    assert told[-1].done_bytes == told[-1].total_bytes == len(LARGE)


@pytest.mark.parametrize("what", ["a folder", "a file for a folder"])
async def test_whatever_else_stands_where_a_side_file_would_go_is_left_alone(
    hub: TestHub, tmp_path: Path, what: str
):
    if what == "a folder":
        (tmp_path / "README.md").mkdir()
    else:
        (tmp_path / "sub").write_bytes(b"mine")
    before = listing(tmp_path)
    file = small(hub, "sub/note.txt", SMALL) if what == "a file for a folder" else small(hub)
    told = await bring(hub, tmp_path, file, remote(hub))
    assert listing(tmp_path) == sorted([*before, "model.gguf"])
    assert told[-1].done_bytes == told[-1].total_bytes


async def test_a_second_repo_in_the_same_folder_brings_its_model_and_not_its_readme(
    hub: TestHub, tmp_path: Path
):
    await bring(hub, tmp_path, small(hub), remote(hub))
    hub.add_repo(REPO, {"other.gguf": SMALL, "README.md": b"# Of the other one\n"})
    other = (small(hub, content=b"# Of the other one\n"), remote(hub, "other.gguf", SMALL))
    await bring(hub, tmp_path, *other, key="other.json")
    assert (tmp_path / "README.md").read_bytes() == README
    assert listing(tmp_path) == ["README.md", "model.gguf", "other.gguf"]


@pytest.mark.parametrize("name", ["model.gguf", "model.BIN"])
async def test_a_model_s_file_is_never_left_out(hub: TestHub, tmp_path: Path, name: str):
    hub.add_repo(REPO, {name: README})
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(FetchError) as caught:
        await bring(hub, tmp_path, small(hub, name))
    assert (caught.value.code, caught.value.is_permanent) == ("in_the_way", True)
    assert (tmp_path / name).read_bytes() == b"mine"
