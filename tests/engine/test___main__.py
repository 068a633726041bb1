"""The program before it has a spec."""

import signal

from janagent.children import wire
from tests.engine.engines import Engine


def test_a_spare_says_so_and_waits():
    with Engine() as engine:
        engine.wait_for(wire.Spare)
        assert engine.process.poll() is None
        assert len(engine.lines) == 1


def test_a_spec_that_is_none_is_refused():
    for line in (b"{}\n", b"hello\n", b'{"socket_path": 1}\n'):
        with Engine() as engine:
            engine.give(line)
            assert "spec is not valid" in engine.wait_for(wire.Failed).message
            assert engine.exit_status() == wire.ExitCode.BAD_SPEC


def test_the_end_of_the_parent_ends_a_spare():
    with Engine() as engine:
        engine.wait_for(wire.Spare)
        engine.hang_up()
        assert engine.exit_status() == wire.ExitCode.PARENT_GONE


def test_sigterm_ends_a_spare_and_an_interrupt_does_not():
    with Engine() as engine:
        engine.wait_for(wire.Spare)
        engine.process.send_signal(signal.SIGINT)
        engine.process.send_signal(signal.SIGTERM)
        assert engine.exit_status() == wire.ExitCode.OK
