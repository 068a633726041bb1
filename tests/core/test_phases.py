"""The table of moves."""

import pytest

from janagent.core.phases import TRANSITIONS, InvalidTransition, Phase, Trigger, next_phase


def test_a_load_becomes_ready_drains_stops_and_is_gone() -> None:
    phase: Phase | None = Phase.STARTING
    for trigger in (Trigger.READY, Trigger.DRAIN, Trigger.STOP, Trigger.EXITED):
        assert phase is not None
        phase = next_phase(phase, trigger)
    assert phase is None


def test_a_move_that_does_not_exist_names_the_story() -> None:
    with pytest.raises(InvalidTransition, match="from starting on drain") as caught:
        next_phase(Phase.STARTING, Trigger.DRAIN, story=["1.0 it began"])
    assert "it began" in str(caught.value)


def test_every_phase_can_end() -> None:
    assert {phase for phase, trigger in TRANSITIONS if trigger is Trigger.EXITED} == set(Phase)
