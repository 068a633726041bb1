import asyncio
import threading
from pathlib import Path

import pytest

from janagent.fetch.download import SEGMENT_BYTES, Download, in_thread
from janagent.fetch.place import Place
from janagent.fetch.plan import RemoteFile
from janagent.fetch.record import Entry, Record
from janagent.folder.records import record_path


def made(folder: Path, size_bytes: int | None) -> Download:
    file = RemoteFile("a", "http://x/a", size_bytes)
    record = Record(record_path(folder, "k"), key="k")
    record.begin([Entry("a", size_bytes)], {})
    return Download(file, place=Place.at(folder), record=record, earlier=None)


async def test_one_connection_asks_first_what_the_file_is(tmp_path: Path):
    download = made(tmp_path, 3 * SEGMENT_BYTES)
    assert download.take() is None, "not open yet"
    await download.open()
    span = download.take()
    assert span is not None
    assert (span.position, span.end) == (0, SEGMENT_BYTES)
    assert download.take() is None
    await download.leave(span)
    assert download.take() == span.__class__(0, SEGMENT_BYTES)
    download.part.close()


async def test_a_cancelled_write_ends_before_its_file_may_be_closed():
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        go.wait(10)
        ended.set()

    task = asyncio.ensure_future(in_thread(slow))  # noqa: TID251
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    asyncio.get_running_loop().call_later(0.05, go.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
