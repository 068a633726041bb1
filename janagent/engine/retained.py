"""What finished conversations left in the KV cache, kept in main memory when their slot goes to another.

A slot remembers its last conversation only. With more conversations than slots, or one system prompt that
comes back after others, the rest would be computed again; a copy costs less than a hundredth of that. The
least recently used goes first, when the limit is reached or when others on this machine need the memory.

Tokens are compared in a row for each of the entries, of which there are some dozens: a trie over them would
save microseconds. Neighbours: `table` says when, `context` reads and writes the state. Safe to call from any
thread.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from janagent.engine.model import Tokens

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
    are short of memory. Without `may_cut`, a state is good only for what begins with all of its tokens (a
    recurrent one is that of its last token)."""

    def __init__(
        self, limit_bytes: int, *, may_cut: bool = True, spare_bytes: Callable[[], int] | None = None
    ) -> None:
        self.limit_bytes = limit_bytes
        self._may_cut = may_cut
        self._spare_bytes = spare_bytes or (lambda: limit_bytes)
        self._lock = threading.Lock()
        self._kept: list[Kept] = []  # the least recently used first
        self.n_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, tokens: Tokens, state: State) -> None:
        """Remember a conversation. What it goes on from needs no place of its own any more."""
        if state.size > self.limit_bytes:
            return
        self.give_back_if_short()
        with self._lock:
            for other in self._kept.copy():
                if _begins_with(other.tokens, tokens) if self._may_cut else _is_same(other.tokens, tokens):
                    self._drop(other)
            self._kept.append(Kept(tokens.copy(), state))
            self.n_bytes += state.size
            self._shrink(self.limit_bytes)

    def holds(self, tokens: Tokens) -> bool:
        """Whether all of `tokens` can be had back; that counts as use."""
        with self._lock:
            for kept in reversed(self._kept):
                if _begins_with(tokens, kept.tokens) if self._may_cut else _is_same(tokens, kept.tokens):
                    self._use(kept)
                    return True
        return False

    def find(self, prompt: Tokens, *, longer_than: int) -> Match | None:
        """The one with the longest beginning of `prompt`, if that is `longer_than` so many tokens."""
        best: Match | None = None
        with self._lock:
            for kept in reversed(self._kept):
                shared = alike(kept.tokens, prompt)
                if shared > longer_than and (self._may_cut or shared == kept.tokens.size):
                    best, longer_than = Match(kept, shared), shared
            if best is not None:
                self._use(best.kept)
        return best

    def give_back_if_short(self) -> None:
        """Drop as much as others need, the least recently used first."""
        if self._kept and (spare := self._spare_bytes()) < 0:
            with self._lock:
                self._shrink(max(0, self.n_bytes + spare))

    def _use(self, kept: Kept) -> None:
        self._kept.remove(kept)
        self._kept.append(kept)

    def _drop(self, kept: Kept) -> None:
        self._kept.remove(kept)
        self.n_bytes -= kept.state.size

    def _shrink(self, n_bytes: int) -> None:
        while self.n_bytes > n_bytes:
            self._drop(self._kept[0])


def alike(tokens: Tokens, prompt: Tokens) -> int:
    """How many tokens both begin with; at most all of `prompt` but the last, which must be decoded."""
    n = min(tokens.size, prompt.size - 1)
    differing = np.flatnonzero(tokens[:n] != prompt[:n])
    return int(differing[0]) if differing.size else n


def _begins_with(beginning: Tokens, tokens: Tokens) -> bool:
    return beginning.size <= tokens.size and np.array_equal(beginning, tokens[: beginning.size])


def _is_same(tokens: Tokens, others: Tokens) -> bool:
    return np.array_equal(tokens, others)
