import asyncio
import contextlib
import subprocess
from collections.abc import Callable

import pytest
from aiohttp import web

from tests.cli.conftest import Run
from tests.cli.terminal import CTRL_C, CTRL_D, Terminal
from tests.daemons import Daemon
from tests.remote.models import manifest, put
from tests.remote.upstream import Body, Upstream, chunk, opened

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def jan(daemon: Daemon, cli: Run) -> Command:
    return lambda *arguments, **more: cli(*arguments, env=daemon.environment, **more)


def test_a_prompt_gets_its_answer_on_stdout(jan: Command):
    done = jan("chat", "smol", "Say hello.", "--max-tokens", 40, "--temperature", 0, "--seed", 1)
    assert done.returncode == 0
    assert len(done.stdout.split()) >= 2


def test_the_same_seed_gives_the_same_answer(jan: Command):
    ask = ("chat", "smol", "Name a colour.", "--max-tokens", 8, "--temperature", 0, "--seed", 7)
    assert jan(*ask).stdout == jan(*ask).stdout


def test_an_answer_cut_by_the_limit_says_so(jan: Command):
    done = jan("chat", "smol", "Tell a long story.", "--max-tokens", 3)
    assert done.returncode == 0
    assert "max_tokens" in done.stderr


def test_a_pipe_is_the_prompt(jan: Command):
    done = jan("chat", "smol", "--max-tokens", 5, input="Say hello.\n")
    assert done.returncode == 0
    assert done.stdout.strip()


def test_without_a_prompt_and_without_a_pipe_the_sentence_says_what_to_give(jan: Command):
    done = jan("chat", "smol")
    assert done.returncode == 2
    assert "there is no prompt" in done.stderr


def test_an_unknown_model_is_a_sentence(jan: Command):
    done = jan("chat", "nobody", "hello")
    assert (done.returncode, done.stdout) == (1, "")
    assert "nobody" in done.stderr


def test_too_long_a_prompt_is_the_servers_sentence(jan: Command):
    done = jan("chat", "smol", "word " * 3000)
    assert done.returncode == 1
    assert "ctx_len" in done.stderr


def test_a_conversation_remembers_clears_and_ends_with_ctrl_d(daemon: Daemon):
    with Terminal("chat", "smol", "--max-tokens", 5, env=daemon.environment) as terminal:
        terminal.expect(">>> ")
        terminal.type("Say hello.\n")
        terminal.expect("\n>>> ")
        terminal.type("/clear\n")
        terminal.expect(">>> ")
        terminal.type("/help\n")
        terminal.expect("Ctrl-C stops an answer")
        terminal.expect(">>> ")
        terminal.type(CTRL_D)
        assert terminal.wait() == 0


async def on_and_on(request: web.Request, _body: Body) -> web.StreamResponse:
    """No model can be relied on to speak until somebody stops it."""
    response = await opened(request)
    while True:
        await response.write(chunk("on and "))
        await asyncio.sleep(0.01)


def test_ctrl_c_stops_the_answer_and_not_the_program(daemon: Daemon):
    with Upstream() as upstream, contextlib.ExitStack() as stack:
        upstream.answer = on_and_on
        put(daemon, "endless", manifest(upstream.url, key=None), origin=upstream.url)
        stack.callback(daemon.call, "DELETE", "/v1/models/endless")
        with Terminal("chat", "endless", env=daemon.environment) as terminal:
            terminal.expect(">>> ")
            terminal.type("Count to one thousand.\n")
            terminal.expect("on and on and ")
            terminal.type(CTRL_C)
            terminal.expect("(stopped)")
            assert upstream.gone.acquire(timeout=30), "the answer itself is stopped"
            terminal.expect(">>> ")
            terminal.interrupt("/bye or Ctrl-D leaves")
            terminal.expect(">>> ")
            terminal.type("/bye\n")
            assert terminal.wait() == 0


def test_a_failed_question_leaves_the_conversation_going(daemon: Daemon):
    with Terminal("chat", "smol", "--max-tokens", 5, env=daemon.environment) as terminal:
        terminal.expect(">>> ")
        terminal.type("word " * 3000 + "\n")
        terminal.expect("ctx_len")
        terminal.expect(">>> ")
        terminal.type("/bye\n")
        assert terminal.wait() == 0
