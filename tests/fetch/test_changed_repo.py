"""A repo that changes between two tries: what the first one had placed is replaced, and nothing else."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from janagent.aio import cancel_and_wait, create_task
from janagent.fetch.faults import FetchError
from janagent.fetch.plan import RemoteFile
from tests.fetch.hub import TestHub
from tests.fetch.transfers import LARGE, REPO, bring, eventually, listing, remote

FIRST = {"README.md": b"# first\n", "a.gguf": b"GGUF first", "model.gguf": LARGE}
SECOND = {"README.md": b"# second\n", "a.gguf": b"GGUF second", "model.gguf": LARGE}
NAMES = sorted(FIRST)


@pytest.fixture
async def hub() -> AsyncIterator[TestHub]:
    async with TestHub() as running:
        yield running


def files(hub: TestHub, contents: dict[str, bytes]) -> list[RemoteFile]:
    hub.add_repo(REPO, contents)
    readme = contents["README.md"]
    git_sha1 = hashlib.sha1(b"blob %d\0" % len(readme) + readme, usedforsecurity=False).hexdigest()
    url = f"{hub.url}/{REPO}/resolve/main/README.md"
    small = RemoteFile("README.md", url, len(readme), None, git_sha1, True)
    return [small, *(remote(hub, name, contents[name]) for name in ("a.gguf", "model.gguf"))]


async def interrupted(hub: TestHub, folder: Path, *, key: str = "m.json") -> None:
    """The small files are in place, the large one is not."""
    wanted = files(hub, FIRST)
    hub.file(REPO, "model.gguf").slow_bytes_per_s = 100_000
    fetching = create_task(bring(hub, folder, *wanted, key=key), name="to be interrupted")
    memories = folder / ".janagent" / "fetched"
    await eventually(lambda: any('"a.gguf"' in path.read_text() for path in memories.glob("*.json")))
    await eventually(lambda: (folder / "README.md").exists())
    await cancel_and_wait(fetching)


async def test_what_an_interrupted_fetch_placed_of_an_earlier_version_is_replaced(
    hub: TestHub, tmp_path: Path
):
    await interrupted(hub, tmp_path)
    await bring(hub, tmp_path, *files(hub, SECOND))
    assert {name: (tmp_path / name).read_bytes() for name in NAMES} == SECOND
    assert listing(tmp_path) == NAMES


async def test_what_a_person_put_in_its_place_is_not(hub: TestHub, tmp_path: Path):
    await interrupted(hub, tmp_path)
    (tmp_path / "a.gguf").unlink()
    (tmp_path / "a.gguf").write_bytes(b"GGUF mine")
    (tmp_path / "README.md").write_bytes(b"# mine\n")
    with pytest.raises(FetchError) as caught:
        await bring(hub, tmp_path, *files(hub, SECOND))
    assert caught.value.code == "in_the_way"
    assert (tmp_path / "a.gguf").read_bytes() == b"GGUF mine"
    assert (tmp_path / "README.md").read_bytes() == b"# mine\n"


async def test_what_another_model_wanted_too_is_not(hub: TestHub, tmp_path: Path):
    await interrupted(hub, tmp_path)
    await bring(hub, tmp_path, *files(hub, FIRST), key="other.json")
    with pytest.raises(FetchError) as caught:
        await bring(hub, tmp_path, *files(hub, SECOND))
    assert caught.value.code == "in_the_way"
    assert (tmp_path / "a.gguf").read_bytes() == FIRST["a.gguf"]
