import os

from hypothesis import given
from hypothesis import strategies as st

from janagent.children.pipes import Line, LineSplitter, PipeReader, PipeWriter
from tests.children.conftest import until, within


def split(*chunks: bytes, limit_bytes: int = 100) -> list[Line]:
    splitter = LineSplitter(limit_bytes=limit_bytes)
    found = [line for chunk in chunks for line in splitter.feed(chunk)]
    return [*found, *splitter.rest()]


def test_a_line_in_pieces_is_one_line() -> None:
    assert split(b"he", b"llo\nwor", b"", b"ld\n") == [Line(b"hello"), Line(b"world")]


def test_what_never_ended_is_given_at_the_end() -> None:
    assert split(b"one\ntwo") == [Line(b"one"), Line(b"two")]


def test_a_line_beyond_the_limit_is_cut_once_and_the_next_one_is_whole() -> None:
    assert split(b"x" * 60, b"x" * 60, b"xxx\nnext\n") == [Line(b"x" * 100, is_cut=True), Line(b"next")]


def test_a_line_of_exactly_the_limit_is_whole() -> None:
    assert split(b"x" * 100 + b"\n") == [Line(b"x" * 100)]


@given(st.lists(st.binary(max_size=12)), st.integers(1, 8))
def test_lines_do_not_depend_on_how_the_bytes_were_cut(chunks: list[bytes], limit: int) -> None:
    whole = b"".join(chunks)
    expected = [Line(line[:limit], is_cut=len(line) > limit) for line in whole.split(b"\n")]
    if not expected[-1].data:
        expected.pop()
    assert split(*chunks, limit_bytes=limit) == expected


class Sink:
    """Remembers what a reader brought."""

    def __init__(self, *, bytes_per_window: int = 1 << 16) -> None:
        read, self.write_fd = os.pipe()
        self.data = b""
        self.ends = 0
        self.reader = PipeReader(
            read, on_data=self.take, on_end=self.end, bytes_per_window=bytes_per_window, window_s=0.01
        )
        self.reader.start()

    def take(self, data: bytes) -> None:
        self.data += data

    def end(self) -> None:
        self.ends += 1


async def test_a_reader_brings_everything_and_tells_the_end_once() -> None:
    sink = Sink(bytes_per_window=100)
    os.write(sink.write_fd, b"x" * 1000)
    os.close(sink.write_fd)
    await until(lambda: sink.ends == 1, what="the end was told")
    assert len(sink.data) == 1000
    sink.reader.finish()
    assert sink.ends == 1


async def test_a_reader_that_is_held_takes_nothing_until_released() -> None:
    sink = Sink()
    sink.reader.hold()
    os.write(sink.write_fd, b"later")
    await until(lambda: True, what="a turn of the loop")
    assert sink.data == b""
    sink.reader.release()
    await until(lambda: sink.data == b"later", what="the data came")
    os.close(sink.write_fd)
    await until(lambda: sink.ends == 1, what="the end was told")


async def test_finish_takes_the_rest_and_closes_although_the_other_end_is_open() -> None:
    sink = Sink()
    sink.reader.hold()
    os.write(sink.write_fd, b"rest")
    sink.reader.finish()
    assert (sink.data, sink.ends) == (b"rest", 1)
    os.close(sink.write_fd)


async def test_a_writer_gives_up_quietly_when_nobody_reads() -> None:
    read, write = os.pipe()
    os.close(read)
    writer = PipeWriter(write)
    await within(writer.write(b"x" * 1_000_000))
    writer.close()
    writer.close()
