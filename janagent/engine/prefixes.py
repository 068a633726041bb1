"""Rows of tokens in order, so that those that begin alike stand side by side: what a trie is for, in a list.

A look-up takes a few comparisons of bytes, however many rows there are. Pure. Neighbour: `retained`.
"""

import bisect
from typing import Generic, TypeVar

from janagent.engine.model import Tokens

Value = TypeVar("Value")


def key_of(tokens: Tokens) -> bytes:
    """`tokens` as bytes that sort like them, the beginnings of a row before the row."""
    return tokens.astype(">u4").tobytes()


def n_alike(one: bytes, other: bytes) -> int:
    """How many tokens both keys begin with."""
    low, high = 0, min(len(one), len(other)) // 4
    if one[: 4 * high] == other[: 4 * high]:
        return high
    while high - low > 1:  # the first `low` are alike, the first `high` are not
        middle = (low + high) // 2
        low, high = (middle, high) if one[: 4 * middle] == other[: 4 * middle] else (low, middle)
    return low


class Prefixes(Generic[Value]):
    """One value for each row of tokens. Rows are given as `key_of` makes them."""

    def __init__(self) -> None:
        self._keys: list[bytes] = []
        self._values: list[Value] = []

    def put(self, key: bytes, value: Value) -> None:
        """Add a row, which must not be there yet."""
        at = bisect.bisect_left(self._keys, key)
        self._keys.insert(at, key)
        self._values.insert(at, value)

    def remove(self, key: bytes) -> None:
        """Take out a row that is there."""
        at = bisect.bisect_left(self._keys, key)
        del self._keys[at], self._values[at]

    def longer(self, key: bytes) -> Value | None:
        """A row that begins with all of `key`."""
        at = bisect.bisect_left(self._keys, key)
        return self._values[at] if self._keys[at : at + 1] and self._keys[at].startswith(key) else None

    def shorter(self, key: bytes) -> Value | None:
        """The longest row that is all of it a beginning of `key`."""
        while at := bisect.bisect_right(self._keys, key):
            found = self._keys[at - 1]
            if key.startswith(found):
                return self._values[at - 1]
            key = key[: 4 * n_alike(key, found)]
        return None

    def most_alike(self, key: bytes) -> tuple[Value, int] | None:
        """The row that has the longest beginning in common with `key`, and how many tokens that is."""
        at = bisect.bisect_left(self._keys, key)
        best: tuple[Value, int] | None = None
        for place in range(max(0, at - 1), min(at + 1, len(self._keys))):
            alike = n_alike(key, self._keys[place])
            if best is None or alike > best[1]:
                best = self._values[place], alike
        return best
