"""What a step computes for whom: prompts in chunks, and guesses only where they may be."""

import numpy as np
import pytest

from janagent.engine.batch import fill
from janagent.engine.context import Context, ContextOptions, open_context
from janagent.engine.drafts import Costs
from janagent.engine.model import Model, Tokens
from janagent.engine.pace import MIN_CHUNK, TILE, Pace
from janagent.engine.sampling import Sampling
from janagent.engine.slots import Slot
from janagent.engine.text import TextStream
from janagent.engine.work import Generation

REPEATING = np.array([5, 6, 7, 8, 9] * 6, dtype=np.int32)
CTX_LEN = 64


class FreeDrafts(Costs):
    def seconds(self, n_answers: int, length: int) -> float:
        return 1.0


@pytest.fixture(scope="module")
def context(model: Model) -> Context:
    return open_context(model, ContextOptions(n_ctx=512, n_batch=48, n_seq_max=4, n_threads=1))


def slot(seq_id: int, prompt: Tokens, *, n_past: int, max_tokens: int = 50, seed: int | None = None) -> Slot:
    room = max(CTX_LEN, prompt.size + 1) + 1
    made = Slot(seq_id=seq_id, tokens=np.zeros(room, dtype=np.int32), next_token=5)
    made.generation = Generation(
        prompt=prompt,
        max_tokens=max_tokens,
        sampling=Sampling(seed=seed),
        text=TextStream(),
        receive=lambda progress: None,
    )
    made.tokens[:n_past] = prompt[:n_past]
    made.n_past = n_past
    return made


def filled(context: Context, *slots: Slot, costs: Costs | None = None) -> tuple[int, int, int]:
    return tuple(fill(context, slots, pace=Pace(0.01), costs=costs or FreeDrafts()))[:3]


def test_prompts_share_what_answers_leave_of_the_batch(context: Context):
    answering = slot(0, REPEATING, n_past=30)
    first, second = slot(1, REPEATING, n_past=0), slot(2, REPEATING[:7], n_past=0)
    assert filled(context, answering, first, second) == (32, 1, 0)
    assert [s.n_pending for s in (answering, first, second)] == [1, 25, 7]
    assert (answering.batch_index, first.batch_index, second.batch_index) == (0, -1, 32)
    assert context.n_tokens == 33


@pytest.fixture(scope="module")
def wide(model: Model) -> Context:
    return open_context(model, ContextOptions(n_ctx=1024, n_batch=200, n_seq_max=4, n_threads=1))


def chunks(context: Context, *sizes: int, token_s: float = 0.003) -> tuple[list[int], int]:
    """What of prompts of these sizes a step takes beside an answer, and the smallest that is known for."""
    slots = [slot(1 + at, np.arange(size, dtype=np.int32), n_past=0) for at, size in enumerate(sizes)]
    filled = fill(context, [slot(0, REPEATING, n_past=30), *slots], pace=Pace(token_s), costs=FreeDrafts())
    return [one.n_pending for one in slots], filled.least_chunk


@pytest.mark.parametrize(
    ("sizes", "shares"),
    [
        ([300], [TILE + 1]),
        ([TILE + 40], [TILE + 40]),
        ([TILE + 1 + TILE], [TILE + 1]),
        ([127], [127]),
        ([300, 30], [0, 30]),
        ([300, 300], [TILE + 1, 0]),
    ],
    ids=[
        "a tile and one more",
        "the rest",
        "a tile is no rest",
        "all that fits",
        "the short one",
        "one of two",
    ],
)
def test_beside_an_answer_a_prompt_comes_in_tiles_and_leaves_no_rest(
    wide: Context, sizes: list[int], shares: list[int]
):
    assert chunks(wide, *sizes) == (shares, min(share for share in shares if share))


def test_of_several_prompts_each_gets_one_more_than_its_tiles_and_no_rest(wide: Context):
    assert chunks(wide, 90, 300, token_s=0.0015) == ([TILE + 1, TILE + 1], TILE + 1)
    assert chunks(wide, 300, 20, token_s=0.0015) == ([TILE + 1, 20], 20)


def test_a_rest_that_finds_no_room_stays(model: Model):
    narrow = open_context(model, ContextOptions(n_ctx=1024, n_batch=100, n_seq_max=4, n_threads=1))
    assert chunks(narrow, TILE + 40) == ([TILE], TILE)
    assert chunks(narrow, TILE + 35) == ([TILE + 35], TILE + 35)


def test_a_batch_smaller_than_a_tile_is_filled(context: Context):
    assert chunks(context, 300) == ([47], 47)


def test_a_slow_model_takes_no_rest_along(wide: Context):
    assert chunks(wide, 60, token_s=0.1) == ([MIN_CHUNK], MIN_CHUNK)


def test_an_answer_alone_comes_with_a_guess_and_logits_for_each_of_its_tokens(context: Context):
    alone = slot(0, REPEATING, n_past=30)
    n_prefill, n_answers, n_draft = filled(context, alone)
    assert (n_prefill, n_answers) == (0, 1)
    assert n_draft == alone.draft.size == 31
    assert alone.draft[:6].tolist() == [6, 7, 8, 9, 5, 6]
    assert (alone.batch_index, alone.n_pending, context.n_tokens) == (0, 32, 32)
    assert alone.tokens[30:36].tolist() == [5, 6, 7, 8, 9, 5]


def test_answers_guess_equally_many_tokens(context: Context):
    slots = [slot(0, REPEATING, n_past=30), slot(1, REPEATING, n_past=30, max_tokens=4)]
    assert filled(context, *slots) == (0, 2, 3)  # the second one has three left after the next
    assert [s.batch_index for s in slots] == [0, 4]


@pytest.mark.parametrize(
    ("prompt", "fields"),
    [
        (REPEATING, {"seed": 1}),
        (REPEATING, {"max_tokens": 1}),
        (np.arange(30, dtype=np.int32) + 20, {}),
    ],
    ids=["the same answer again", "the last token", "nothing to guess from"],
)
def test_without_a_guess_for_one_there_is_none_for_any(
    context: Context, prompt: Tokens, fields: dict[str, int]
):
    slots = [slot(0, REPEATING, n_past=30), slot(1, prompt, n_past=30, **fields)]
    assert filled(context, *slots) == (0, 2, 0)
    assert [s.draft.size for s in slots] == [0, 0]
    assert context.n_tokens == 2


def test_a_guess_does_not_reach_beyond_the_end_of_the_context(context: Context):
    long = np.concatenate((REPEATING, REPEATING))
    near = slot(0, long, n_past=60)
    assert filled(context, near) == (0, 1, 3)
    assert near.n_past + near.n_pending == CTX_LEN


def test_nothing_is_guessed_before_it_is_known_what_a_step_costs(context: Context):
    assert filled(context, slot(0, REPEATING, n_past=30), costs=Costs()) == (0, 1, 0)
