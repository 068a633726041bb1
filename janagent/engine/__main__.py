"""The engine program: spare, load, serve. `--probe` only says what this machine's llama.cpp can use.

Owns the order of things and the exit codes; the parent on the other end is `janagent.children.spawn`.
"""

import os
import sys

# libgomp reads this once, when llama.cpp's library is loaded. Its default lets a waiting thread spin for
# milliseconds, which costs a large factor as soon as anything else runs on the same cores.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

import logging
import signal
from types import FrameType

import pydantic

from janagent.children.lifeline import Lifeline, StatusPipe
from janagent.children.wire import EngineSpec, ExitCode, Failed, Spare


def main() -> int:
    """Run until told to stop; returns the exit status for the ways out that come back here."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    if "--probe" in sys.argv[1:]:
        from janagent.engine.probe import print_probe

        print_probe()
        return ExitCode.OK
    signal.signal(signal.SIGTERM, _exit_at_once)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the daemon decides
    status = StatusPipe.from_environment()
    lifeline = Lifeline()
    lifeline.start()

    from janagent.engine import worker

    status.send(Spare())
    line = lifeline.first_line()
    try:
        spec = EngineSpec.model_validate_json(line)
    except pydantic.ValidationError as error:
        status.send(Failed(message=f"the spec is not valid: {error.errors(include_url=False)[:3]}"))
        return ExitCode.BAD_SPEC
    return worker.run(spec, status)


def _exit_at_once(_signal: int, _frame: FrameType | None) -> None:
    os._exit(ExitCode.OK)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # os._exit: llama.cpp's library destructors take time, and some GPU back ends abort in them.
    os._exit(code)
