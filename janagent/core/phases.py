"""The phases of an engine and the moves between them.

Rules of this file: (1) everything that can happen to an engine's phase is in `TRANSITIONS`; (2) a pair that
is not there is a programming error, and the error carries the model's story; (3) nothing here knows why.

    STARTING --ready--> READY --drain--> DRAINING
        |                 |                  |
        +------stop-------+-------stop-------+--> STOPPING
    every phase --exited--> (gone)
"""

from collections.abc import Iterable
from enum import StrEnum


class Phase(StrEnum):
    """Of an engine: exactly in these phases a child process exists."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    """Takes no new lease; its running answers finish."""
    STOPPING = "stopping"


class Trigger(StrEnum):
    """What moves an engine from one phase to another."""

    READY = "ready"
    DRAIN = "drain"
    STOP = "stop"
    EXITED = "exited"


TRANSITIONS: dict[tuple[Phase, Trigger], Phase | None] = {
    (Phase.STARTING, Trigger.READY): Phase.READY,
    (Phase.STARTING, Trigger.STOP): Phase.STOPPING,
    (Phase.STARTING, Trigger.EXITED): None,
    (Phase.READY, Trigger.DRAIN): Phase.DRAINING,
    (Phase.READY, Trigger.STOP): Phase.STOPPING,
    (Phase.READY, Trigger.EXITED): None,
    (Phase.DRAINING, Trigger.STOP): Phase.STOPPING,
    (Phase.DRAINING, Trigger.EXITED): None,
    (Phase.STOPPING, Trigger.EXITED): None,
}


class InvalidTransition(RuntimeError):
    """An engine was asked for a move that does not exist; `story` is what happened to its model before."""

    def __init__(self, phase: Phase, trigger: Trigger, story: Iterable[str]) -> None:
        self.phase = phase
        self.trigger = trigger
        self.story = tuple(story)
        lines = "".join(f"\n  {line}" for line in self.story)
        super().__init__(f"no transition from {phase} on {trigger}; the story so far:{lines}")


def next_phase(phase: Phase, trigger: Trigger, *, story: Iterable[str] = ()) -> Phase | None:
    """The phase after `trigger`, None when the engine is gone. Raises InvalidTransition."""
    try:
        return TRANSITIONS[phase, trigger]
    except KeyError:
        raise InvalidTransition(phase, trigger, story) from None
