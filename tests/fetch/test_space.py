"""Room on the disk: asked for before the first byte, and missed in the middle. Real fetchers, real limits."""

import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from janagent.children.wire import ExitCode, FetchFailed
from janagent.fetch.download import _NO_END, Download
from janagent.fetch.faults import FetchError
from janagent.fetch.inventory import check_space, take_stock
from janagent.fetch.place import Place
from janagent.fetch.plan import RemoteFile
from janagent.fetch.ranges import Ranges
from janagent.fetch.record import Entry, Record
from tests.fetch.fetchers import REPO, finished, start
from tests.fetch.hub import TestHub
from tests.fetch.transfers import LARGE, listing, parts

CONTENT = b"GGUF" + 2 * LARGE
TOO_MUCH = 1 << 60


@pytest.fixture
def hub() -> Iterator[TestHub]:
    with TestHub() as running:
        running.add_repo(REPO, {"model.gguf": CONTENT})
        yield running


def failed(code: int, lines: list[object]) -> FetchFailed:
    assert code == ExitCode.FETCH_FAILED
    assert isinstance(lines[-1], FetchFailed)
    return lines[-1]


def test_what_has_no_room_on_the_disk_is_refused_before_its_first_byte(hub: TestHub, tmp_path: Path):
    hub.file(REPO, "model.gguf").size_bytes = TOO_MUCH
    end = failed(*finished(*start(hub, tmp_path)))
    assert (end.code, end.is_permanent) == ("disk_full", False)
    assert f"{TOO_MUCH:,} bytes" in end.message
    assert not any("/resolve/" in request.path for request in hub.requests)
    assert listing(tmp_path) == ["m.json"]


def test_a_disk_that_takes_no_more_ends_the_fetch_and_keeps_what_came(hub: TestHub, tmp_path: Path):
    limit = 13_000_000  # what is beyond is asked for once one of six ranges has come whole
    process, reading = start(
        hub, tmp_path, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit,) * 2)
    )
    end = failed(*finished(process, reading))
    assert (end.code, end.is_permanent) == ("disk_full", False)
    (part,) = parts(tmp_path)
    assert 0 < part.stat().st_size <= limit
    sent = hub.bytes_sent("model.gguf")
    code, _ = finished(*start(hub, tmp_path))
    assert code == ExitCode.OK
    assert (tmp_path / "model.gguf").read_bytes() == CONTENT
    assert hub.bytes_sent("model.gguf") - sent < len(CONTENT), "what had room was not fetched again"


def test_a_file_whose_length_nobody_knows_makes_no_room_for_others(tmp_path: Path):
    files = [
        RemoteFile("a", "http://x/a"),
        RemoteFile("b", "http://x/b", shutil.disk_usage(tmp_path).free * 2),
    ]
    record = Record(tmp_path / ".janagent" / "fetch" / "r.json", key="m.json")
    record.begin([Entry(file.name, file.size_bytes) for file in files], {})
    made = [Download(file, place=Place.at(tmp_path), record=record, earlier=None) for file in files]
    made[0].ranges = Ranges(_NO_END, [(0, TOO_MUCH)])
    with pytest.raises(FetchError, match="still to come"):
        check_space(made, tmp_path)


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_what_is_to_be_copied_from_another_disk_needs_room_and_what_is_linked_does_not(
    tmp_path: Path, is_elsewhere: bool
):
    here = tmp_path / "cached"
    here.write_bytes(b"")
    there = Path(os.devnull)  # on a file system of its own
    assert there.stat().st_dev != here.stat().st_dev
    size = shutil.disk_usage(tmp_path).free * 2
    file = RemoteFile("a.gguf", "http://x/a", size, "ab" * 32, cached=there if is_elsewhere else here)
    record = Record(tmp_path / ".janagent" / "fetch" / "r.json", key="m.json")
    if is_elsewhere:
        with pytest.raises(FetchError, match="still to come"):
            take_stock([file], folder=tmp_path, record=record)
    else:
        assert len(take_stock([file], folder=tmp_path, record=record).downloads) == 1
