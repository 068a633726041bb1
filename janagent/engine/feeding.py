"""Puts a medium's embeddings into a slot's sequence, some at a time. Decode thread only.

Apart from the scheduler, which fills batches with tokens: llama.cpp takes embeddings in batches of their own.
"""

from collections.abc import Iterable

from janagent.engine.context import Context, Decoded
from janagent.engine.media import position_of
from janagent.engine.slots import Slot


def next_to_see(active: Iterable[Slot]) -> Slot | None:
    """The slot whose answer has waited longest, of those that are at a medium."""
    return min(
        (slot for slot in active if slot.medium is not None), key=lambda slot: slot.since_s, default=None
    )


def prefill_medium(context: Context, slot: Slot, *, at_most: int) -> Decoded:
    """Decode what comes next of the medium that `slot` is at.

    Of a medium whose attention is not causal, that is all of it, however many `at_most` are asked for.
    """
    generation, placed = slot.generation, slot.medium
    assert generation is not None
    assert placed is not None
    run, first = placed.run, slot.n_past - placed.start
    size = run.size - first
    if run.is_causal:
        size = min(size, at_most, context.n_batch)
    context.clear_batch()
    result = context.decode_embeddings(
        run.embeddings[first : first + size],
        run.positions(first, size, first=position_of(generation.media, placed.start)),
        seq_id=slot.seq_id,
        is_causal=run.is_causal,
    )
    if result is Decoded.OK:
        slot.put(generation.prompt[slot.n_past : slot.n_past + size], batch_index=-1)
        slot.commit()
    return result
