"""The table of slots over one context: fills and frees them, and moves what the cache holds between them.

Each sequence has a part of the KV cache for itself (a stream of llama.cpp's, not its unified cache), so that
attention reads only what its own conversation holds. In one cache for all, every token looks at the cells of
all conversations, finished ones too, only to find them masked: 10 % of a step of a 135M model with 500 tokens
in each of three other slots. The price is llama.cpp's: it computes sequences together only if their numbers
follow one another (`llama_batch_allocr::split_equal`). So running answers are kept side by side.

Belongs to the decode thread. Neighbours: `slots` decides, `context` has the memory, `scheduler` calls.
"""

import math
import time
from collections.abc import Iterator

import numpy as np

from janagent.engine.context import Context
from janagent.engine.drafts import Evidence
from janagent.engine.media import position_of, whole_runs
from janagent.engine.model import Tokens
from janagent.engine.pace import smoothed
from janagent.engine.retained import Match, Retained
from janagent.engine.sampling import open_sampler
from janagent.engine.slots import Slot, choose_slot, common_prefix, is_worth_copying, unused_longest
from janagent.engine.work import Generation

#: steps that a gap between running answers may last: an answer that ends is often followed by the next one
#: soon, and to move a conversation takes time too
_GAP_STEPS = 8
#: a conversation is copied into main memory if computing what is lost of it would take so many times as long
_WORTH_READING = 4
#: what copying a byte is believed to take before the first one was copied, which always is
_READ_BYTE_S = 1e-9
#: with each time that this was not so, what copying takes is doubted a little more
_DOUBT = 0.98


class SlotTable:
    """`n_slots` slots of `ctx_len` tokens; `self[i]` has sequence i."""

    def __init__(
        self, context: Context, *, n_slots: int, ctx_len: int, retained: Retained | None = None
    ) -> None:
        self._context = context
        self._retained = Retained(0) if retained is None else retained
        self._slots = [Slot(seq_id=i, tokens=np.zeros(ctx_len + 1, dtype=np.int32)) for i in range(n_slots)]
        self._clock = 0
        self._gap_age = 0
        self._read_byte_s = 0.0

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots)

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def has_work(self) -> bool:
        """Whether an answer is to be advanced or given up. Asked before every step."""
        for slot in self._slots:
            generation = slot.generation
            if generation is not None and (generation.cancelled or not generation.paused):
                return True
        return False

    def cancelled(self) -> list[Slot]:
        """The slots whose answers nobody wants any more."""
        return [slot for slot in self._slots if slot.generation is not None and slot.generation.cancelled]

    @property
    def generations(self) -> list[Generation]:
        """The answers that have a slot."""
        return [slot.generation for slot in self._slots if slot.generation is not None]

    @property
    def n_free(self) -> int:
        """How many slots have no answer."""
        return sum(slot.generation is None for slot in self._slots)

    def n_new(self, prompt: Tokens) -> int:
        """How many tokens of `prompt` no slot has, whether or not it may go on from there."""
        return int(prompt.size) - max(common_prefix(slot, prompt) for slot in self._slots)

    def occupy(self, generation: Generation, *, least_wait: float = 0, token_s: float = math.inf) -> None:
        """Give a free slot to `generation`, which waits for no fewer than `least_wait` tokens that another is
        computing. `token_s`: what computing one takes."""
        # A seed asks for the same answer again; a reused cache computes the prompt in other batches, which
        # llama.cpp does not promise to be bit-equal.
        may_reuse = generation.sampling.seed is None
        self._settle()
        slot, keep, source, n_shared = choose_slot(
            self._slots,
            generation.prompt,
            may_reuse=may_reuse,
            may_share=self._context.can_cut,
            least_wait=least_wait,
            keepable=lambda slot, keep: self._keepable(slot, generation, keep),
        )
        match = self._better(generation.prompt, max(keep, n_shared)) if may_reuse else None
        if match is not None and (free := self._oldest_writable()) is not None:
            slot, source, n_shared = free, None, 0
            kept = common_prefix(slot, generation.prompt) if self._context.can_cut else 0
            self._retain(slot, keep=kept, token_s=token_s)
            keep = self._put_back(slot, match)
        else:
            self._retain(slot, keep=keep, token_s=token_s)
        slot.generation = generation
        self._trim(slot, keep=keep)
        slot.next_token = -1
        slot.evidence = Evidence()
        slot.since_s = time.monotonic()
        slot.sampler = open_sampler(
            generation.sampling,
            model=self._context.model,
            prompt=generation.prompt,
            max_tokens=generation.max_tokens,
            walk=generation.walk,
            reports_logits=generation.top_logprobs is not None,
        )
        slot.source, slot.n_shared = source, n_shared
        generation.n_cached = slot.n_past
        if source is not None and slot.is_source_due:
            self._take_shared(slot, source)

    def release(self, slot: Slot) -> float:
        """The slot's answer has ended; returns the seconds that it had the slot."""
        slot.sampler.close()
        if slot.n_shifted:
            self._trim(slot, keep=slot.n_kept)
        slot.generation = slot.source = None
        slot.n_shifted = 0
        self._clock += 1
        slot.last_used = self._clock
        return time.monotonic() - slot.since_s

    def active(self) -> list[Slot]:
        """The slots to advance now, in the order of their sequences, without gaps where that can be had."""
        self._settle()
        active = [slot for slot in self._slots if _is_active(slot)]
        has_gap = bool(active) and active[-1].seq_id - active[0].seq_id >= len(active)
        self._gap_age = self._gap_age + 1 if has_gap else 0
        if self._gap_age > _GAP_STEPS:
            self._gap_age = 0
            if self._close_gap(active):
                active.sort(key=lambda slot: slot.seq_id)
        return active

    def shift(self, slot: Slot) -> None:
        """Make room in a full slot: drop half of what follows the beginning that its answer keeps.

        Only right before a decode, which moves the rest.
        """
        assert slot.generation is not None
        n_past = slot.n_past
        slot.n_kept = min(slot.generation.n_keep or 0, n_past // 2)
        end = slot.n_kept + (n_past - slot.n_kept) // 2
        self._context.shift(slot.seq_id, slot.n_kept, end)
        n_dropped = end - slot.n_kept
        slot.tokens[slot.n_kept : n_past - n_dropped] = slot.tokens[end:n_past].copy()
        slot.n_past -= n_dropped
        slot.n_shifted += n_dropped

    def cut(self, slot: Slot, *, keep: int) -> None:
        """Drop what the cache holds for a slot beyond its first `keep` tokens."""
        self._trim(slot, keep=keep)

    def _settle(self) -> None:
        """End the waits that are over; so no free slot is waited for."""
        for slot in self._slots:
            if slot.source is not None and slot.is_source_due:
                self._take_shared(slot, slot.source)

    def _take_shared(self, slot: Slot, source: Slot) -> None:
        """Copy the common beginning from `source`, as much of it as is there by now."""
        slot.source = None
        generation = slot.generation
        assert generation is not None
        shared = self._keepable(source, generation, common_prefix(source, generation.prompt))
        if shared > slot.n_past:
            self._context.share_sequence(source.seq_id, slot.seq_id)
            slot.tokens[:shared] = source.tokens[:shared]
            self._trim(slot, keep=shared)
        generation.n_cached = slot.n_past

    def _keepable(self, slot: Slot, generation: Generation, keep: int) -> int:
        """As much of the first `keep` tokens of a prompt as can be gone on from in `slot`, which has them."""
        keep = whole_runs(generation.media, keep)
        can_keep = self._context.can_keep(slot.seq_id, position_of(generation.media, keep))
        return keep if can_keep else 0

    def _oldest_writable(self) -> Slot | None:
        """The free slot unused for longest that no copy is under way from or into."""
        may_write = self._context.may_write
        free = [slot for slot in self._slots if slot.generation is None and may_write(slot.seq_id)]
        return unused_longest(free) if free else None

    def _better(self, prompt: Tokens, n_cached: int) -> Match | None:
        """What is retained of `prompt`, if it is well more than the slots have."""
        match = self._retained.find(prompt, longer_than=n_cached)
        is_better = match is not None and is_worth_copying(match.n_shared - n_cached, slot=self._slots[0])
        return match if is_better else None

    def _retain(self, slot: Slot, *, keep: int, token_s: float) -> None:
        """Before a slot loses all but `keep` of its tokens: keep a copy, unless there is one, or computing
        what is lost would hardly take longer: it may never be asked for."""
        tokens, n_lost = slot.tokens[: slot.n_past], slot.n_past - keep
        if not self._retained.limit_bytes or not is_worth_copying(n_lost, slot=slot):
            return
        if self._is_elsewhere(slot) or self._retained.holds(tokens):
            return
        n_bytes = self._context.state_bytes(slot.seq_id)
        if n_lost * token_s < _WORTH_READING * n_bytes * self._read_byte_s:
            self._read_byte_s *= _DOUBT
            return
        if n_bytes and self._retained.make_room(n_bytes):
            begun_s = time.perf_counter()
            state = self._context.read_state(slot.seq_id)
            took_s = time.perf_counter() - begun_s
            self._read_byte_s = smoothed(self._read_byte_s or _READ_BYTE_S, took_s / n_bytes)
            if state is not None:
                self._retained.keep(tokens, state)

    def _is_elsewhere(self, slot: Slot) -> bool:
        """Whether another slot has all that this one has, as after a shared beginning."""
        tokens = slot.tokens[: slot.n_past]
        return any(
            other is not slot
            and other.reusable.size >= slot.n_past
            and self._context.can_keep(other.seq_id, slot.n_past)
            and np.array_equal(other.tokens[: slot.n_past], tokens)
            for other in self._slots
        )

    def _put_back(self, slot: Slot, match: Match) -> int:
        """Returns how many tokens of the prompt the slot then has."""
        kept, shared = match
        if not self._context.write_state(slot.seq_id, kept.state):
            return 0
        slot.tokens[:shared] = kept.tokens[:shared]
        return shared

    def _trim(self, slot: Slot, *, keep: int) -> None:
        media = slot.generation.media if slot.generation is not None else ()
        keep = whole_runs(media, keep)
        kept = self._context.trim(slot.seq_id, keep=position_of(media, keep))
        slot.n_past = keep if kept else 0
        slot.n_pending = 0

    def _close_gap(self, active: list[Slot]) -> bool:
        """Move the last answer into the first free slot between the others; what that remembers moves out."""
        last = active[-1]
        between = self._slots[active[0].seq_id : last.seq_id]
        gap = next((slot for slot in between if slot.generation is None), None)
        if gap is None or not self._context.swap_sequences(gap.seq_id, last.seq_id):
            return False
        gap.seq_id, last.seq_id = last.seq_id, gap.seq_id
        self._slots[gap.seq_id], self._slots[last.seq_id] = gap, last
        return True


def _is_active(slot: Slot) -> bool:
    return slot.generation is not None and not slot.generation.paused and slot.source is None
