"""The slot table over the real model: what is shared, what is moved, and that answers do not notice."""

import math

import llama_cpp
import numpy as np
import pytest

from janagent.engine.context import Context, ContextOptions, open_context
from janagent.engine.llama_log import EngineLog
from janagent.engine.model import Model, Tokens, load_model
from janagent.engine.retained import Retained
from janagent.engine.sampling import Sampling
from janagent.engine.slots import Slot
from janagent.engine.table import SlotTable
from janagent.engine.text import TextStream
from janagent.engine.work import Generation
from tests.engine.architectures import write_recurrent, write_windowed

N_TOKENS = 14
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
    return next(slot for slot in table if slot.generation is wanted)


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
    expected = answer(context, table, alone, N_TOKENS)
    table.release(slot_of(table, alone))
    for each in generations:
        table.occupy(each)
    assert step(context, table) == [0, 1, 2]
    begun = [slot_of(table, generations[2]).next_token]
    middle = next(slot for slot in (slot_of(table, g) for g in generations) if slot.seq_id == 1)
    assert middle.generation is not generations[2]
    remembered = middle.tokens[: middle.n_past].copy()
    table.release(middle)
    places = []
    while len(begun) < N_TOKENS:
        places.append(step(context, table))
        begun.append(slot_of(table, generations[2]).next_token)
    assert begun == expected
    assert places[0] == [0, 2]  # somebody may come and fill it
    assert places[-1] == [0, 1]
    assert middle.seq_id == 2  # what it remembers moved out of the way, and is still good for the next turn
    np.testing.assert_array_equal(middle.tokens[: middle.n_past], remembered)
    assert context.trim(2, keep=remembered.size) == remembered.size


def test_what_was_waited_for_is_copied_before_its_slot_is_given_away(
    context: Context, model: Model, table: SlotTable
):
    first = generation(prompt(model, "What is the capital of France?"))
    table.occupy(first)
    step(context, table)
    source = slot_of(table, first)
    for number in range(2):  # running answers in the other slots
        table.occupy(generation(model.tokenize(f"{number} is a number.", special=False)))
    second = generation(prompt(model, "Who wrote Hamlet?"))
    table.release(next(slot for slot in table if slot.generation not in (None, first)))
    table.occupy(second)
    slot_of(table, second).source = source  # as if it were still waiting
    table.release(source)
    table.occupy(generation(model.tokenize("Something else.", special=False), seed=1))
    begin = model.tokenize(BEGIN, special=False).size
    assert second.n_cached == pytest.approx(begin, abs=2)


def test_a_full_slot_drops_half_of_what_its_answer_does_not_keep(context: Context, model: Model):
    context.clear_memory()
    table = SlotTable(context, n_slots=3, ctx_len=128)
    first = generation(prompt(model, "Tell me a story."))
    first.n_keep = 10
    table.occupy(first)
    answer(context, table, first, 40)
    slot = slot_of(table, first)
    before, n_past = slot.tokens.copy(), slot.n_past
    table.shift(slot)
    n_dropped = (n_past - 10) // 2
    assert (slot.n_past, slot.n_prefill) == (n_past - n_dropped, 0)
    np.testing.assert_array_equal(slot.tokens[:10], before[:10])
    np.testing.assert_array_equal(slot.tokens[10 : slot.n_past], before[10 + n_dropped : n_past])
    assert len(answer(context, table, first, 5)) == 5
    other = generation(first.prompt)  # while the first one runs
    table.occupy(other)
    step(context, table)
    assert other.n_cached <= 10
    table.release(slot)
    assert (slot.n_past, slot.n_shifted) == (10, 0)
    last = llama_cpp.llama_memory_seq_pos_max(context.memory, slot.seq_id)
    assert last == 9


def displace(context: Context, table: SlotTable, model: Model, *, token_s: float = math.inf) -> None:
    """Take every slot with something else."""
    for number in range(len(table)):
        one = generation(model.tokenize(f"{number} is the number of this text, and long", special=False))
        table.occupy(one, token_s=token_s)
        answer(context, table, one, 2)
    for slot in list(table):
        table.release(slot)


def test_a_conversation_that_lost_its_slot_comes_back_with_its_next_turn(context: Context, model: Model):
    context.clear_memory()
    table = SlotTable(context, n_slots=3, ctx_len=128, retained=Retained(1 << 30))
    first = generation(prompt(model, "What is the capital of France?"))
    table.occupy(first)
    said = answer(context, table, first, 6)
    table.release(slot_of(table, first))
    displace(context, table, model)
    whole = np.concatenate((first.prompt, np.array(said, dtype=np.int32)))
    alone = generation(whole, seed=1)
    again = generation(whole)
    table.occupy(again)
    assert again.n_cached == whole.size - 1
    found = answer(context, table, again, 8)
    table.release(slot_of(table, again))
    table.occupy(alone)
    assert answer(context, table, alone, 8) == found
    assert alone.n_cached == 0


def test_a_system_prompt_that_lost_its_slot_is_computed_by_nobody_again(context: Context, model: Model):
    context.clear_memory()
    table = SlotTable(context, n_slots=3, ctx_len=128, retained=Retained(1 << 30))
    first = generation(prompt(model, "What is the capital of France?"))
    table.occupy(first)
    answer(context, table, first, 2)
    table.release(slot_of(table, first))
    displace(context, table, model)
    others = [generation(prompt(model, end)) for end in ("Who wrote Hamlet?", "How many legs has a spider?")]
    for other in others:
        table.occupy(other)
    step(context, table)
    begin = model.tokenize(BEGIN, special=False).size
    assert [other.n_cached for other in others] == [pytest.approx(begin, abs=2)] * 2


@pytest.mark.parametrize(("token_s", "is_kept"), [(1e-9, False), (1.0, True)])
def test_what_is_computed_as_quickly_as_copied_is_not_retained(
    context: Context, model: Model, token_s: float, is_kept: bool
):
    context.clear_memory()
    table = SlotTable(context, n_slots=3, ctx_len=128, retained=Retained(1 << 30))
    other = generation(np.arange(100, 140, dtype=np.int32))
    table.occupy(other)
    answer(context, table, other, 2)
    table.release(slot_of(table, other))
    displace(context, table, model)  # what copying takes is known now
    first = generation(prompt(model, "What is the capital of France?"))
    table.occupy(first)
    answer(context, table, first, 2)
    table.release(slot_of(table, first))
    displace(context, table, model, token_s=token_s)
    again = generation(first.prompt)
    table.occupy(again)
    assert (again.n_cached > 2) == is_kept


def test_a_prompt_is_new_but_for_what_some_slot_has(context: Context, model: Model, table: SlotTable):
    first = generation(prompt(model, "What is the capital of France?"))
    assert table.n_new(first.prompt) == first.prompt.size
    table.occupy(first)
    answer(context, table, first, 2)
    assert table.n_new(first.prompt) == 1, "its last token is computed in any case"
    assert table.n_new(np.append(first.prompt[:5], first.prompt[:7])) == 7


def test_without_room_for_it_nothing_is_retained(context: Context, model: Model, table: SlotTable):
    first = generation(prompt(model, "What is the capital of France?"))
    table.occupy(first)
    answer(context, table, first, 2)
    table.release(slot_of(table, first))
    displace(context, table, model)
    again = generation(first.prompt)
    table.occupy(again)
    assert again.n_cached <= 2


@pytest.fixture(scope="module", params=[write_windowed, write_recurrent], ids=["sliding window", "recurrent"])
def odd_context(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, engine_log: EngineLog
) -> Context:
    path = request.param(tmp_path_factory.mktemp("odd") / "odd.gguf")
    odd = load_model(str(path), n_gpu_layers=0, on_progress=lambda _fraction: None)
    return open_context(odd, ContextOptions(n_ctx=1536, n_batch=256, n_seq_max=3, n_threads=1))


def alone(context: Context, wanted: Tokens, n_tokens: int) -> list[int]:
    """The answer to a prompt that nobody was there before."""
    context.clear_memory()
    table = SlotTable(context, n_slots=3, ctx_len=512)
    one = generation(wanted)
    table.occupy(one)
    return answer(context, table, one, n_tokens)


def test_answers_of_models_with_an_odd_memory_do_not_depend_on_who_was_there_before(odd_context: Context):
    """Shared, waited for, moved, gone on with: each answer is that of the same prompt on its own."""
    context, end = odd_context, np.arange(200, 206, dtype=np.int32)
    begin = np.arange(10, 110, dtype=np.int32)
    prompts = [np.concatenate((begin[:size], end)) for size in (100, 60, 40)]
    expected = [alone(context, each, 24) for each in prompts]
    context.clear_memory()
    table = SlotTable(context, n_slots=3, ctx_len=512)
    generations = [generation(each) for each in prompts]
    for each in generations:
        table.occupy(each)
    assert answer(context, table, generations[1], 8) == expected[1][:8]
    table.release(slot_of(table, generations[1]))
    last = slot_of(table, generations[2])
    begun = last.next_token
    at = expected[2].index(begun)
    rest = [begun, *answer(context, table, generations[2], 12)]
    assert rest == expected[2][at : at + 13]
    again = generation(prompts[1][:64])
    table.occupy(again)
    found = answer(context, table, again, 8)
    assert found == alone(context, prompts[1][:64], 8)


def test_a_conversation_of_an_odd_memory_comes_back_too(odd_context: Context):
    context, begin = odd_context, np.arange(10, 70, dtype=np.int32)
    expected = alone(context, begin, 8)
    context.clear_memory()
    table = SlotTable(context, n_slots=3, ctx_len=512, retained=Retained(1 << 30, window=context.window))
    first = generation(begin)
    table.occupy(first)
    assert answer(context, table, first, 8) == expected
    said = np.array(expected[:7], dtype=np.int32)  # the eighth was not computed on
    table.release(slot_of(table, first))
    for number in range(3):
        other = generation(np.arange(100 + number, 140 + number, dtype=np.int32))
        table.occupy(other)
        answer(context, table, other, 2)
    for slot in list(table):
        table.release(slot)
    wanted = np.concatenate((begin, said, np.arange(200, 206, dtype=np.int32)))
    again = generation(wanted)
    table.occupy(again)
    assert again.n_cached == begin.size + 7
    found = answer(context, table, again, 8)
    assert found == alone(context, wanted, 8)


def test_a_slot_that_another_is_being_copied_from_is_not_written_over(context: Context, model: Model):
    """A client that leaves while somebody waits for its prompt, and a conversation that comes back then."""
    context.clear_memory()
    table = SlotTable(context, n_slots=3, ctx_len=128, retained=Retained(1 << 30))
    back = generation(
        model.tokenize(
            "Roses are red and violets are blue, says the old poem that everybody knows by heart",
            special=False,
        )
    )
    table.occupy(back)
    answer(context, table, back, 4)
    table.release(slot_of(table, back))
    displace(context, table, model)
    leaving = generation(prompt(model, "What is the capital of France?"))
    waiting = generation(prompt(model, "Who wrote Hamlet?"))
    table.occupy(leaving)
    table.occupy(waiting)
    slot = slot_of(table, leaving)
    begin = leaving.prompt[:16]  # a first chunk of its prompt
    context.clear_batch()
    context.add_tokens(begin, position=0, seq_id=slot.seq_id)
    slot.put(begin, batch_index=-1)
    context.decode()
    slot.commit()
    third = generation(model.tokenize("7 is the number of another text", special=False))
    table.occupy(third)
    table.release(slot)
    again = generation(back.prompt)
    table.occupy(again)
    expected = alone(context_like(context), waiting.prompt, 8)
    assert answer(context, table, waiting, 8) == expected
    assert waiting.n_cached == begin.size


def context_like(context: Context) -> Context:
    """Another one over the same model."""
    return open_context(context.model, ContextOptions(n_ctx=1536, n_batch=192, n_seq_max=3, n_threads=1))


def test_a_conversation_comes_back_while_another_is_being_copied(context: Context, model: Model):
    context.clear_memory()
    table = SlotTable(context, n_slots=3, ctx_len=128, retained=Retained(1 << 30))
    ends = ["What is the capital of France, and of Spain, and of Italy?", "Who wrote Hamlet?"]
    first, second = (generation(prompt(model, end)) for end in ends)
    table.occupy(first)
    said = answer(context, table, first, 12)
    table.release(slot_of(table, first))
    displace(context, table, model)
    table.occupy(second)
    step(context, table)
    third = generation(prompt(model, "How many legs has a spider?"))
    table.occupy(third)  # takes the beginning from the second one, with the next step
    whole = np.concatenate((first.prompt, np.array(said, dtype=np.int32)))
    again = generation(whole)
    table.occupy(again)
    assert again.n_cached == whole.size - 1
    assert answer(context, table, again, 8) == alone(context_like(context), whole, 8)


@pytest.fixture(scope="module")
def windowed(tmp_path_factory: pytest.TempPathFactory, engine_log: EngineLog) -> Context:
    path = write_windowed(tmp_path_factory.mktemp("windowed") / "windowed.gguf")
    loaded = load_model(str(path), n_gpu_layers=0, on_progress=lambda _fraction: None)
    return open_context(loaded, ContextOptions(n_ctx=3072, n_batch=256, n_seq_max=3, n_threads=1))


def computed(context: Context, table: SlotTable, wanted: Tokens, n_tokens: int = 2) -> Generation:
    """A finished answer."""
    one = generation(wanted)
    table.occupy(one)
    answer(context, table, one, n_tokens)
    table.release(slot_of(table, one))
    return one


def long_text(size: int, *, first: int = 0) -> Tokens:
    return (10 + (np.arange(size, dtype=np.int32) * 7 + first) % 240).astype(np.int32)


def test_a_window_that_has_moved_on_costs_nobody_what_he_has(windowed: Context):
    """A slot with more of the beginning, which has forgotten it, against one that has less and still can."""
    windowed.clear_memory()
    table = SlotTable(windowed, n_slots=3, ctx_len=1024)
    text = long_text(250)
    computed(windowed, table, text)
    state = windowed.read_state(0)
    assert state is not None
    assert windowed.write_state(
        0, state
    )  # as after a time in memory: without what the window has left behind
    assert not windowed.can_keep(0, 200)
    short = np.concatenate((text[:100], long_text(20, first=3)))
    computed(windowed, table, short)
    wanted = np.concatenate((text[:200], long_text(9, first=5)))
    running = generation(long_text(30, first=1))
    table.occupy(running)
    again = generation(wanted)
    table.occupy(again)
    assert again.n_cached == 100
    found = answer(windowed, table, again, 6)
    assert found == alone(windowed, wanted, 6)


def test_what_is_kept_of_a_window_that_has_moved_on_is_not_taken_for_a_part_of_it(windowed: Context):
    windowed.clear_memory()
    table = SlotTable(windowed, n_slots=3, ctx_len=1024, retained=Retained(1 << 30, window=windowed.window))
    begin = long_text(120)
    for end in (b"first", b"other"):
        computed(windowed, table, np.concatenate((begin, long_text(30, first=end[0]))))
        for number in range(3):
            computed(windowed, table, long_text(60, first=number + 1))
    running = table._retained.find(np.concatenate((begin, long_text(9))), longer_than=0)
    assert running is None
