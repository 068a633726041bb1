"""What is guessed, how much of it is tried, and that it stops where it does not pay."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from janagent.engine.drafts import NOTHING, Costs, Draft, Evidence, best_length, look_up
from janagent.engine.model import Tokens


def tokens(*ids: int) -> Tokens:
    return np.array(ids, dtype=np.int32)


def guess(*ids: int, at_most: int = 3) -> tuple[list[int], int]:
    draft = look_up(tokens(*ids), at_most=at_most)
    return draft.tokens.tolist(), draft.run


def test_what_followed_the_same_tokens_is_guessed_again():
    assert guess(1, 2, 3, 4, 5, 9, 1, 2) == ([3, 4, 5], 2)


def test_the_longest_run_is_taken_and_the_latest_of_equal_ones():
    assert guess(7, 1, 2, 5, 8, 1, 2, 6, 7, 1, 2, at_most=1) == ([5], 3)
    assert guess(1, 2, 5, 8, 1, 2, 6, 9, 1, 2, at_most=1) == ([6], 2)


def test_a_loop_goes_round_again():
    assert guess(1, 2, 1, 2, 1, 2, at_most=5) == ([1, 2, 1, 2, 1], 4)


def test_a_picture_is_not_guessed():
    assert guess(1, 2, 3, -7, -8, 5, 1, 2) == ([3], 2)
    assert guess(1, 2, -7, -8, 5, 1, 2) == ([], 0)


def test_of_very_many_places_the_latest_are_looked_at():
    """All of them would take longer than the step, where a long text repeats one line."""
    before, often = (1, 2, 3, 4, 5, 9), (7, 5) * 5000
    assert guess(*before, *often, 1, 2, 3, 4, 5, at_most=1) == ([], 0)
    assert guess(*before, *(7, 5) * 50, 1, 2, 3, 4, 5, at_most=1) == ([9], 5)


@pytest.mark.parametrize("ids", [(), (1,), (1, 2), (1, 2, 3, 4), (5, 2, 7, 2)])
def test_one_token_that_stood_there_before_is_no_reason(ids: tuple[int, ...]):
    assert guess(*ids) == ([], 0)


def test_nothing_is_guessed_where_nothing_may_be():
    assert guess(1, 2, 3, 1, 2, at_most=0) == ([], 0)
    assert guess(1, 2, 3, 1, 2, at_most=-4) == ([], 0)


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 40))
def test_a_guess_always_continues_a_run_that_is_really_there(ids: list[int], at_most: int):
    draft = look_up(tokens(*ids), at_most=at_most)
    if not draft.run:
        assert not draft.tokens.size
        return
    assert draft.tokens.size == at_most
    run, first = ids[-draft.run :], int(draft.tokens[0])
    places = [at for at in range(len(ids) - draft.run) if ids[at : at + draft.run] == run]
    assert first in [ids[at + draft.run] for at in places]


def test_an_answer_that_keeps_to_its_guesses_is_believed_more_and_one_that_does_not_less():
    evidence = Evidence()
    before = evidence.chance(9)
    for _ in range(5):
        evidence.saw(9, n_right=4, was_wrong=False)
    assert evidence.chance(9) > max(before, 0.95)
    for _ in range(20):
        evidence.saw(9, n_right=0, was_wrong=True)
    assert evidence.chance(9) < 0.3
    assert evidence.chance(2) == Evidence().chance(2)  # runs of other lengths are another matter


def test_nothing_is_ever_certain():
    """A loop keeps to its guesses for as long as it goes on."""
    evidence = Evidence()
    for _ in range(2000):
        evidence.saw(16, n_right=30, was_wrong=False)
    assert 0.99 < evidence.chance(16) < 1
    draft = Draft(np.arange(31, dtype=np.int32), run=16)
    assert best_length(1, [draft], [evidence.chance(16)], costs(plain_s=0.01, each_s=0.001)) == 31


def costs(*, plain_s: float, each_s: float, n_answers: int = 1) -> Costs:
    found = Costs()
    for _ in range(10):
        found.plain(n_answers, plain_s)
        for length in (3, 8, 16):
            found.drafted(n_answers, length, plain_s + each_s * length)
    return found


def test_the_cost_of_lengths_never_tried_follows_from_those_that_were():
    assert costs(plain_s=1.0, each_s=0.25).seconds(1, 24) == pytest.approx(7.0)
    one = Costs()
    one.plain(1, 1.0)
    assert one.seconds(2, 0) is None
    assert one.seconds(1, 4) == pytest.approx(2.4)  # a belief, so that it is tried once
    one.drafted(1, 4, 3.0)
    assert one.seconds(1, 8) == pytest.approx(5.0)


def test_one_slow_moment_of_the_machine_changes_little():
    found = costs(plain_s=1.0, each_s=0.1)
    found.plain(1, 100.0)
    assert found.seconds(1, 0) == pytest.approx(1.1)


def test_a_cost_that_forbids_guesses_is_doubted_in_time():
    found = costs(plain_s=1.0, each_s=2.0)
    before = found.seconds(1, 8)
    for _ in range(200):
        found.skipped(1)
    assert found.seconds(1, 8) < before / 3
    assert found.seconds(1, 0) == pytest.approx(1.0)
    found.drafted(1, 8, 1000.0)  # one slow moment
    assert found.seconds(1, 8) < before


LONG = Draft(np.arange(31, dtype=np.int32), 20)


def test_where_tokens_are_cheap_long_guesses_are_tried_and_where_they_cost_a_step_none():
    assert best_length(1, [LONG], [0.9], costs(plain_s=1.0, each_s=0.01)) >= 24
    assert best_length(1, [LONG], [0.9], costs(plain_s=1.0, each_s=1.0)) == 0
    middling = best_length(1, [LONG], [0.7], costs(plain_s=1.0, each_s=0.3))
    assert 0 < middling < 8


def test_an_unlikely_guess_is_not_tried_where_it_costs_something():
    assert best_length(1, [LONG], [0.2], costs(plain_s=1.0, each_s=0.4)) == 0
    assert best_length(1, [LONG], [0.2], costs(plain_s=1.0, each_s=0.01)) > 0


def test_answers_guess_equally_many_tokens_or_none():
    cheap = costs(plain_s=1.0, each_s=0.01, n_answers=2)
    short = Draft(np.arange(5, dtype=np.int32), 20)
    assert best_length(2, [LONG, short], [0.9, 0.9], cheap) == 5
    assert best_length(2, [LONG, NOTHING], [0.9, 0.9], cheap) == 0


def test_before_the_first_plain_step_nothing_is_tried():
    assert best_length(1, [LONG], [0.9], Costs()) == 0
