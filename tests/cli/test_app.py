import os
import subprocess
import sys
from pathlib import Path

import pytest

from janagent import __version__
from janagent.cli.app import run
from tests.cli.conftest import Run

OF_MODELS = ["ls", "show", "start", "stop", "rm", "chat", "logs", "check", "schema"]
COMMANDS = ["serve", "tray", "starter", "doctor", *OF_MODELS]
OF_A_DAEMON = [
    ("ls",),
    ("ls", "--watch"),
    ("show", "m"),
    ("start", "m"),
    ("stop", "m"),
    ("rm", "m", "--yes"),
    ("chat", "m", "hello"),
    ("logs", "m"),
]


def test_version_is_one_line(cli: Run):
    done = cli("--version")
    assert (done.returncode, done.stdout) == (0, f"janagent {__version__}\n")


def test_the_installed_script_is_the_same_program(environment: dict[str, str]):
    script = Path(sys.executable).parent / "janagent"
    done = subprocess.run([script, "--version"], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"janagent {__version__}\n"


def test_the_command_line_starts_quickly(cli: Run):
    """By its own work: what else the machine has to do is not counted, nor would be a wait of ours."""
    taken = []
    for _ in range(5):
        before = os.times()
        cli("--version")
        after = os.times()
        worked = after.children_user + after.children_system
        taken.append(worked - before.children_user - before.children_system)
    assert min(taken) < 0.3


def test_wiring_the_commands_imports_nothing_heavy(environment: dict[str, str]):
    code = "import janagent.cli.app, sys; print(*(m for m in sys.argv[1:] if m in sys.modules))"
    heavy = ["pydantic", "pydantic_settings", "aiohttp", "rich.console", "watchdog", "asyncio", "llama_cpp"]
    done = subprocess.run(
        [sys.executable, "-c", code, *heavy], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_help_names_every_command(cli: Run):
    done = cli("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert f" {command} " in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], command: str):
    assert run([command, "--help"]) == 0
    assert f"Usage: janagent {command}" in capsys.readouterr().out


def test_a_shell_gets_its_completion(cli: Run):
    done = cli("--show-completion", "bash", env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"})
    assert done.returncode == 0
    assert "_JANAGENT_COMPLETE" in done.stdout


@pytest.mark.parametrize("arguments", [("fly",), ("ls", "--fast"), ("show",), ("logs", "--lines", "many")])
def test_a_wrong_command_line_exits_with_2(cli: Run, arguments: tuple[str, ...]):
    done = cli(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", OF_A_DAEMON)
def test_without_a_daemon_a_sentence_says_how_to_start_one(cli: Run, root: Path, arguments: tuple[str, ...]):
    done = cli(*arguments, "--root", root)
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr == (f"janagent: No janagent is running for {root}; start it with: janagent serve\n")


def test_without_a_daemon_on_the_configured_port_the_sentence_is_the_same(cli: Run, home: Path):
    done = cli("ls", env={"JANAGENT_PORT": "1"})
    assert done.returncode == 3
    assert f"No janagent is running for {home / 'janroot'}; start it with: janagent serve" in done.stderr


@pytest.mark.parametrize("command", [("ls",), ("chat", "m"), ("logs",), ("check",), ("starter",), ("serve",)])
def test_a_bad_setting_is_one_sentence_and_exit_2(cli: Run, command: tuple[str, ...]):
    done = cli(*command, env={"JANAGENT_PORTT": "1"})
    assert done.returncode == 2
    assert done.stderr == (
        "janagent: the variable JANAGENT_PORTT is not a setting, did you mean JANAGENT_PORT?\n"
    )


def test_an_unknown_key_in_the_users_file_is_one_sentence_and_exit_2(cli: Run, tmp_path: Path):
    file = tmp_path / "janagent.toml"
    file.write_text("hotload = 'all'\n")
    done = cli("ls", "--config", file)
    assert done.returncode == 2
    assert done.stderr == f"janagent: {file}: hotload is not a setting, did you mean hot_load?\n"


def test_a_reader_that_leaves_the_pipe_is_no_error_message(environment: dict[str, str]):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "janagent", "schema"],
            env=environment,
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.stderr == ""
