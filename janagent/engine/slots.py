"""The slots: which answer lives in which sequence of the KV cache, and what an idle one still holds.

A finished answer's tokens stay in its slot, so that the next turn of the same conversation prefills only
what is new. Belongs to the decode thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from janagent.engine.model import Tokens
from janagent.engine.sampling import Sampler
from janagent.engine.work import Generation


@dataclass(eq=False, kw_only=True)
class Slot:
    """One sequence of the cache.

    `tokens[:n_past]` is what the cache holds for it, the `n_pending` after them are in the batch being
    decoded. `batch_index` is where its logits come out, -1 when this batch brings it none.
    """

    seq_id: int
    tokens: Tokens
    n_past: int = 0
    generation: Generation | None = None
    sampler: Sampler = field(default_factory=lambda: Sampler(None))
    next_token: int = -1
    n_pending: int = 0
    batch_index: int = -1
    last_used: int = 0
    since_s: float = 0.0

    @property
    def n_prefill(self) -> int:
        """Prompt tokens that are not in the cache yet."""
        return 0 if self.generation is None else max(0, self.generation.prompt.size - self.n_past)

    def put(self, tokens: Tokens | int, *, batch_index: int) -> None:
        """Note what the batch holds for this slot.

        `batch_index` -1 for a prompt chunk that is not the last.
        """
        n = 1 if isinstance(tokens, int) else tokens.size
        self.tokens[self.n_past : self.n_past + n] = tokens
        self.n_pending = n
        self.batch_index = batch_index

    def commit(self) -> None:
        """The batch is in the cache."""
        self.n_past += self.n_pending
        self.n_pending = 0


def common_prefix(slot: Slot, prompt: Tokens) -> int:
    """How many tokens of `prompt` the slot's cache begins with.

    At most all but the last, which must be decoded.
    """
    n = min(slot.n_past, prompt.size - 1)
    differing = np.flatnonzero(slot.tokens[:n] != prompt[:n])
    return int(differing[0]) if differing.size else n


def choose_slot(free: list[Slot], prompt: Tokens, *, may_reuse: bool) -> tuple[Slot, int]:
    """The free slot to use and how many of its cached tokens to keep.

    The longest common prefix wins, then the slot unused for longest. A prefix that is small against what
    the slot holds is not taken, so that a shared system prompt does not wipe out somebody's long
    conversation.
    """
    oldest = min(free, key=lambda slot: slot.last_used)
    if not may_reuse:
        return oldest, 0
    best = max(free, key=lambda slot: (common_prefix(slot, prompt), -slot.last_used))
    keep = common_prefix(best, prompt)
    if keep * 2 < best.n_past:
        return oldest, common_prefix(oldest, prompt)
    return best, keep


def share_budget(remaining: Sequence[int], budget: int) -> list[int]:
    """How many prompt tokens each slot may prefill this step, in the order given; together at most `budget`.

    Each gets at most an equal share of what is left, the smallest served first, so that a short prompt is
    not held up by a long one and nothing is left unused.
    """
    shares = [0] * len(remaining)
    order = sorted(range(len(remaining)), key=lambda i: remaining[i])
    for done, i in enumerate(order):
        shares[i] = min(remaining[i], -(-budget // (len(order) - done)))
        budget -= shares[i]
    return shares
