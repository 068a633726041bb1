import json
import os
from pathlib import Path

import pytest

from janagent.fetch.record import BLOCK_BYTES, Entry, Record

MB = BLOCK_BYTES


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".janagent" / "fetch" / "abc.json"


def begun(path: Path, *entries: Entry) -> Record:
    record = Record(path, key="m/m.json")
    record.begin(entries, {})
    return record


def read(path: Path) -> dict[str, Entry]:
    return dict(Record(path, key="m/m.json").read())


def test_what_is_marked_is_read_by_the_next(path: Path):
    record = begun(path, Entry("a.gguf", size_bytes=5 * MB + 7, sha256="ab", etag='"1"'), Entry("sub/b.txt"))
    record.mark("a.gguf", 0, 2 * MB)
    record.mark("a.gguf", 4 * MB, 5 * MB + 7)
    entry = read(path)["a.gguf"]
    assert list(entry.done()) == [(0, 2 * MB), (4 * MB, 5 * MB + 7)]
    assert (entry.size_bytes, entry.sha256, entry.etag) == (5 * MB + 7, "ab", '"1"')
    assert list(read(path)["sub/b.txt"].done()) == []


def test_a_block_counts_once_it_is_whole(path: Path):
    record = begun(path, Entry("a", size_bytes=3 * MB))
    record.mark("a", 10, 2 * MB - 1)
    assert list(read(path)["a"].done()) == []
    record.mark("a", 10, 2 * MB)
    assert list(read(path)["a"].done()) == [(MB, 2 * MB)]


def test_the_daemon_reads_key_and_names_at_every_moment(path: Path):
    record = begun(path, Entry("ä b.gguf", size_bytes=2 * MB), Entry("c", size_bytes=0))
    for step in (
        lambda: record.mark("ä b.gguf", 0, MB),
        lambda: record.restart("ä b.gguf", size_bytes=9 * MB, etag="W/x"),
        lambda: record.mark("ä b.gguf", 0, 9 * MB),
        lambda: record.placed("c"),
    ):
        step()
        said = json.loads(path.read_bytes())
        assert said["key"] == "m/m.json"
        assert [file["name"] for file in said["files"]] == ["ä b.gguf", "c"]
    assert list(read(path)["ä b.gguf"].done()) == [(0, 9 * MB)]
    assert read(path)["c"].is_placed
    assert not read(path)["ä b.gguf"].is_placed


def test_a_restart_forgets_what_was_there(path: Path):
    record = begun(path, Entry("a", size_bytes=2 * MB, etag='"1"'))
    record.mark("a", 0, 2 * MB)
    record.restart("a", size_bytes=3 * MB, etag='"2"')
    assert list(read(path)["a"].done()) == []
    assert read(path)["a"].etag == '"2"'


def test_whose_part_it_is_is_noted_in_place(path: Path):
    """Of a thousand files each one would write down all the others."""
    record = begun(path, Entry("a", size_bytes=3 * MB), Entry("b"), Entry("c", size_bytes=1))
    size_bytes, inode = path.stat().st_size, path.stat().st_ino
    record.owns("a", 2**64 - 1, [(0, MB)])
    record.owns("c", 7, [])
    record.mark("a", 2 * MB, 3 * MB)
    record.placed("c")
    assert (path.stat().st_size, path.stat().st_ino) == (size_bytes, inode)
    entries = read(path)
    assert [entry.inode for entry in entries.values()] == [2**64 - 1, None, 7]
    assert list(entries["a"].done()) == [(0, MB), (2 * MB, 3 * MB)]
    assert entries["c"].is_placed
    record.owns("a", 8, [])
    assert (read(path)["a"].inode, list(read(path)["a"].done())) == (8, [])


def test_what_an_earlier_fetch_brought_is_carried_over(path: Path):
    record = Record(path, key="m/m.json")
    record.begin([Entry("a", size_bytes=4 * MB)], {"a": [(MB, 3 * MB)]})
    assert list(read(path)["a"].done()) == [(MB, 3 * MB)]


def test_removing_it_leaves_no_folder_but_spares_the_records_of_others(path: Path):
    other = begun(path.with_name("other.json"), Entry("b"))
    begun(path, Entry("a")).remove()
    assert [left.name for left in path.parent.iterdir()] == ["other.json"]
    other.remove()
    assert not path.parent.parent.exists()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"key": "m/m.json"}', '{"key": "m/m.json", "files": [{"name": 3}]}']
)
def test_one_that_cannot_be_read_says_nothing(path: Path, text: str):
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert read(path) == {}


def test_the_record_of_another_model_says_nothing(path: Path):
    begun(path, Entry("a"))
    assert Record(path, key="n/n.json").read() == {}
    assert Record(path, key="m/m.json").read() != {}


def test_every_rewrite_is_on_the_disk_before_it_takes_the_place_of_the_last(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A record that is lost with the power takes all along that came."""
    done: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (sync(fd), done.append("synced")))
    monkeypatch.setattr(os, "replace", lambda old, new: (replace(old, new), done.append("replaced")))
    record = begun(path, Entry("a", size_bytes=2 * MB))
    record.restart("a", size_bytes=3 * MB, etag='"2"')
    assert done == ["synced", "replaced"] * 2
