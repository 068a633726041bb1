"""What a picture or a sound is inside a prompt: a run of embeddings that stands between tokens.

A prompt stays an array of token ids. Where media stand, it holds negative ids made from their content, so
that two prompts begin alike exactly where the same picture stands at the same place. Pure. Neighbours:
`projector` makes the runs, `slots` and `scheduler` feed them to the model.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from janagent.engine.model import Tokens

Embeddings = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False, kw_only=True)
class MediaRun:
    """Embeddings that are decoded in the place of tokens.

    `embeddings` has shape (n, the model's input width). `offsets`, of shape (4, n), are the positions of a
    run that begins at position 0, for models that see them in several dimensions (M-RoPE), of which the first
    `n_moving` move with it; they then take `n_positions` of the sequence, which may be fewer than n. Where
    attention is not causal, each embedding sees all of the run, so that it has to be decoded at once.
    """

    embeddings: Embeddings
    n_positions: int
    offsets: Positions | None = None
    n_moving: int = 4
    is_causal: bool = True

    @property
    def size(self) -> int:
        """How many tokens it stands for."""
        return len(self.embeddings)

    @property
    def is_divisible(self) -> bool:
        """Whether a sequence may be cut inside it."""
        return self.is_causal and self.offsets is None

    def positions(self, index: int, size: int, *, first: int) -> Positions:
        """The positions of `size` embeddings from number `index` on, where number 0 stands at `first`."""
        if self.offsets is None:
            return np.arange(first + index, first + index + size, dtype=np.int32)
        positions = self.offsets[:, index : index + size].copy()
        positions[: self.n_moving] += first
        return positions


Encoded = tuple[Tokens | MediaRun, ...]
"""One picture or sound: its runs, and the tokens that the model wants around and between them."""


@dataclass(frozen=True, eq=False, slots=True)
class Placed:
    """A run and the index in the prompt where it begins."""

    start: int
    run: MediaRun

    @property
    def end(self) -> int:
        """The index after its last token."""
        return self.start + self.run.size


@dataclass(frozen=True, eq=False, slots=True)
class Prompt:
    """What the model is to go on from: tokens, with negative ids where media stand."""

    tokens: Tokens
    media: tuple[Placed, ...] = ()


def joined(parts: Sequence[Tokens | tuple[bytes, Encoded]]) -> Prompt:
    """Tokens and media, each with the digest of its content, one after the other."""
    tokens: list[Tokens] = []
    media: list[Placed] = []
    size = 0
    for part in parts:
        digest, pieces = part if isinstance(part, tuple) else (b"", (part,))
        for number, piece in enumerate(pieces):
            if isinstance(piece, MediaRun):
                media.append(Placed(size, piece))
                tokens.append(content_ids(digest, number, piece.size))
            else:
                tokens.append(piece)
            size += piece.size
    return Prompt(np.concatenate(tokens) if tokens else np.empty(0, np.int32), tuple(media))


def content_ids(digest: bytes, number: int, size: int) -> Tokens:
    """`size` negative ids for run `number` of the content with `digest`; the same ones each time."""
    drawn = hashlib.shake_128(digest + number.to_bytes(4, "little")).digest(4 * size)
    return np.frombuffer(drawn, dtype=np.int32) | np.int32(-(1 << 31))


def run_at(media: Sequence[Placed], index: int) -> Placed | None:
    """The run that the prompt's token `index` belongs to."""
    return next((placed for placed in media if placed.start <= index < placed.end), None)


def next_start(media: Sequence[Placed], index: int, *, default: int) -> int:
    """Where the first run at or after `index` begins."""
    return next((placed.start for placed in media if placed.start >= index), default)


def position_of(media: Sequence[Placed], index: int) -> int:
    """The position in the sequence at which the prompt's token `index` stands, or the run that it is in."""
    saved = sum(placed.run.size - placed.run.n_positions for placed in media if placed.end <= index)
    inside = run_at(media, index)
    if inside is not None and inside.run.offsets is not None:
        index = inside.start
    return index - saved


def whole_runs(media: Sequence[Placed], keep: int) -> int:
    """`keep`, or less of it, so that no run is cut that must not be."""
    cut = run_at(media, keep)
    return keep if cut is None or cut.run.is_divisible else cut.start
