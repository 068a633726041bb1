"""Guesses at the next tokens of an answer, for one decode to check several of: prompt lookup.

Where the last tokens stood before, in the prompt or in the answer, what followed them there may follow again:
so it is when a text is quoted, summarised or changed in places. The model computes all of the guess in one
step; the sampler then chooses token by token as ever and stops at the first that is not the guessed one, so
that the distribution of answers is the same as without.

How many tokens to guess depends on what a step of so many costs, next to nothing on a GPU and nearly as much
as so many steps on a few cores, and on how likely the next one comes true. Both are measured: the cost by
steps, the chance by what each answer said where something could be guessed, tried or not. So drafts stop by
themselves where they do not pay, and begin again where they would.

Source: A. Saxena, "Prompt Lookup Decoding", 2023. Pure but for the clock that its caller reads.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from janagent.engine.model import Tokens
from janagent.engine.pace import smoothed

#: rows of logits in one step, over all answers
MAX_OUTPUTS = 32
_LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 31)
#: a run of fewer tokens that stood there before says nothing; longer ones are told apart up to the longest
_SHORTEST_RUN = 2
_LONGEST_RUN = 32
#: of the places where the last token stood before, so many of the latest are looked at: where a long text
#: repeats one line, all of them would take longer than the step
_MOST_PLACES = 2048
_CLASSES = (4, 8, 16)
#: what is believed of each class at first: so many tokens came true, and one did not
_BELIEFS = (1.0, 3.0, 8.0, 19.0)
_MEMORY = 0.9
_MOST_BELIEF = 40.0
#: nothing comes true for ever
_LEAST_DOUBT = 0.05
_SMOOTHING = 0.1
_DOUBT = 0.99
#: until it is measured: by how much of a plain step a step is longer for each guessed token
_FIRST_COST = 0.35
#: a gain below this is not worth being wrong sometimes
_LEAST_GAIN = 1.15


class Draft(NamedTuple):
    """What followed, and how many of the last tokens stood before it."""

    tokens: Tokens
    run: int = 0


NOTHING = Draft(np.zeros(0, dtype=np.int32))


def look_up(tokens: Tokens, *, at_most: int) -> Draft:
    """What followed where `tokens` had the longest run which they end in, the latest such place; it is
    `at_most` tokens, fewer where a picture or a sound (negative ids) follows, or nothing."""
    end = tokens.size
    if end <= _SHORTEST_RUN or at_most <= 0:
        return NOTHING
    ends = np.flatnonzero(tokens[: end - 1] == tokens[end - 1])[-_MOST_PLACES:]
    run = 1
    while ends.size and run < _LONGEST_RUN:
        longer = ends[ends >= run]
        longer = longer[tokens[longer - run] == tokens[end - 1 - run]]
        if not longer.size:
            break
        ends, run = longer, run + 1
    if not ends.size or run < _SHORTEST_RUN:
        return NOTHING
    follows = int(ends[-1]) + 1
    period = end - follows  # what goes round in a loop goes round again
    found = tokens[follows + np.arange(at_most) % period]
    if (media := np.flatnonzero(found < 0)).size:
        found = found[: media[0]]
    return Draft(found, run) if found.size else NOTHING


class Evidence:
    """How often guesses at one answer's tokens came true lately, by the run that they followed."""

    def __init__(self) -> None:
        self._right = list(_BELIEFS)
        self._wrong = [1.0] * len(_BELIEFS)

    def chance(self, run: int) -> float:
        """That the next token after a run of `run` is the guessed one."""
        at = _class_of(run)
        return self._right[at] / (self._right[at] + self._wrong[at])

    def saw(self, run: int, *, n_right: int, was_wrong: bool) -> None:
        """So many tokens of a guess came true, and the next did not (`was_wrong`) or was not guessed at."""
        at = _class_of(run)
        self._right[at] = min(_MEMORY * self._right[at] + n_right, _MOST_BELIEF)
        self._wrong[at] = max(_LEAST_DOUBT, _MEMORY * self._wrong[at] + was_wrong)


def _class_of(run: int) -> int:
    return sum(run >= limit for limit in _CLASSES)


class Costs:
    """What a step takes by the number of answers and of tokens guessed for each: without any, and along a
    line fitted to steps with some."""

    def __init__(self) -> None:
        self._plain_s: dict[int, float] = {}
        self._sums: dict[int, tuple[float, float, float, float, float]] = {}

    def plain(self, n_answers: int, took_s: float) -> None:
        """A step without guesses was measured."""
        before_s = self._plain_s.get(n_answers, took_s)
        self._plain_s[n_answers] = smoothed(before_s, took_s, weight=_SMOOTHING)

    def drafted(self, n_answers: int, length: int, took_s: float) -> None:
        """A step with `length` guessed tokens for each answer was measured."""
        if n_answers in self._sums:
            took_s = min(took_s, 2 * (self.seconds(n_answers, length) or took_s))
        kept = (_MEMORY * value for value in self._sums.get(n_answers, (0.0,) * 5))
        new = (1.0, length, took_s, length * length, length * took_s)
        n, x, y, xx, xy = (old + more for old, more in zip(kept, new, strict=True))
        self._sums[n_answers] = (n, x, y, xx, xy)

    def skipped(self, n_answers: int) -> None:
        """Guesses cost too much to try any. What was measured is doubted more with each time, until they are
        tried again: the machine may have been busy then."""
        plain_s = self._plain_s.get(n_answers)
        if plain_s is not None and n_answers in self._sums:
            n, x, y, xx, xy = self._sums[n_answers]
            y, xy = (_DOUBT * cost + (1 - _DOUBT) * plain_s * of for cost, of in ((y, n), (xy, x)))
            self._sums[n_answers] = (n, x, y, xx, xy)

    def seconds(self, n_answers: int, length: int) -> float | None:
        """What such a step would take; None before anything is known."""
        plain_s = self._plain_s.get(n_answers)
        if plain_s is None or length == 0:
            return plain_s
        if n_answers not in self._sums:
            return plain_s * (1 + _FIRST_COST * length)
        n, x, y, xx, xy = self._sums[n_answers]
        spread = n * xx - x * x
        if spread < 1e-6 * n * xx:  # all of one length: a line from the plain step to there
            return plain_s + max(0.0, y / n - plain_s) * length / (x / n)
        slope = max(0.0, (n * xy - x * y) / spread)
        return max(plain_s, (y - slope * x) / n + slope * length)


def best_length(n_answers: int, drafts: Sequence[Draft], chances: Sequence[float], costs: Costs) -> int:
    """How many tokens to guess for each answer: as brings most tokens a second; 0: none.

    There is a draft and a chance for each answer.
    """
    plain_s = costs.seconds(n_answers, 0)
    longest = min((draft.tokens.size for draft in drafts), default=0)
    if plain_s is None or not longest:
        return 0
    best, best_rate = 0, _LEAST_GAIN * n_answers / plain_s
    for length in {*(length for length in _LENGTHS if length < longest), longest}:
        tokens = sum((1 - chance ** (length + 1)) / (1 - chance) for chance in chances)
        seconds = costs.seconds(n_answers, length)
        if seconds and tokens / seconds > best_rate:
            best, best_rate = length, tokens / seconds
    return best
