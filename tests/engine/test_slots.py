"""Which slot an answer gets, what it keeps of the cache, and how prompts share a batch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from janagent.engine.model import Tokens
from janagent.engine.slots import Slot, choose_slot, common_prefix, share_budget


def tokens(*ids: int) -> Tokens:
    return np.array(ids, dtype=np.int32)


def slot_with(*ids: int, last_used: int = 0, seq_id: int = 0) -> Slot:
    slot = Slot(seq_id=seq_id, tokens=np.zeros(16, dtype=np.int32), last_used=last_used)
    slot.put(tokens(*ids), batch_index=-1)
    slot.commit()
    return slot


def test_the_common_prefix_leaves_one_token_to_decode():
    assert common_prefix(slot_with(1, 2, 3), tokens(1, 2, 3)) == 2
    assert common_prefix(slot_with(1, 2, 3), tokens(1, 2, 3, 4)) == 3
    assert common_prefix(slot_with(1, 2, 3), tokens(1, 9, 3)) == 1
    assert common_prefix(slot_with(), tokens(1, 2)) == 0


def test_the_slot_that_holds_the_beginning_of_the_prompt_is_chosen():
    other, same = slot_with(7, 8, seq_id=0), slot_with(1, 2, 3, last_used=9, seq_id=1)
    assert choose_slot([other, same], tokens(1, 2, 3, 4), may_reuse=True) == (same, 3)


def test_without_reuse_the_slot_unused_for_longest_is_chosen_and_starts_empty():
    fresh, old = slot_with(1, 2, last_used=5), slot_with(7, last_used=1)
    assert choose_slot([fresh, old], tokens(1, 2, 3), may_reuse=False) == (old, 0)


def test_a_short_shared_beginning_does_not_wipe_out_a_long_conversation():
    long, idle = slot_with(1, 2, 3, 4, 5, 6, last_used=9), slot_with(1, 7, last_used=1)
    assert choose_slot([long, idle], tokens(1, 2, 9), may_reuse=True) == (idle, 1)


def test_what_is_in_the_batch_counts_once_it_is_decoded():
    slot = slot_with(1, 2)
    slot.put(5, batch_index=0)
    assert slot.n_past == 2
    slot.commit()
    assert (slot.n_past, list(slot.tokens[:3])) == (3, [1, 2, 5])


@pytest.mark.parametrize(
    ("remaining", "budget", "shares"),
    [([100], 30, [30]), ([10], 30, [10]), ([100, 10], 60, [50, 10]), ([50, 50, 50], 60, [20, 20, 20])],
)
def test_prompts_share_the_budget_fairly(remaining: list[int], budget: int, shares: list[int]):
    assert share_budget(remaining, budget) == shares


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=8), st.integers(0, 600))
def test_the_budget_is_used_up_and_never_exceeded(remaining: list[int], budget: int):
    shares = share_budget(remaining, budget)
    assert sum(shares) == min(budget, sum(remaining))
    assert all(0 <= share <= left for share, left in zip(shares, remaining, strict=True))
