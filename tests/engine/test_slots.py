"""Which slot an answer gets, what it keeps of the cache, and how prompts share a batch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from janagent.engine.media import MediaRun, joined
from janagent.engine.model import Tokens
from janagent.engine.sampling import Sampling
from janagent.engine.slots import MIN_SHARED, Slot, choose_slot, common_prefix, share_budget
from janagent.engine.text import TextStream
from janagent.engine.work import Generation


def tokens(*ids: int) -> Tokens:
    return np.array(ids, dtype=np.int32)


def slot_with(*ids: int, last_used: int = 0, seq_id: int = 0) -> Slot:
    slot = Slot(seq_id=seq_id, tokens=np.zeros(64, dtype=np.int32), last_used=last_used)
    slot.put(tokens(*ids), batch_index=-1)
    slot.commit()
    return slot


def test_the_common_prefix_leaves_one_token_to_decode():
    assert common_prefix(slot_with(1, 2, 3), tokens(1, 2, 3)) == 2
    assert common_prefix(slot_with(1, 2, 3), tokens(1, 2, 3, 4)) == 3
    assert common_prefix(slot_with(1, 2, 3), tokens(1, 9, 3)) == 1
    assert common_prefix(slot_with(), tokens(1, 2)) == 0


def running(slot: Slot, *prompt: int) -> Slot:
    slot.generation = Generation(
        prompt=tokens(*prompt),
        max_tokens=9,
        sampling=Sampling(),
        text=TextStream(),
        receive=lambda progress: None,
    )
    return slot


def test_the_slot_that_holds_the_beginning_of_the_prompt_is_chosen():
    other, same = slot_with(7, 8, seq_id=0), slot_with(1, 2, 3, last_used=9, seq_id=1)
    assert choose_slot([other, same], tokens(1, 2, 3, 4), may_reuse=True) == (same, 3, None, 0)


def test_what_another_is_computing_is_waited_for_only_if_that_saves_more_than_a_step():
    prompt = tokens(*range(1, 40))
    busy, idle = running(slot_with(seq_id=0), *range(1, 40)), slot_with(seq_id=1)
    assert choose_slot([busy, idle], prompt, may_reuse=True, least_wait=38) == (idle, 0, busy, 38)
    assert choose_slot([busy, idle], prompt, may_reuse=True, least_wait=39) == (idle, 0, None, 0)
    done = running(slot_with(*range(1, 40), seq_id=0), *range(1, 40))
    assert choose_slot([done, idle], prompt, may_reuse=True, least_wait=39) == (idle, 0, done, 38)


def test_without_reuse_the_slot_unused_for_longest_is_chosen_and_starts_empty():
    fresh, old = slot_with(1, 2, last_used=5), slot_with(7, last_used=1)
    assert choose_slot([fresh, old], tokens(1, 2, 3), may_reuse=False) == (old, 0, None, 0)


def test_a_short_shared_beginning_does_not_wipe_out_a_long_conversation():
    long, idle = slot_with(1, 2, 3, 4, 5, 6, last_used=9), slot_with(1, 7, last_used=1)
    assert choose_slot([long, idle], tokens(1, 2, 9), may_reuse=True) == (idle, 1, None, 0)


def test_a_long_shared_beginning_is_copied_and_the_conversation_it_comes_from_stays():
    begin = range(100, 100 + MIN_SHARED)
    long, idle = slot_with(*begin, *range(MIN_SHARED + 1), last_used=9), slot_with(7, last_used=1)
    chosen = choose_slot([long, idle], tokens(*begin, 99), may_reuse=True)
    assert chosen == (idle, 0, long, MIN_SHARED)


def test_what_a_running_answer_has_computed_is_shared():
    begin = range(100, 100 + MIN_SHARED)
    busy = running(slot_with(*begin, 5, 6, 7), *begin, 5)
    idle = slot_with(7)
    assert choose_slot([busy, idle], tokens(*begin, 99), may_reuse=True) == (idle, 0, busy, MIN_SHARED)


def test_what_a_running_prompt_is_about_to_compute_is_waited_for():
    begin = range(100, 100 + MIN_SHARED)
    busy, idle = running(slot_with(100), *begin, 5), slot_with()
    chosen = choose_slot([busy, idle], tokens(*begin, 99), may_reuse=True)
    assert chosen == (idle, 0, busy, MIN_SHARED)


def test_nobody_waits_for_a_slot_that_waits_itself():
    begin = range(100, 100 + MIN_SHARED)
    first, second, idle = running(slot_with(), *begin, 5), running(slot_with(), *begin, 6), slot_with()
    second.source = first
    for slots in ([first, second, idle], [second, first, idle]):
        assert choose_slot(slots, tokens(*begin, 9), may_reuse=True).source is first


def test_a_slot_that_has_nearly_as_much_is_used_as_it_is():
    begin = range(100, 100 + 2 * MIN_SHARED)
    busy = running(slot_with(*begin, 5, 6, 7), *begin, 5)
    idle = slot_with(*begin[:-3])
    chosen = choose_slot([busy, idle], tokens(*begin, 99), may_reuse=True)
    assert chosen == (idle, 2 * MIN_SHARED - 3, None, 0)


def test_a_wait_ends_when_the_beginning_is_there_or_will_not_come():
    begin = range(100, 100 + MIN_SHARED)
    source = running(slot_with(*begin[:-1]), *begin, 5)
    slot = running(slot_with(), *begin, 6)
    slot.source, slot.n_shared = source, MIN_SHARED
    assert not slot.is_source_due
    source.put(tokens(begin[-1]), batch_index=-1)
    source.commit()
    assert slot.is_source_due
    source.n_past = 3
    assert source.generation is not None
    source.generation.paused = True
    assert slot.is_source_due
    source.generation = None
    assert slot.is_source_due


def test_a_prompt_is_taken_in_runs_of_text_and_of_media():
    grid = np.zeros((4, 6), np.int32)
    picture = MediaRun(embeddings=np.zeros((6, 2), np.float32), n_positions=3, offsets=grid)
    prompt = joined([tokens(1, 2), (b"cat", (picture,)), tokens(3, 4, 5)])
    slot = running(slot_with(1), *prompt.tokens)
    assert slot.generation is not None
    slot.generation.media = prompt.media
    seen = []
    while slot.n_prefill:
        size = slot.n_text or 2
        seen.append((slot.n_past, slot.position, slot.n_text, slot.medium is not None))
        slot.put(prompt.tokens[slot.n_past : slot.n_past + size], batch_index=-1)
        slot.commit()
    assert seen == [
        (1, 1, 1, False),
        (2, 2, 0, True),
        (4, 2, 0, True),
        (6, 2, 0, True),
        (8, 5, 3, False),
    ]
    assert (slot.position, slot.n_text, slot.medium) == (8, 0, None)


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


@pytest.mark.parametrize(
    ("remaining", "budget", "shares"),
    [
        ([1000, 1000], 576, [256, 320]),
        ([1000, 1000], 64, [64, 0]),
        ([1000, 30], 64, [0, 30]),
        ([1000, 30], 128, [64, 30]),
        ([1000, 64], 128, [64, 64]),
        ([100, 100, 100, 100], 192, [64, 64, 64, 0]),
    ],
)
def test_in_units_the_longest_wait_where_there_are_too_few(
    remaining: list[int], budget: int, shares: list[int]
):
    assert share_budget(remaining, budget, unit=64) == shares


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=8), st.integers(64, 600))
def test_a_prompt_gets_whole_units_or_all_it_needs(remaining: list[int], budget: int):
    shares = share_budget(remaining, budget, unit=64)
    assert 0 < sum(shares) <= budget
    assert all(share == left or share % 64 == 0 for share, left in zip(shares, remaining, strict=True))
