"""Files of the hub's local cache: linked, else copied, verified in any case, and never changed."""

import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from janagent.children.wire import ExitCode, Fetched
from janagent.fetch.cache import blob, copy, link
from janagent.fetch.client import Auth
from janagent.fetch.hub import Hub
from janagent.fetch.plan import RemoteFile
from janagent.fetch.record import Record
from janagent.fetch.transfer import Progress, transfer
from tests.fetch.fetchers import finished, start
from tests.fetch.hub import TestHub

REPO = "owner/repo"
CONTENT = b"GGUF" + random.Random(5).randbytes(9_000_001)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER_DISK = Path("/dev/shm")
PLACES = ["same disk", "other disk"] if sys.platform.startswith("linux") else ["same disk"]


@pytest.fixture(params=PLACES)
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A cache that has the file, on the disk of the models or on another one."""
    parent = tmp_path if request.param == "same disk" else OTHER_DISK
    place = Path(tempfile.mkdtemp(dir=parent))
    put(place, CONTENT)
    yield place
    shutil.rmtree(place)


def put(cache: Path, content: bytes, *, name: str = SHA256) -> Path:
    path = cache / "models--owner--repo" / "blobs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


async def bring(cache: Path, folder: Path, *, content: bytes = CONTENT) -> tuple[int, list[Progress]]:
    """Fetch the file; returns how many of its bytes came over the network, and what was told."""
    folder.mkdir(exist_ok=True)
    told: list[Progress] = []
    async with TestHub() as hub:
        hub.add_repo(REPO, {"m.gguf": content})
        files = await Hub(hub.url, cache=cache).repo_files(REPO)
        record = Record(folder / ".janagent" / "fetch" / "m.json", key="m.json")
        await transfer(files, folder=folder, record=record, auth=Auth(), told=told.append)
        return hub.bytes_sent("m.gguf"), told


async def test_what_is_cached_comes_from_there(cache: Path, tmp_path: Path) -> None:
    sent, told = await bring(cache, tmp_path / "models")
    target = tmp_path / "models" / "m.gguf"
    assert (sent, target.read_bytes()) == (0, CONTENT)
    assert os.listdir(target.parent) == ["m.gguf"]
    assert (told[-1].done_bytes, told[-1].total_bytes) == (len(CONTENT), len(CONTENT))
    kept = put_path(cache)
    assert kept.read_bytes() == CONTENT, "never moved"
    assert target.samefile(kept) == (kept.stat().st_dev == target.stat().st_dev)


def put_path(cache: Path) -> Path:
    return cache / "models--owner--repo" / "blobs" / SHA256


@pytest.mark.parametrize("damage", [b"X" + CONTENT[1:], CONTENT[:-1], b""])
async def test_what_is_damaged_there_is_fetched_and_stays_as_it_is(
    cache: Path, tmp_path: Path, damage: bytes
) -> None:
    path = put(cache, damage)
    sent, _ = await bring(cache, tmp_path / "models")
    assert (tmp_path / "models" / "m.gguf").read_bytes() == CONTENT
    assert sent >= len(CONTENT)
    assert path.read_bytes() == damage


async def test_another_version_in_the_cache_is_not_taken(cache: Path, tmp_path: Path) -> None:
    sent, _ = await bring(cache, tmp_path / "models", content=CONTENT + b"!")
    assert sent == len(CONTENT) + 1


def test_a_link_never_takes_the_place_of_a_file_and_a_file_without_a_hash_is_not_taken(
    tmp_path: Path,
) -> None:
    path = put(tmp_path, CONTENT)
    file = RemoteFile("m.gguf", "", len(CONTENT), SHA256, cached=path)
    (taken := tmp_path / "m.gguf").write_bytes(b"mine")
    assert not link(file, taken)
    assert taken.read_bytes() == b"mine"
    assert not link(replace(file, sha256=None), tmp_path / "free.gguf")
    assert not link(replace(file, cached=tmp_path / "gone"), tmp_path / "free.gguf")
    assert link(file, tmp_path / "free.gguf")


def test_a_copy_is_whole(tmp_path: Path) -> None:
    path = put(tmp_path, CONTENT)
    with (tmp_path / "copy").open("w+b") as into:
        assert copy(RemoteFile("m.gguf", "", len(CONTENT), SHA256, cached=path), into.fileno())
        assert not copy(RemoteFile("m.gguf", "", len(CONTENT), SHA256), into.fileno())
    assert (tmp_path / "copy").read_bytes() == CONTENT


def test_only_a_regular_file_of_that_very_name_is_a_blob(tmp_path: Path) -> None:
    path = put(tmp_path, CONTENT)
    assert blob(tmp_path, REPO, SHA256) == path
    assert blob(tmp_path, "owner/other", SHA256) is None
    assert blob(tmp_path, REPO, None) is None
    assert blob(tmp_path, REPO, "../blobs/" + SHA256) is None
    path.with_name("a" * 64).symlink_to(path)
    assert blob(tmp_path, REPO, "a" * 64) is None
    put(tmp_path, CONTENT, name=f"{SHA256}.incomplete")
    assert blob(tmp_path, REPO, f"{SHA256}.incomplete") is None


def test_what_the_hub_s_own_library_has_cached_is_not_fetched(tmp_path: Path) -> None:
    """The library itself puts it there, from the same hub."""
    (folder := tmp_path / "models").mkdir()
    home = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    download = "import sys; from huggingface_hub import hf_hub_download as get; get(*sys.argv[1:])"
    with TestHub() as hub:
        hub.add_repo(REPO, {"model.gguf": CONTENT, "note.txt": b"small"})
        for name in ("model.gguf", "note.txt"):
            command = [sys.executable, "-c", download, REPO, name]
            subprocess.run(
                command, env={**os.environ, **home, "HF_ENDPOINT": hub.url}, check=True, timeout=60
            )
        cached = (tmp_path / "home/hub/models--owner--repo/snapshots").glob("*/model.gguf")
        (blob,) = [path.resolve() for path in cached]
        before = hub.bytes_sent("model.gguf"), hub.bytes_sent("note.txt")
        code, lines = finished(*start(hub, folder, env=home, origin=REPO, files=("model.gguf", "note.txt")))
        assert (hub.bytes_sent("model.gguf"), hub.bytes_sent("note.txt")) == before
    assert code == ExitCode.OK
    assert isinstance(lines[-1], Fetched)
    assert (folder / "model.gguf").samefile(blob)
    assert blob.read_bytes() == CONTENT
    assert sorted(os.listdir(folder)) == [".janagent", "m.json", "model.gguf", "note.txt"]
