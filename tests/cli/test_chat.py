import subprocess
from collections.abc import Callable

import pytest

from tests.cli.conftest import Run
from tests.cli.terminal import CTRL_C, CTRL_D, Terminal
from tests.daemons import Daemon

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


def test_ctrl_c_stops_the_answer_and_not_the_program(daemon: Daemon):
    with Terminal("chat", "smol", env=daemon.environment) as terminal:
        terminal.expect(">>> ")
        terminal.type("Count from one to one thousand, one number in each line.\n")
        terminal.expect("\n")
        terminal.expect(" ")
        terminal.type(CTRL_C)
        terminal.expect("(stopped)")
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
