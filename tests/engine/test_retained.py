"""What is kept of finished conversations, found again, and given back."""

import numpy as np
import pytest

from janagent.engine.model import Tokens
from janagent.engine.retained import Retained, State, alike


def tokens(*ids: int) -> Tokens:
    return np.array(ids, dtype=np.int32)


def state(size: int = 10) -> State:
    return np.zeros(size, dtype=np.uint8)


def found(retained: Retained, *prompt: int, longer_than: int = 0) -> tuple[list[int], int] | None:
    match = retained.find(tokens(*prompt), longer_than=longer_than)
    return None if match is None else (match.kept.tokens.tolist(), match.n_shared)


def test_two_beginnings_are_compared_up_to_all_but_the_last_token():
    assert alike(tokens(1, 2, 3), tokens(1, 2, 3)) == 2
    assert alike(tokens(1, 2, 3), tokens(1, 2, 3, 4)) == 3
    assert alike(tokens(1, 2), tokens(3, 4)) == 0
    assert alike(tokens(), tokens(3)) == 0


def test_the_longest_beginning_is_found_whoever_computed_it():
    retained = Retained(100)
    retained.keep(tokens(1, 2, 7, 7), state())
    retained.keep(tokens(1, 2, 3, 4, 5), state())
    retained.keep(tokens(9, 9), state())
    assert found(retained, 1, 2, 3, 8) == ([1, 2, 3, 4, 5], 3)
    assert found(retained, 1, 2, 3, 8, longer_than=3) is None
    assert found(retained, 4, 4) is None


def test_the_limit_drops_what_was_not_used_for_longest():
    retained = Retained(30)
    for first in (1, 2, 3):
        retained.keep(tokens(first, 0, 0), state())
    assert found(retained, 1, 0, 0, 5) is not None  # used
    retained.keep(tokens(4, 0, 0), state())
    assert retained.n_bytes == 30
    assert found(retained, 2, 0, 0, 5) is None
    assert found(retained, 1, 0, 0, 5) is not None
    retained.keep(tokens(5, 0, 0), state(31))
    assert found(retained, 5, 0, 0, 5) is None
    assert len(retained) == 3


def test_the_next_turn_takes_the_place_of_the_one_before():
    retained = Retained(100)
    retained.keep(tokens(1, 2), state())
    retained.keep(tokens(1, 2, 3), state())
    assert (len(retained), retained.n_bytes) == (1, 10)
    assert retained.holds(tokens(1, 2))
    assert not retained.holds(tokens(1, 2, 4))


def test_a_state_that_cannot_be_cut_is_good_only_for_what_begins_with_all_of_it():
    retained = Retained(100, window=0)
    retained.keep(tokens(1, 2, 3), state())
    assert found(retained, 1, 2, 9) is None
    assert found(retained, 1, 2, 3, 9) == ([1, 2, 3], 3)
    retained.keep(tokens(1, 2, 3, 4), state())
    assert found(retained, 1, 2, 3, 9) == ([1, 2, 3], 3)
    assert not retained.holds(tokens(1, 2))
    retained.keep(tokens(1, 2, 3, 4), state())
    assert len(retained) == 2


def test_a_state_beyond_its_window_is_good_only_as_a_whole_and_a_shorter_one_for_any_part():
    retained = Retained(100, window=3)
    retained.keep(tokens(1, 2, 3), state())
    retained.keep(tokens(5, 6, 7, 8), state())
    assert found(retained, 1, 2, 9) == ([1, 2, 3], 2)
    assert found(retained, 5, 6, 9) is None
    assert found(retained, 5, 6, 7, 8, 9) == ([5, 6, 7, 8], 4)
    retained.keep(tokens(1, 2, 3, 4), state())  # a part of which is no substitute for the one before
    assert found(retained, 1, 2, 9) is None
    assert retained.holds(tokens(1, 2, 3, 4))
    assert not retained.holds(tokens(5, 6))


def test_room_is_made_before_a_state_is_copied():
    """So that at no moment there is more than the limit, or than others can spare."""
    now = [100]
    retained = Retained(30, spare_bytes=lambda: now[0])
    for first in (1, 2, 3):
        retained.keep(tokens(first), state())
    assert retained.make_room(20)
    assert (retained.n_bytes, retained.holds(tokens(3))) == (10, True)
    assert not retained.make_room(31)
    now[0] = -5
    assert not retained.make_room(8)
    assert retained.make_room(5)
    assert retained.n_bytes == 0


@pytest.mark.parametrize(("spare", "left"), [(5, 3), (0, 3), (-1, 2), (-15, 1), (-1000, 0)])
def test_memory_that_others_need_is_given_back(spare: int, left: int):
    now = [100]
    retained = Retained(100, spare_bytes=lambda: now[0])
    for first in (1, 2, 3):
        retained.keep(tokens(first), state())
    now[0] = spare
    retained.give_back_if_short()
    assert (len(retained), retained.n_bytes) == (left, 10 * left)
    assert not left or retained.holds(tokens(3))
