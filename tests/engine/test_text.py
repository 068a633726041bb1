"""Text that may be shown: whole characters, no stop strings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from janagent.engine.text import TextStream


def fed(stream: TextStream, pieces: list[bytes]) -> list[str]:
    """What comes out for each piece until a stop string is complete, and at the end."""
    out = []
    for piece in pieces:
        out.append(stream.feed(piece))
        if stream.stopped:
            return out
    return [*out, stream.finish()]


def test_a_character_split_over_pieces_comes_out_whole():
    family = "👩‍👩‍👧".encode()
    assert fed(TextStream(), [family[i : i + 1] for i in range(4)]) == ["", "", "", "👩", ""]


def test_bytes_of_an_unfinished_character_at_the_end_are_dropped():
    assert fed(TextStream(), [b"ok", "é".encode()[:1]]) == ["ok", "", ""]


def test_bytes_that_are_no_utf8_become_replacement_characters():
    assert "".join(fed(TextStream(), [b"a\xffb"])) == "a\ufffdb"


def test_a_stop_string_ends_the_text_and_does_not_show():
    stream = TextStream(["END"])
    assert fed(stream, [b"one END two"]) == ["one "]
    assert stream.stopped


def test_a_stop_string_split_over_pieces_never_leaks():
    assert fed(TextStream(["\nUser:"]), [b"hi", b"\n", b"Us", b"er", b": you"]) == ["hi", "", "", "", ""]


def test_text_that_only_began_like_a_stop_string_is_given_out_late():
    assert fed(TextStream(["\nUser:"]), [b"hi\nUs", b"ually"]) == ["hi", "\nUsually", ""]


def test_what_was_held_back_comes_out_at_the_end():
    assert fed(TextStream(["abc"]), [b"xab"]) == ["x", "ab"]


def test_a_stop_string_that_repeats_itself_is_found_at_its_first_place():
    assert fed(TextStream(["aab"]), [b"a", b"a", b"a", b"b"]) == ["", "", "a", ""]


def test_the_earliest_of_several_stop_strings_wins():
    assert fed(TextStream(["late", "early"]), [b"so early and late"]) == ["so "]


def test_an_empty_stop_string_is_none():
    assert fed(TextStream([""]), [b"abc"]) == ["abc", ""]


def test_it_counts_the_characters_that_came_in_and_went_out():
    stream = TextStream(["xyz"])
    stream.feed("aéx".encode())
    assert (stream.decoded_chars, stream.emitted_chars) == (3, 2)


@given(
    text=st.text(alphabet="ab😀é", max_size=30),
    stops=st.lists(st.text(alphabet="ab😀é", min_size=1, max_size=4), max_size=3),
    cuts=st.lists(st.integers(1, 5), min_size=1, max_size=60),
)
def test_however_the_bytes_are_cut_the_text_ends_at_the_first_stop_string(
    text: str, stops: list[str], cuts: list[int]
):
    data, pieces = text.encode(), []
    for cut in cuts:
        pieces.append(data[:cut])
        data = data[cut:]
    stream = TextStream(stops)
    out = "".join(fed(stream, [*pieces, data]))
    ends = [text.index(stop) for stop in stops if stop in text]
    # A stop that is complete earlier may begin later: what is given out ends at one of them and holds none.
    assert stream.stopped == bool(ends)
    assert text.startswith(out)
    assert not any(stop in out for stop in stops)
    if not ends:
        assert out == text


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_without_stop_strings_the_text_is_unchanged(size: int):
    data = "naïve 日本語 🎉".encode()
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    assert "".join(fed(TextStream(), pieces)) == data.decode()
