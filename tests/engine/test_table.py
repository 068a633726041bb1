"""The slot table over the real model: what is shared, what is moved, and that answers do not notice."""

import numpy as np
import pytest

from janagent.engine.context import Context, ContextOptions, open_context
from janagent.engine.model import Model, Tokens
from janagent.engine.sampling import Sampling
from janagent.engine.slots import Slot
from janagent.engine.table import SlotTable
from janagent.engine.text import TextStream
from janagent.engine.work import Generation

BEGIN = "You are a careful assistant who answers in one short sentence and never makes anything up. "


@pytest.fixture(scope="module")
def context(model: Model) -> Context:
    return open_context(model, ContextOptions(n_ctx=768, n_batch=192, n_seq_max=3, n_threads=1))


@pytest.fixture
def table(context: Context) -> SlotTable:
    context.clear_memory()
    context.clear_batch()
    return SlotTable(context, n_slots=3, ctx_len=128)


def generation(prompt: Tokens, *, seed: int | None = None) -> Generation:
    return Generation(
        prompt=prompt,
        max_tokens=50,
        sampling=Sampling(temperature=0.0, seed=seed),
        text=TextStream(),
        receive=lambda progress: None,
    )


def step(context: Context, table: SlotTable) -> list[int]:
    """One greedy step of all active slots, prompts whole; returns their sequences."""
    active = table.active()
    context.clear_batch()
    for slot in active:
        assert slot.generation is not None
        rest = slot.generation.prompt[slot.n_past :] if slot.n_prefill else slot.next_token
        if isinstance(rest, int):
            index = context.add_token(rest, position=slot.n_past, seq_id=slot.seq_id)
        else:
            index = context.add_tokens(rest, position=slot.n_past, seq_id=slot.seq_id, want_last=True)
        slot.put(rest, batch_index=index)
    context.decode()
    for slot in active:
        slot.commit()
        slot.next_token = int(context.logits(slot.batch_index).argmax())
    return [slot.seq_id for slot in active]


def slot_of(table: SlotTable, wanted: Generation) -> Slot:
    (slot,) = table.where(lambda generation: generation is wanted)
    return slot


def answer(context: Context, table: SlotTable, wanted: Generation, n_tokens: int) -> list[int]:
    """The first tokens of an answer that has a slot."""
    found = []
    while len(found) < n_tokens:
        step(context, table)
        slot = slot_of(table, wanted)
        if slot.source is None and not slot.n_prefill:
            found.append(slot.next_token)
    return found


def prompt(model: Model, end: str) -> Tokens:
    return model.tokenize(BEGIN + end, special=False)


def test_two_prompts_with_one_beginning_compute_it_once(context: Context, model: Model, table: SlotTable):
    first = generation(prompt(model, "What is the capital of France?"))
    second = generation(prompt(model, "Who wrote Hamlet?"))
    table.occupy(first)
    table.occupy(second)
    assert step(context, table) == [0]  # the second one waits
    assert step(context, table) == [0, 1]
    begin = model.tokenize(BEGIN, special=False).size
    assert (first.n_cached, second.n_cached) == (0, pytest.approx(begin, abs=2))


def test_an_answer_after_a_shared_beginning_is_the_answer_alone(
    context: Context, model: Model, table: SlotTable
):
    question = prompt(model, "What is the capital of France?")
    alone = generation(question, seed=1)
    table.occupy(alone)
    expected = answer(context, table, alone, 8)
    table.release(slot_of(table, alone))
    other = generation(prompt(model, "Who wrote Hamlet?"), seed=1)
    table.occupy(other)
    step(context, table)
    again = generation(question)
    table.occupy(again)
    assert answer(context, table, again, 8) == expected
    assert again.n_cached > 0


def test_a_beginning_whose_owner_leaves_is_computed_by_the_one_that_waited(
    context: Context, model: Model, table: SlotTable
):
    first = generation(prompt(model, "What is the capital of France?"))
    second = generation(prompt(model, "Who wrote Hamlet?"))
    table.occupy(first)
    table.occupy(second)
    table.release(slot_of(table, first))
    assert step(context, table) == [1]
    assert second.n_cached == 0
    assert slot_of(table, second).n_past == second.prompt.size


def test_a_gap_is_closed_and_the_answer_that_moved_goes_on(context: Context, model: Model, table: SlotTable):
    ends = ["What is the capital of France?", "Who wrote Hamlet?", "How many legs has a spider?"]
    generations = [generation(prompt(model, end), seed=1) for end in ends]
    alone = generation(generations[2].prompt, seed=1)
    table.occupy(alone)
    expected = answer(context, table, alone, 6)
    table.release(slot_of(table, alone))
    for each in generations:
        table.occupy(each)
    assert step(context, table) == [0, 1, 2]
    begun = [slot_of(table, generations[2]).next_token]
    middle = next(slot for slot in (slot_of(table, g) for g in generations) if slot.seq_id == 1)
    assert middle.generation is not generations[2]
    remembered = middle.tokens[: middle.n_past].copy()
    table.release(middle)
    while len(begun) < 6:
        assert step(context, table) == [0, 1]
        begun.append(slot_of(table, generations[2]).next_token)
    assert begun == expected
    assert middle.seq_id == 2  # what it remembers moved out of the way, and is still good for the next turn
    np.testing.assert_array_equal(middle.tokens[: middle.n_past], remembered)
    assert context.trim(2, keep=remembered.size) == remembered.size


def test_what_free_slots_remember_is_forgotten_when_room_is_needed(
    context: Context, model: Model, table: SlotTable
):
    first = generation(prompt(model, "Who wrote Hamlet?"))
    table.occupy(first)
    step(context, table)
    assert not table.forget_idle()
    table.release(slot_of(table, first))
    assert table.forget_idle()
    again = generation(first.prompt)
    table.occupy(again)
    assert again.n_cached == 0
