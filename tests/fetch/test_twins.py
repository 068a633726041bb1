"""What another model of the same root has already is linked and not fetched again."""

import hashlib
import os
import random
from pathlib import Path

from janagent.fetch.cache import LEAST_BYTES, with_twins
from janagent.fetch.plan import RemoteFile
from tests.daemons import Daemon, until
from tests.fetch.hosting import REPO, big, tree
from tests.fetch.hub import TestHub

CONTENT = b"GGUF" + random.Random(7).randbytes(LEAST_BYTES)
FILE = RemoteFile(
    "m.gguf", "http://hub/m.gguf", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), is_hub=True
)


def twin_of(file: RemoteFile, models: Path, *, folder: str = "mine") -> Path | None:
    return with_twins([file], folder=models / folder, models=models)[0].cached


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_file_that_another_model_has_is_linked_and_stays_when_that_model_goes(
    online: Daemon, hub: TestHub, tmp_path: Path
) -> None:
    path = big(hub, tmp_path, bytes_per_s=40_000_000)
    first = online.drop("first", {"origin": REPO}) / "big.Q4_0.gguf"
    online.wait_state("first", "downloaded", "running")
    before = first.stat()
    second = online.drop("second", {"origin": REPO}) / "big.Q4_0.gguf"
    online.wait_state("second", "downloaded", "running")
    assert hub.bytes_sent("big.Q4_0.gguf") == path.stat().st_size
    assert (second.stat().st_ino, second.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert first.samefile(second), "never moved"
    assert online.call("DELETE", "/v1/models/first")[0] == 200
    until(lambda: tree(online.models) == ["second/big.Q4_0.gguf", "second/second.json"])
    assert second.read_bytes() == path.read_bytes()
    assert online.wait_state("second", "downloaded", "running")["size_bytes"] == path.stat().st_size


def test_a_twin_is_told_by_its_content_and_not_by_its_length_or_name(tmp_path: Path) -> None:
    put(tmp_path / "a" / "m.gguf", CONTENT[:-1] + b"x")
    assert twin_of(FILE, tmp_path) is None
    right = put(tmp_path / "z" / "deep" / "other name", CONTENT)
    assert twin_of(FILE, tmp_path) == right


def test_unfinished_and_hidden_files_links_and_small_ones_are_no_twins(tmp_path: Path) -> None:
    put(tmp_path / "a" / "m.gguf.part", CONTENT)
    kept = put(tmp_path / ".janagent" / "bin" / "m.gguf", CONTENT)
    (tmp_path / "a" / "link.gguf").symlink_to(kept)
    assert twin_of(FILE, tmp_path) is None
    put(tmp_path / "b" / "small.gguf", b"GGUF")
    small = RemoteFile("m.gguf", "http://hub/m.gguf", 4, hashlib.sha256(b"GGUF").hexdigest(), is_hub=True)
    assert twin_of(small, tmp_path) is None


def test_nothing_is_read_for_a_file_that_is_in_its_place(tmp_path: Path) -> None:
    put(tmp_path / "a" / "m.gguf", CONTENT)
    put(tmp_path / "mine" / "m.gguf", b"whatever it is")
    assert twin_of(FILE, tmp_path) is None
    os.unlink(tmp_path / "mine" / "m.gguf")
    assert twin_of(FILE, tmp_path) == tmp_path / "a" / "m.gguf"
