"""The llama_context under the decode thread: batches, outputs, and what the cache forgets."""

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from janagent.engine.context import Context, ContextOptions, Decoded, open_context
from janagent.engine.llama_log import EngineLog
from janagent.engine.model import LoadError, Model, Tokens, load_model
from tests.gguf_files import llama_tensors, write_model


@pytest.fixture(autouse=True)
def _empty(context: Context) -> None:
    context.clear_memory()
    context.clear_batch()


def words(model: Model) -> Tokens:
    return model.tokenize("The capital of France is", special=False)


def test_a_prompt_in_one_batch_or_token_by_token_predicts_the_same(context: Context, model: Model):
    prompt = words(model)
    index = context.add_tokens(prompt, position=0, seq_id=0, want_last=True)
    assert context.decode() is Decoded.OK
    together = int(context.logits(index).argmax())
    for position, token in enumerate(prompt):
        context.clear_batch()
        index = context.add_token(int(token), position=position, seq_id=1)
        assert context.decode() is Decoded.OK
    assert int(context.logits(index).argmax()) == together


def test_sequences_in_one_batch_do_not_see_each_other(context: Context, model: Model):
    prompt = words(model)
    first = context.add_tokens(prompt, position=0, seq_id=0, want_last=True)
    second = context.add_tokens(prompt, position=0, seq_id=1, want_last=True)
    assert context.decode() is Decoded.OK
    np.testing.assert_allclose(context.logits(first), context.logits(second), atol=0.3)


def test_room_shrinks_with_every_token(context: Context):
    assert context.room == 64
    context.add_token(1, position=0, seq_id=0)
    assert context.room == 63


def test_a_trimmed_sequence_goes_on_from_what_is_kept(context: Context, model: Model):
    prompt = words(model)
    context.add_tokens(prompt, position=0, seq_id=0, want_last=True)
    assert context.decode() is Decoded.OK
    assert context.trim(0, keep=2) == 2
    context.clear_batch()
    index = context.add_tokens(prompt[2:], position=2, seq_id=0, want_last=True)
    assert context.decode() is Decoded.OK
    assert model.piece(int(context.logits(index).argmax())) == b" Paris"


def test_a_full_cache_says_so_and_keeps_what_it_has(model: Model):
    small = open_context(model, ContextOptions(n_ctx=256, n_batch=256, n_seq_max=2, n_threads=1))
    filler = np.full(256, 28, dtype=np.int32)
    small.add_tokens(filler, position=0, seq_id=0, want_last=True)
    assert small.decode() is Decoded.OK
    small.clear_batch()
    small.add_token(28, position=256, seq_id=0)
    assert small.decode() is Decoded.NO_ROOM
    assert small.trim(0, keep=100) == 100
    small.clear_batch()
    small.add_token(28, position=100, seq_id=0)
    assert small.decode() is Decoded.OK


def test_one_sequence_never_takes_the_room_of_another(model: Model):
    small = open_context(model, ContextOptions(n_ctx=512, n_batch=256, n_seq_max=2, n_threads=1))
    filler = np.full(256, 28, dtype=np.int32)
    for seq_id in (0, 1):
        small.clear_batch()
        small.add_tokens(filler, position=0, seq_id=seq_id, want_last=True)
        assert small.decode() is Decoded.OK


def after(context: Context, prompt: Tokens, seq_id: int) -> Tokens:
    """The logits after the last token of `prompt`, whose others are in the cache of `seq_id`."""
    context.clear_batch()
    index = context.add_token(int(prompt[-1]), position=prompt.size - 1, seq_id=seq_id)
    assert context.decode() is Decoded.OK
    return context.logits(index).copy()


def fill(context: Context, prompt: Tokens, seq_id: int) -> None:
    context.clear_batch()
    context.add_tokens(prompt[:-1], position=0, seq_id=seq_id, want_last=True)
    assert context.decode() is Decoded.OK


def test_a_copied_sequence_predicts_bit_for_bit_the_same(context: Context, model: Model):
    prompt = words(model)
    fill(context, prompt, 0)
    fill(context, prompt[::-1], 1)
    context.share_sequence(0, 1)
    np.testing.assert_array_equal(after(context, prompt, 0), after(context, prompt, 1))


def test_swapped_sequences_go_on_in_each_others_place(context: Context, model: Model):
    one = words(model)
    two = model.tokenize("Roses are red and violets are", special=False)
    fill(context, one, 0)
    fill(context, two, 1)
    expected = after(context, one, 0), after(context, two, 1)
    assert context.trim(0, keep=one.size - 1)
    assert context.trim(1, keep=two.size - 1)
    assert context.swap_sequences(0, 1)
    np.testing.assert_array_equal(after(context, two, 0), expected[1])
    np.testing.assert_array_equal(after(context, one, 1), expected[0])


def test_a_batch_that_makes_no_sense_is_broken(context: Context):
    context.add_token(10**6, position=0, seq_id=0)
    assert context.decode() is Decoded.BROKEN


def test_a_context_that_cannot_be_made_raises(model: Model):
    with pytest.raises(LoadError):
        open_context(model, ContextOptions(n_ctx=256, n_batch=64, n_seq_max=100_000, n_threads=1))


def test_an_empty_sequence_changes_places_too(context: Context, model: Model):
    one = words(model)
    fill(context, one, 1)
    assert context.swap_sequences(1, 0)
    fill(context, one[::-1], 1)
    assert context.trim(0, keep=one.size - 1) == one.size - 1
    assert model.piece(int(after(context, one, 0).argmax())) == b" Paris"


@pytest.mark.parametrize(
    ("scale", "may"),
    [
        (lambda writer: writer.add_rope_scaling_type(gguf.RopeScalingType.YARN), False),
        (lambda writer: writer.add_rope_scaling_attn_factors(1.2), False),
        (lambda writer: writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR), True),
    ],
    ids=["yarn", "longer keys", "linear"],
)
def test_a_context_shifts_only_where_that_leaves_other_sequences_as_they_are(
    scale: Callable[[gguf.GGUFWriter], None], may: bool, tmp_path: Path, engine_log: EngineLog
):
    def customize(writer: gguf.GGUFWriter) -> None:
        scale(writer)
        writer.add_rope_scaling_factor(8.0)
        writer.add_rope_scaling_orig_ctx_len(64)

    tensors = {name: data * 4 if data.ndim > 1 else data for name, data in llama_tensors().items()}
    path = write_model(tmp_path / "m.gguf", customize=customize, tensors=tensors)
    scaled = load_model(str(path), n_gpu_layers=0, on_progress=lambda _fraction: None)
    one = open_context(scaled, ContextOptions(n_ctx=512, n_batch=128, n_seq_max=2, n_threads=1))
    prompt = np.arange(10, 74, dtype=np.int32)
    fill(one, prompt, 0)
    fill(one, prompt, 1)
    before = after(one, prompt, 1)
    one.trim(1, keep=prompt.size - 1)
    one.shift(0, 4, 34)
    after(one, prompt[:34], 0)
    changed = np.abs(after(one, prompt, 1) - before).max()
    assert one.can_shift is may
    assert bool(changed < 0.01) is may, "what llama.cpp does"


def test_what_is_being_copied_is_neither_read_nor_written_over(context: Context, model: Model):
    prompt = words(model)
    fill(context, prompt, 0)
    context.share_sequence(0, 1)
    assert context.read_state(1) is None
    assert context.read_state(0) is not None
    assert [context.may_write(seq_id) for seq_id in (0, 1)] == [False, False]
    assert not context.swap_sequences(0, 1)
    after(context, prompt, 0)
    assert context.may_write(0)
    assert context.read_state(1) is not None
