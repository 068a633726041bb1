import random

import pytest

from janagent.fetch.ranges import Ranges


def test_ranges_are_handed_out_from_the_front_and_never_twice():
    ranges = Ranges(10)
    taken = []
    while (span := ranges.take(4)) is not None:
        taken.append((span.position, span.end))
    assert taken == [(0, 4), (4, 8), (8, 10)]


def test_what_was_given_back_comes_first():
    ranges = Ranges(100)
    first, _second = ranges.take(30), ranges.take(30)
    assert first is not None
    ranges.add(0, 10)
    first.position = 10
    ranges.give_back(first)
    again = ranges.take(1000)
    assert again is not None
    assert (again.position, again.end) == (10, 30)


def test_a_resumed_file_asks_for_its_gaps_alone():
    ranges = Ranges(100, [(10, 20), (50, 100)])
    assert ranges.done_bytes == 60
    gaps = [(span.position, span.end) for span in iter(lambda: ranges.take(1000), None)]
    assert gaps == [(0, 10), (20, 50)]


def test_the_prefix_grows_over_gaps_that_close():
    ranges = Ranges(30)
    assert ranges.add(10, 20) == (10, 20)
    assert ranges.prefix == 0
    assert ranges.add(0, 10) == (0, 20)
    assert ranges.prefix == 20
    assert ranges.add(20, 30) == (0, 30)
    assert ranges.done_bytes == 30


def test_of_an_empty_file_nothing_is_asked_for():
    assert Ranges(0).take(1) is None
    assert Ranges(0).done_bytes == 0


@pytest.mark.parametrize("seed", range(20))
def test_connections_that_break_off_anywhere_still_bring_every_byte_once(seed: int):
    dice, size = random.Random(seed), 1000
    ranges, seen = Ranges(size), bytearray(size)
    while ranges.done_bytes < size:
        spans = [span for _ in range(4) if (span := ranges.take(dice.randint(1, 200))) is not None]
        dice.shuffle(spans)
        for span in spans:
            stop = dice.randint(span.position, span.end)
            if stop > span.position:
                for at in range(span.position, stop):
                    seen[at] += 1
                ranges.add(span.position, stop)
                span.position = stop
            ranges.give_back(span)
    assert seen == bytes([1]) * size
    assert ranges.prefix == size
