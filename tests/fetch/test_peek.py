"""The first bytes of a remote file, and a choice that is made by them."""

from pathlib import Path

import pytest

from janagent.children.wire import FetchSpec
from janagent.fetch.client import Auth
from janagent.fetch.faults import FetchError
from janagent.fetch.hub import Hub
from janagent.fetch.importers import make_plan
from janagent.fetch.peek import HEADER_BYTES, beginning, header_of
from janagent.fetch.plan import RemoteFile
from tests.fetch.hub import TestHub
from tests.gguf_files import write_model

REPO = "owner/tiny-GGUF"


def padded(path: Path, size_bytes: int, *, layers: int = 1) -> Path:
    """A real model with so many bytes behind it."""
    write_model(path, layers=layers)
    with path.open("r+b") as file:
        file.truncate(size_bytes)
    return path


async def remote(hub: TestHub, name: str = "m.Q4_0.gguf") -> RemoteFile:
    files = {file.name: file for file in await Hub(hub.url).repo_files(REPO)}
    return files[name]


@pytest.mark.parametrize("ignores_range", [False, True])
async def test_a_header_is_read_from_the_first_bytes_alone(tmp_path: Path, ignores_range: bool) -> None:
    path = padded(tmp_path / "m", 60_000_000, layers=3)
    async with TestHub() as hub:
        hub.add_repo(REPO, {"m.Q4_0.gguf": path})
        hub.file(REPO, "m.Q4_0.gguf").ignore_range = ignores_range
        header = await header_of(await remote(hub), auth=Auth())
        sent = hub.bytes_sent("m.Q4_0.gguf")
    assert header is not None
    assert (header.block_count, header.head_count_kv, header.embedding_length) == (3, 2, 64)
    assert sent <= (20_000_000 if ignores_range else HEADER_BYTES)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"<html>", b"GGUF" + b"\xff" * 5000])
async def test_what_is_no_header_is_none(content: bytes) -> None:
    async with TestHub() as hub:
        hub.add_repo(REPO, {"m.Q4_0.gguf": content})
        assert await header_of(await remote(hub), auth=Auth()) is None


async def test_a_server_in_trouble_gives_no_header_and_no_error(tmp_path: Path) -> None:
    async with TestHub() as hub:
        hub.add_repo(REPO, {"m.Q4_0.gguf": padded(tmp_path / "m", 1_000_000)})
        hub.file(REPO, "m.Q4_0.gguf").fail_status = 503
        file = await remote(hub)
        assert await header_of(file, auth=Auth()) is None
        with pytest.raises(FetchError):
            await beginning(file, auth=Auth(), limit_bytes=10)


def spec(hub: TestHub, folder: Path, *, ram_bytes: int, n_parallel: int) -> FetchSpec:
    return FetchSpec(
        key="m.json",
        model_id="m",
        folder=str(folder),
        record_path=str(folder / "r"),
        origin=REPO,
        import_format="thebloke",
        hub_endpoint=hub.url,
        ram_bytes=ram_bytes,
        ctx_len=4096,
        n_parallel=n_parallel,
    )


async def test_the_choice_counts_the_cache_of_the_model_s_own_dimensions(tmp_path: Path) -> None:
    """Its header says 400 layers of 128 bytes a token: the cache of one conversation takes 210 MB."""
    large = padded(tmp_path / "a", 40_000_000, layers=400)
    small = padded(tmp_path / "b", 8_000_000, layers=400)
    async with TestHub() as hub:
        hub.add_repo(REPO, {"m.Q4_K_M.gguf": large, "m.Q2_K.gguf": small})
        one = await make_plan(spec(hub, tmp_path, ram_bytes=400_000_000, n_parallel=1), Hub(hub.url))
        four = await make_plan(spec(hub, tmp_path, ram_bytes=400_000_000, n_parallel=4), Hub(hub.url))
        sent = hub.bytes_sent("m.Q4_K_M.gguf"), hub.bytes_sent("m.Q2_K.gguf")
    assert sent == (2 * HEADER_BYTES, 0), "asked is what is fetched most likely"
    assert [file.name for file in one.files] == ["m.Q4_K_M.gguf"]
    assert [file.name for file in four.files] == ["m.Q2_K.gguf"]
    assert "4 x 4096 tokens" not in one.note
    assert "may not fit" in four.note
