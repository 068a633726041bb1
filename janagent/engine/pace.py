"""How long prompts take, and so how much of them one step may take.

Belongs to the decode thread; pure. Neighbours: `batch` fills steps accordingly, `scheduler` measures them.
"""

#: how long one step may last because of prompt chunks: while answers run beside them, and without
_STALL_S = 0.2
_CHUNK_S = 0.6
MIN_CHUNK = 32
TILE = 64
"""On a CPU, llama.cpp's attention computes that many tokens of a sequence together; fewer of them one by one,
which takes three times as long for each (ggml-cpu's flash attention, GGML_FA_TILE_Q)."""
_WORTH = 1.5
"""How much longer than the step that fewer tokens make the shortest one with a tile may be."""
_SMOOTHING = 0.3


class Pace:
    """Seconds that a prompt token takes, in chunks that fill a tile and in smaller ones."""

    def __init__(self, token_s: float = 0.002) -> None:
        """`token_s`: what is believed until something was measured."""
        self.token_s = token_s
        """In long chunks, the rule for long prompts."""
        self._short_s = token_s

    def learn(self, n_tokens: int, took_s: float) -> None:
        """A step with so many tokens was measured; of a few, most of the time is not theirs."""
        if n_tokens >= TILE:
            self.token_s += _SMOOTHING * (took_s / n_tokens - self.token_s)
        elif n_tokens >= MIN_CHUNK:
            self._short_s += _SMOOTHING * (took_s / n_tokens - self._short_s)

    def chunk(self, *, is_alone: bool) -> int:
        """How many prompt tokens one step may take; `is_alone`: no answer waits for its end."""
        limit_s, least = (_CHUNK_S, TILE) if is_alone else (_STALL_S, MIN_CHUNK)
        if (tiles := int(limit_s / self.token_s / TILE)) > 0:
            return tiles * TILE
        few = min(TILE, max(least, int(limit_s / self._short_s)))
        return TILE if TILE * self.token_s <= _WORTH * few * self._short_s else few
