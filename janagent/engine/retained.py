"""What finished conversations left in the KV cache, kept in main memory when their slot goes to another.

A slot remembers its last conversation only. With more conversations than slots, or one system prompt that
comes back after others, the rest would be computed again; a copy of a long one costs a fraction of that. The
least recently used goes first, when the limit is reached or when others on this machine need the memory.

Neighbours: `prefixes` finds, `table` says when, `context` reads and writes the state. Safe to call from any
thread.
"""

import collections
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from janagent.engine.model import Tokens
from janagent.engine.prefixes import Prefixes, key_of

State = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Kept:
    """The tokens of a conversation and llama.cpp's state of the sequence that computed them."""

    tokens: Tokens
    state: State


class Match(NamedTuple):
    """A conversation whose first `n_shared` tokens begin a prompt."""

    kept: Kept
    n_shared: int


class Retained:
    """At most `limit_bytes` of states, and fewer while `spare_bytes()` is negative: by so much others
    are short of memory.

    A state of more tokens than `window` is good only for what begins with all of them: layers with a sliding
    window have forgotten what came before it, a recurrent state (`window` 0) is that of its last token.
    `window` None: each can be cut anywhere.
    """

    def __init__(
        self, limit_bytes: int, *, window: int | None = None, spare_bytes: Callable[[], int] | None = None
    ) -> None:
        self.limit_bytes = limit_bytes
        self._window = window
        self._spare_bytes = spare_bytes or (lambda: limit_bytes)
        self._lock = threading.Lock()
        self._by_use: collections.OrderedDict[bytes, Kept] = collections.OrderedDict()
        """The least recently used first."""
        self._whole: Prefixes[bytes] = Prefixes()
        self._divisible: Prefixes[bytes] = Prefixes()
        self.n_bytes = 0

    def __len__(self) -> int:
        return len(self._by_use)

    def make_room(self, n_bytes: int) -> bool:
        """Drop what a state of `n_bytes` takes the place of; False where there is no such place."""
        if n_bytes > self.limit_bytes:
            return False
        with self._lock:
            may_have = min(self.limit_bytes, self.n_bytes + self._spare_bytes()) - n_bytes
            if may_have >= 0:
                self._shrink(may_have)
            return may_have >= 0

    def keep(self, tokens: Tokens, state: State) -> None:
        """Remember a conversation. What it goes on from needs no place of its own any more."""
        if state.size > self.limit_bytes:
            return
        key = key_of(tokens)
        with self._lock:
            while (shorter := self._divisible.shorter(key)) is not None:
                self._drop(shorter)
            if key in self._by_use:
                self._drop(key)
            self._shrink(self.limit_bytes - state.size)
            self._by_use[key] = Kept(tokens.copy(), state)
            self._index_of(key).put(key, key)
            self.n_bytes += state.size

    def holds(self, tokens: Tokens) -> bool:
        """Whether all of `tokens` can be had back; that counts as use."""
        key = key_of(tokens)
        with self._lock:
            found = key if key in self._by_use else self._divisible.longer(key)
            if found is not None:
                self._by_use.move_to_end(found)
            return found is not None

    def find(self, prompt: Tokens, *, longer_than: int) -> Match | None:
        """The one with the longest beginning of `prompt`, if that is `longer_than` so many tokens.

        At most all of `prompt` but the last, which must be decoded.
        """
        key, best = key_of(prompt[:-1]), None
        with self._lock:
            if (whole := self._whole.shorter(key)) is not None and len(whole) // 4 > longer_than:
                best, longer_than = whole, len(whole) // 4
            if (part := self._divisible.most_alike(key)) is not None and part[1] > longer_than:
                best, longer_than = part
            if best is None:
                return None
            self._by_use.move_to_end(best)
            return Match(self._by_use[best], longer_than)

    def give_back_if_short(self) -> None:
        """Drop as much as others need, the least recently used first."""
        if self._by_use and (spare := self._spare_bytes()) < 0:
            with self._lock:
                self._shrink(max(0, self.n_bytes + spare))

    def _index_of(self, key: bytes) -> Prefixes[bytes]:
        is_divisible = self._window is None or len(key) // 4 <= self._window
        return self._divisible if is_divisible else self._whole

    def _drop(self, key: bytes) -> None:
        self.n_bytes -= self._by_use.pop(key).state.size
        self._index_of(key).remove(key)

    def _shrink(self, n_bytes: int) -> None:
        while self.n_bytes > n_bytes:
            self._drop(next(iter(self._by_use)))


def alike(tokens: Tokens, prompt: Tokens) -> int:
    """How many tokens both begin with; at most all of `prompt` but the last, which must be decoded."""
    n = min(tokens.size, prompt.size - 1)
    differing = np.flatnonzero(tokens[:n] != prompt[:n])
    return int(differing[0]) if differing.size else n
