"""The table of slots over one context: fills and frees them, and moves what the cache holds between them.

Each sequence has a part of the KV cache for itself (a stream of llama.cpp's, not its unified cache), so that
attention reads only what its own conversation holds. In one cache for all, every token looks at the cells of
all conversations, finished ones too, only to find them masked: 10 % of a step of a 135M model with 500 tokens
in each of three other slots. The price is llama.cpp's: it computes sequences together only if their numbers
follow one another (`llama_batch_allocr::split_equal`). So running answers are kept side by side.

Belongs to the decode thread. Neighbours: `slots` decides, `context` has the memory, `scheduler` calls.
"""

import time
from collections.abc import Callable

import numpy as np

from janagent.engine.context import Context
from janagent.engine.sampling import open_sampler
from janagent.engine.slots import Slot, choose_slot, common_prefix
from janagent.engine.work import Generation


class SlotTable:
    """`n_slots` slots of `ctx_len` tokens; `self[i]` has sequence i."""

    def __init__(self, context: Context, *, n_slots: int, ctx_len: int) -> None:
        self._context = context
        self._slots = [Slot(seq_id=i, tokens=np.zeros(ctx_len + 1, dtype=np.int32)) for i in range(n_slots)]
        self._clock = 0

    def __len__(self) -> int:
        return len(self._slots)

    def where(self, wanted: Callable[[Generation], bool]) -> list[Slot]:
        """The slots whose answers are `wanted`."""
        return [slot for slot in self._slots if slot.generation is not None and wanted(slot.generation)]

    @property
    def generations(self) -> list[Generation]:
        """The answers that have a slot."""
        return [slot.generation for slot in self._slots if slot.generation is not None]

    @property
    def n_free(self) -> int:
        """How many slots have no answer."""
        return sum(slot.generation is None for slot in self._slots)

    def occupy(self, generation: Generation) -> None:
        """Give a free slot to `generation`."""
        # A seed asks for the same answer again; a reused cache computes the prompt in other batches, which
        # llama.cpp does not promise to be bit-equal.
        may_reuse = generation.sampling.seed is None
        slot, keep, source, n_shared = choose_slot(self._slots, generation.prompt, may_reuse=may_reuse)
        self._trim(slot, keep=keep)
        slot.next_token = -1
        slot.since_s = time.monotonic()
        slot.sampler = open_sampler(
            generation.sampling,
            model=self._context.model,
            prompt=generation.prompt,
            max_tokens=generation.max_tokens,
        )
        slot.generation = generation
        slot.source, slot.n_shared = source, n_shared
        generation.n_cached = slot.n_past

    def release(self, slot: Slot) -> float:
        """The slot's answer has ended; returns the seconds that it had the slot."""
        slot.sampler.close()
        slot.generation = slot.source = None
        self._clock += 1
        slot.last_used = self._clock
        return time.monotonic() - slot.since_s

    def active(self) -> list[Slot]:
        """The slots to advance now, in the order of their sequences, without gaps where that can be had."""
        for slot in self._slots:
            if slot.source is not None and slot.is_source_due:
                self._take_shared(slot, slot.source)
        active = [slot for slot in self._slots if _is_active(slot)]
        if active and active[-1].seq_id - active[0].seq_id >= len(active):
            self._close_gaps(active)
            active = [slot for slot in self._slots if _is_active(slot)]
        return active

    def forget(self, slot: Slot) -> None:
        """Drop what the cache holds for a slot."""
        self._trim(slot, keep=0)

    def forget_idle(self) -> bool:
        """Drop what free slots remember; whether there was any."""
        idle = [slot for slot in self._slots if slot.generation is None and slot.n_past]
        for slot in idle:
            self.forget(slot)
        return bool(idle)

    def _take_shared(self, slot: Slot, source: Slot) -> None:
        """Copy the common beginning from `source`, as much of it as is there by now."""
        slot.source = None
        generation = slot.generation
        assert generation is not None
        shared = common_prefix(source, generation.prompt)
        if shared > slot.n_past and self._context.copy_sequence(source.seq_id, slot.seq_id):
            slot.tokens[:shared] = source.tokens[:shared]
            self._trim(slot, keep=shared)
        generation.n_cached = slot.n_past

    def _trim(self, slot: Slot, *, keep: int) -> None:
        slot.n_past = self._context.trim(slot.seq_id, keep=keep)
        slot.n_pending = 0

    def _close_gaps(self, active: list[Slot]) -> None:
        """Move the last answers into free slots between the first ones. What these remember moves out."""
        first = active[0].seq_id
        gaps = [slot for slot in self._slots[first : active[-1].seq_id] if not _is_active(slot)]
        for gap, last in zip(gaps, reversed(active), strict=False):
            if gap.generation is not None or gap.seq_id > last.seq_id:
                continue
            if not self._context.swap_sequences(gap.seq_id, last.seq_id, is_one_way=not gap.n_past):
                return
            gap.seq_id, last.seq_id = last.seq_id, gap.seq_id
            self._slots[gap.seq_id], self._slots[last.seq_id] = gap, last


def _is_active(slot: Slot) -> bool:
    return slot.generation is not None and not slot.generation.paused and slot.source is None
