"""Which part of a long chat the model still gets: the system message, and the latest turns.

Only for models with `context_shift`. The same beginning of a chat is cut at the same place each time, half of
the context at once, so that the next turns find what they go on from in the cache. Pure.
"""

from collections.abc import Sequence

#: a chat longer than this share of the context is cut, to that share
_FULL = 0.75
_AFTER = 0.5

SYSTEM_ROLES = ("system", "developer")


def first_kept(roles: Sequence[str], sizes: Sequence[int], *, ctx_len: int) -> int:
    """The index of the first message to keep, beside the system messages at the beginning.

    `sizes` are the tokens of each message, about. Only whole turns go, from one message of the user to the
    next, so that no answer stays without its question and no result without its call.
    """
    begin = n_system(roles)
    starts = [begin, *(at for at in range(begin + 1, len(roles)) if roles[at] == "user")]
    ends = [*starts[1:], len(roles)]
    fixed, kept, total = sum(sizes[:begin]), 0, sum(sizes[:begin])
    for turn, (start, end) in enumerate(zip(starts, ends, strict=True)):
        total += sum(sizes[start:end])
        if total <= _FULL * ctx_len:
            continue
        while kept < turn and total > max(_AFTER * ctx_len, fixed):
            total -= sum(sizes[starts[kept] : ends[kept]])
            kept += 1
    return starts[kept] if begin < len(roles) else begin


def next_turn(roles: Sequence[str], first: int) -> int | None:
    """The first message of the turn after the one that begins at `first`; None if that is the last."""
    return next((at for at in range(first + 1, len(roles)) if roles[at] == "user"), None)


def n_system(roles: Sequence[str]) -> int:
    """How many messages at the beginning are the system's."""
    return next((at for at, role in enumerate(roles) if role not in SYSTEM_ROLES), len(roles))
