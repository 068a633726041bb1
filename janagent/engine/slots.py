"""The slots: which answer lives in which sequence of the KV cache, and what each may take from another.

A finished answer's tokens stay in its slot, so that the next turn of the same conversation prefills only
what is new. A prompt that begins like one in any other slot, running or not, takes that beginning from there:
a copy of it costs about a thousandth of computing it. Belongs to the decode thread. Pure; `table` moves the
data.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from janagent.engine.drafts import NOTHING, Draft, Evidence
from janagent.engine.media import Placed, next_start, position_of, run_at
from janagent.engine.model import Tokens
from janagent.engine.retained import alike
from janagent.engine.sampling import Sampler
from janagent.engine.work import Generation

#: a common beginning is copied only if it is longer than this, and than this share of a slot: the copy takes
#: the time of computing about a thousandth of the slot, whatever it holds
MIN_SHARED = 16
_MIN_SHARE = 1 / 256


@dataclass(eq=False, kw_only=True)
class Slot:
    """One sequence of the cache.

    `tokens[:n_past]` is what the cache holds for it, the `n_pending` after them are in the batch being
    decoded, the last of which are its `draft`, as much as was tried of its `guess`. `batch_index` is where
    its logits come out (with a draft, the first of them), -1 when this batch brings it none. While `source`
    is set, the slot waits for that one to have prefilled the `n_shared` tokens which both prompts begin with.
    """

    seq_id: int
    tokens: Tokens
    n_past: int = 0
    generation: Generation | None = None
    sampler: Sampler = field(default_factory=lambda: Sampler(None))
    next_token: int = -1
    n_pending: int = 0
    batch_index: int = -1
    guess: Draft = NOTHING
    draft: Tokens = field(default_factory=lambda: NOTHING.tokens)
    evidence: Evidence = field(default_factory=Evidence)
    last_used: int = 0
    since_s: float = 0.0
    source: "Slot | None" = None
    n_shared: int = 0
    n_kept: int = 0
    n_shifted: int = 0
    """Tokens after the first `n_kept` that were dropped: those behind them were computed with them."""

    @property
    def reusable(self) -> Tokens:
        """The cached tokens that are what they would be if computed alone."""
        return self.tokens[: self.n_kept if self.n_shifted else self.n_past]

    @property
    def position(self) -> int:
        """Where in the sequence the next token stands: media may take fewer positions than tokens."""
        media = self.generation.media if self.generation is not None else ()
        return position_of(media, self.n_past) if media else self.n_past

    @property
    def medium(self) -> Placed | None:
        """The run of embeddings that is to be prefilled next, in the place of tokens."""
        media = self.generation.media if self.generation is not None else ()
        return run_at(media, self.n_past) if media else None

    @property
    def n_text(self) -> int:
        """Of `n_prefill`, those up to the next medium."""
        if self.generation is None or not self.generation.media or not self.n_prefill:
            return self.n_prefill
        if self.medium is not None:
            return 0
        end = self.generation.prompt.size
        return next_start(self.generation.media, self.n_past, default=end) - self.n_past

    @property
    def n_prefill(self) -> int:
        """Prompt tokens that are not in the cache yet."""
        done = self.n_past + self.n_shifted
        return 0 if self.generation is None else max(0, self.generation.prompt.size - done)

    @property
    def is_source_due(self) -> bool:
        """Whether the wait for `source` is over: it has what is shared, or will not get it."""
        source = self.source
        if source is None or source.n_past >= self.n_shared:
            return True
        return source.generation is None or source.generation.paused or not source.n_prefill

    def put(self, tokens: Tokens | int, *, batch_index: int) -> None:
        """Note what the batch holds for this slot.

        `batch_index` -1 for a prompt chunk that is not the last.
        """
        n = 1 if isinstance(tokens, int) else tokens.size
        self.tokens[self.n_past : self.n_past + n] = tokens
        self.n_pending = n
        self.batch_index = batch_index

    def judge_guess(self, n_right: int) -> None:
        """Note what became of the guess: `n_right` tokens of the draft came true. One that was not tried is
        judged by the next token alone."""
        tokens, run = self.guess
        if not tokens.size:
            return
        if not self.draft.size:
            n_right = int(self.next_token == tokens[0])
            self.evidence.saw(run, n_right=n_right, was_wrong=not n_right)
        else:
            self.evidence.saw(run, n_right=n_right, was_wrong=n_right < self.draft.size)

    def commit(self) -> None:
        """The batch is in the cache."""
        self.n_past += self.n_pending
        self.n_pending = 0


class Choice(NamedTuple):
    """The slot for a new answer and how many cached tokens of its own it keeps.

    With a `source`, its first `n_shared` tokens are to be had from there instead.
    """

    slot: Slot
    keep: int
    source: Slot | None = None
    n_shared: int = 0


def common_prefix(slot: Slot, prompt: Tokens) -> int:
    """How many tokens of `prompt` the slot's cache begins with.

    At most all but the last, which must be decoded.
    """
    return alike(slot.reusable, prompt)


def shared_prefix(slot: Slot, prompt: Tokens) -> int:
    """Like `common_prefix`, with the part of the slot's own prompt that it is still to prefill."""
    if slot.n_prefill and slot.generation is not None:
        return alike(slot.generation.prompt, prompt)
    return common_prefix(slot, prompt)


def is_worth_copying(n_tokens: int, *, slot: Slot) -> bool:
    """Whether to have `n_tokens` without computing them pays for copying a part of the cache."""
    return n_tokens >= max(MIN_SHARED, _MIN_SHARE * slot.tokens.size)


def choose_slot(
    slots: Iterable[Slot],
    prompt: Tokens,
    *,
    may_reuse: bool,
    may_share: bool = True,
    least_wait: float = 0,
    keepable: Callable[[Slot, int], int] = lambda _slot, n_tokens: n_tokens,
) -> Choice:
    """The free slot to use, at least one of which there is, and what of the cache to begin with.

    `keepable` says how many of the first tokens of a slot can be gone on from.

    1. Without reuse: the slot unused for longest, from nothing.
    2. The longest common beginning wins. If a free slot holds it, and little else, that slot goes on.
       What another slot is still to prefill counts from `least_wait` tokens on: to wait takes a step more.
    3. Else it is copied into the free slot unused for longest, so that a shared system prompt does not wipe
       out somebody's long conversation; unless that slot has nearly as much of it itself, or nothing can be
       shared (not `may_share`).
    """
    slots = list(slots)
    free = [slot for slot in slots if slot.generation is None]
    oldest = unused_longest(free)
    if not may_reuse:
        return Choice(oldest, 0)

    def shared_of(slot: Slot) -> int:
        there, coming = common_prefix(slot, prompt), shared_prefix(slot, prompt)
        is_coming = coming > there and coming - there >= least_wait
        return coming if is_coming else keepable(slot, there)

    shared, best = max(
        ((shared_of(slot), slot) for slot in (slots if may_share else free) if slot.source is None),
        key=lambda found: (found[0], found[1].generation is None, -found[1].last_used),
    )
    if best.generation is None and (shared * 2 >= best.n_past or best is oldest):
        return Choice(best, shared)
    keep = keepable(oldest, common_prefix(oldest, prompt))
    if may_share and is_worth_copying(shared - keep, slot=oldest):
        return Choice(oldest, keep, best, shared)
    return Choice(oldest, keep)


def unused_longest(free: Iterable[Slot]) -> Slot:
    """Of free slots, at least one of which there is."""
    return min(free, key=lambda slot: slot.last_used)


def share_budget(remaining: Sequence[int], budget: int, *, unit: int = 1) -> list[int]:
    """How many prompt tokens each slot may prefill this step, in the order given; together at most `budget`.

    Each gets at most an equal share of what is left, the smallest served first, so that a short prompt is
    not held up by a long one. Of a prompt that goes on, whole units are computed: where they are fewer than
    the prompts, the longest get none this time.
    """
    shares = [0] * len(remaining)
    order = sorted(range(len(remaining)), key=lambda i: remaining[i])
    for done, i in enumerate(order):
        equal = -(-budget // (len(order) - done))
        units = max(1, equal // unit) * unit
        if remaining[i] <= min(units, budget):
            shares[i] = remaining[i]
        elif budget >= unit:
            shares[i] = min(units, budget - budget % unit)
        budget -= shares[i]
    return shares
