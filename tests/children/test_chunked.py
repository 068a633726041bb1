"""`janagent.children.chunked`: the chunked transfer coding, cut anywhere."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from janagent.children.chunked import ChunkedError, ChunkedReader


def encoded(pieces: list[bytes], *, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end


def read(parts: list[bytes]) -> bytes:
    reader = ChunkedReader()
    body = b"".join(reader.feed(part) for part in parts)
    assert reader.is_done
    return body


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=60), max_size=8),
    cuts=st.lists(st.integers(0, 600), max_size=12),
)
def test_a_body_cut_anywhere_is_read_whole(pieces: list[bytes], cuts: list[int]):
    data = encoded(pieces)
    at = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    assert read([data[a:b] for a, b in pairwise(at)]) == b"".join(pieces)


def test_a_body_that_comes_byte_by_byte_is_read_whole():
    piece = random.Random(1).randbytes(300)
    data = encoded([piece, b"\r\n0\r\n\r\n", piece])
    assert read([data[i : i + 1] for i in range(len(data))]) == piece + b"\r\n0\r\n\r\n" + piece


def test_the_payload_of_a_chunk_is_given_out_before_its_end_is_there():
    reader = ChunkedReader()
    assert reader.feed(b"a\r\n01234") == b"01234"
    assert reader.feed(b"56789") == b"56789"
    assert reader.feed(b"\r") == b""
    assert reader.feed(b"\n0\r\n\r\n") == b""
    assert reader.is_done


def test_extensions_and_trailers_are_read_over():
    assert read([b"3;name=value\r\nabc\r\n0\r\nExpires: never\r\nX: y\r\n\r\n"]) == b"abc"


def test_a_body_without_its_last_chunk_is_not_done():
    reader = ChunkedReader()
    assert reader.feed(encoded([b"abc"], end=b"0\r\n")) == b"abc"
    assert not reader.is_done


@pytest.mark.parametrize(
    "data",
    [
        b"x\r\nabc\r\n",
        b"\r\n",
        b"-1\r\n",
        b"0x3\r\nabc\r\n",
        b"+3\r\nabc\r\n",
        b"3_0\r\nabc\r\n",
        b"11111111111111111\r\n",
        b"3\r\nabcd\r\n",
        b"3\r\nabc\rx",
        b"1" * 2000,
        b"0\r\n\r\n0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("is_split", [False, True])
def test_bytes_that_are_no_chunked_body_are_an_error(data: bytes, is_split: bool):
    parts = [data[i : i + 1] for i in range(len(data))] if is_split else [data]
    with pytest.raises(ChunkedError):
        read(parts)
