"""How a model's vocabulary and its chat template go together: which tokens are marks of calls and thoughts.

Neighbours: `server` asks once a chat; `families` has the marks, `wishes` what may come before a forced shape.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from janagent.engine.calls import Form, Thinking
from janagent.engine.families.channels import FINAL
from janagent.engine.families.known import Family
from janagent.engine.families.llama import LLAMA
from janagent.engine.families.marked import FORCED, IN_WORDS
from janagent.engine.model import Model
from janagent.engine.tools import Toolbox
from janagent.engine.wishes import Detours


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the answers to one chat are to be read, and which ways lead around a shape they must have."""

    form: Form | None
    thinking: Thinking | None
    detours: Detours
    instead: Sequence[Mapping[str, Any]] = ()


NO_READING = Reading(form=None, thinking=None, detours=Detours())
"""All that is said is words."""


class Conversation:
    """One model's way of talking."""

    def __init__(self, model: Model, family: Family) -> None:
        self._model = model
        self._family = family

    def reading(self, prompt: str, toolbox: Toolbox | None, *, hides_thoughts: bool) -> Reading:
        """For the answers to `prompt`. `hides_thoughts`: they come apart from the words."""
        family = self._family
        thinking = family.thinking_after(prompt)
        is_forced = toolbox is not None and bool(toolbox.forced)
        form: Form | None = family.form
        if is_forced:
            form = FORCED
        elif toolbox is None and family.form.channels is None:
            form = None
        offered = () if toolbox is None or is_forced else self._call_tokens
        instead: Sequence[Mapping[str, Any]] = ()
        if toolbox is not None and not is_forced and (not offered or form is IN_WORDS):
            instead = toolbox.call_schemas("parameters" if form is LLAMA else "arguments")
        return Reading(
            form=form,
            thinking=thinking if hides_thoughts else None,
            detours=Detours(
                thinking=self._way_of_thought(thinking, is_forced=is_forced),
                calls=offered,
                shown=self._shown if form is not None or thinking is not None else {},
            ),
            instead=instead,
        )

    def _way_of_thought(
        self, thinking: Thinking | None, *, is_forced: bool
    ) -> tuple[int | None, re.Pattern[str]] | None:
        if self._family.form.channels is not None:
            token = (
                None if is_forced or not self._family.form.marks else self._token(self._family.form.marks[0])
            )
            return None if token is None else (token, FINAL)
        if thinking is None:
            return None
        closing = re.compile(re.escape(thinking.closing))
        if thinking.is_open:
            return None, closing
        token = self._token(thinking.opening)
        return None if token is None else (token, closing)

    @functools.cached_property
    def _call_tokens(self) -> Sequence[int]:
        """Tokens that begin a call."""
        tokens = {self._token(mark) for mark in self._family.form.openings}
        return sorted(token for token in tokens if token is not None)

    def _token(self, mark: str) -> int | None:
        """The token that begins `mark` and nothing else."""
        tokens = self._model.tokenize(mark, special=True)
        first = int(tokens[0])
        return first if tokens.size == 1 or not self._model.piece(first) else None

    @functools.cached_property
    def _shown(self) -> Mapping[int, bytes]:
        """Parts of marks that are control tokens here, which else have no text."""
        found = {}
        for mark in self._family.marks:
            for token in map(int, self._model.tokenize(mark, special=True)):
                if not self._model.piece(token):
                    found[token] = self._model.special_text(token).encode()
        return found
