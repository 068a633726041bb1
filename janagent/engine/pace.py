"""How long prompts take, and so how much of them one step may take.

Belongs to the decode thread; pure. Neighbours: `batch` fills steps accordingly, `scheduler` measures them.
"""

#: how long one step should last because of prompt chunks: while answers run beside them, and without. The
#: rest of a prompt, less than a tile, may come on top
_STALL_S = 0.2
_CHUNK_S = 0.6
MIN_CHUNK = 32
TILE = 64
"""On a CPU, llama.cpp's flash attention computes that many tokens of a sequence together; fewer of them one
by one, which takes three times as long for each (GGML_FA_TILE_Q in ggml-cpu; not with a quantized cache)."""
_WORTH = 1.5
"""How much longer than the step that fewer tokens make the shortest one with a tile may be."""
_DOUBT = 0.99
"""With each shorter chunk, what long ones take is doubted a little more, until one is tried again."""


class Pace:
    """Seconds that a prompt token takes, in chunks of whole tiles and in smaller ones."""

    def __init__(self, token_s: float = 0.002) -> None:
        """`token_s`: what is believed until something was measured."""
        self.token_s = token_s
        """In long chunks, the rule for long prompts."""
        self._is_measured = False
        self._short_s: float | None = None

    def learn(self, n_tokens: int, took_s: float, *, least: int) -> None:
        """A step with so many prompt tokens was measured, of each prompt `least` of them or more. With only
        a few, most of the time is not theirs."""
        if n_tokens < MIN_CHUNK:
            return
        token_s = took_s / n_tokens
        if least >= TILE:
            self.token_s = smoothed(self.token_s if self._is_measured else token_s, token_s)
            self._is_measured = True
        else:
            self._short_s = smoothed(self._short_s or token_s, token_s)
            if self._is_measured:  # a token of a tile takes no longer
                self.token_s = min(_DOUBT * self.token_s, self._short_s)
            else:
                self.token_s = self._short_s

    def chunk(self, *, is_alone: bool) -> int:
        """How many prompt tokens one step may take, whole tiles or fewer tokens than one has; `is_alone`: no
        answer waits for its end."""
        limit_s, least = (_CHUNK_S, TILE) if is_alone else (_STALL_S, MIN_CHUNK)
        if (tiles := int(limit_s / self.token_s / TILE)) > 0:
            return tiles * TILE
        short_s = self._short_s or self.token_s
        few = min(TILE, max(least, int(limit_s / short_s)))
        return TILE if TILE * self.token_s <= _WORTH * few * short_s else few


def smoothed(before_s: float, took_s: float, *, weight: float = 0.3) -> float:
    """What something takes, going by how long it just took: not far above what is known, as the machine may
    have been busy for a moment."""
    return before_s + weight * (min(took_s, 2 * before_s) - before_s)
