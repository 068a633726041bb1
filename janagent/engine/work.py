"""What passes between the event loop and the decode thread: an answer to generate, and its progress.

`Generation` fields above the line are set by the loop before submission and never change; `cancelled` and
`paused` are written by the loop and read by the decode thread at the next step; the rest belongs to the
decode thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from janagent.engine.media import Placed
from janagent.engine.model import Tokens
from janagent.engine.sampling import Sampling, TokenChances
from janagent.engine.text import TextStream

if TYPE_CHECKING:
    from janagent.engine.shapes import Walk


class Finish(StrEnum):
    """Why an answer ended, in OpenAI's words."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    """It stopped, having called functions."""


class TokenReport(NamedTuple):
    """A token for the logprobs of an answer; `at_char` is where its text begins in the answer."""

    chances: TokenChances
    at_char: int


class Progress(NamedTuple):
    """What one step brought for one answer. `error` ends it as a failure of the engine."""

    text: str
    finish: Finish | None = None
    reports: tuple[TokenReport, ...] = ()
    error: str | None = None


@dataclass(eq=False, kw_only=True)
class Generation:
    """One answer (one choice) to generate from `prompt`. `receive` is called on the loop thread.

    Where `media` stand in the prompt, it has ids that are no tokens.
    """

    prompt: Tokens
    max_tokens: int
    sampling: Sampling
    text: TextStream
    receive: Callable[[Progress], None]
    top_logprobs: int | None = None
    walk: Walk | None = None
    media: Sequence[Placed] = ()
    n_keep: int | None = None
    """So many tokens of the prompt stay when the context is full and shifts; None: the answer ends there."""
    shown: Mapping[int, bytes] = field(default_factory=dict)
    """Control tokens whose text counts for once."""

    cancelled: bool = False
    paused: bool = False

    n_generated: int = 0
    n_cached: int = 0
    unsent: list[TokenReport] = field(default_factory=list)

    def ready_reports(self, finish: Finish | None) -> tuple[TokenReport, ...]:
        """Take the token reports whose text is out; those of a stop string are dropped with it."""
        stream, unsent = self.text, self.unsent
        if finish is not None and not stream.stopped:
            ready = len(unsent)
        else:
            ready = 0
            while ready < len(unsent) and unsent[ready].at_char < stream.emitted_chars:
                ready += 1
        reports = tuple(unsent[:ready])
        del unsent[:ready]
        return reports


@dataclass(eq=False, kw_only=True)
class Request:
    """The answers of one HTTP request, admitted one by one in turn with those of other requests."""

    generations: list[Generation]
    n_admitted: int = 0
    since_s: float = 0.0


class QueueFull(Exception):
    """No slot is free and the waiting line is as long as it may be."""

    def __init__(self, *, retry_after_s: int) -> None:
        super().__init__(f"queue full, retry after {retry_after_s} s")
        self.retry_after_s = retry_after_s


class SideWork(Protocol):
    """Other work for llama.cpp that takes turns with the chat steps: embeddings."""

    def has_work(self) -> bool:
        """Whether `step` would do anything."""
        ...

    def step(self) -> int:
        """Do a bounded piece of work; returns the number of prompt tokens it took."""
        ...
