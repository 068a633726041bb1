import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.terminal import CTRL_C, Terminal
from tests.daemons import Daemon, until

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def jan(daemon: Daemon, cli: Run) -> Command:
    """The command line of the person whose daemon runs."""
    return lambda *arguments, **more: cli(*arguments, env=daemon.environment, **more)


def broken(daemon: Daemon, name: str) -> Path:
    """A model whose manifest cannot be parsed; its folder."""
    folder = daemon.drop(name, "{")
    daemon.wait_state(name, "invalid")
    return folder


# --- ls


def test_ls_shows_a_row_for_each_model(jan: Command):
    done = jan("ls")
    assert done.returncode == 0
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["ID", "STATE", "SIZE", "QUANT", "CONTEXT", "NOTES"]
    row = next(row for row in rows if row.startswith("smol "))
    assert "98.4 MB" in row
    assert "Q4_1" in row


def test_ls_json_is_the_list_of_model_objects(jan: Command, daemon: Daemon):
    listed = {model["id"]: model for model in json.loads(jan("ls", "--json").stdout)}
    assert listed["smol"]["object"] == "model"
    assert set(listed) == {model["id"] for model in daemon.call("GET", "/v1/models")[1]["data"]}


def test_ls_filter_asks_for_a_kind(jan: Command):
    assert [model["id"] for model in json.loads(jan("ls", "--json", "--filter", "downloading").stdout)] == []


def test_ls_with_an_unknown_filter_exits_with_2(jan: Command):
    done = jan("ls", "--filter", "nice")
    assert done.returncode == 2
    assert "all, running, downloaded, downloading" in done.stderr


def test_ls_says_why_a_model_is_invalid(jan: Command, daemon: Daemon):
    broken(daemon, "ls-broken")
    row = next(row for row in jan("ls").stdout.splitlines() if row.startswith("ls-broken"))
    assert "invalid" in row
    assert "line 1" in row


def test_ls_of_an_empty_folder_says_what_to_do(cli: Run, tmp_path: Path):
    with Daemon(tmp_path) as empty:
        done = cli("ls", env=empty.environment)
    assert done.returncode == 0
    assert "janagent starter" in done.stderr


def test_ls_watch_into_a_pipe_is_a_line_for_each_change(daemon: Daemon):
    command = [sys.executable, "-m", "janagent", "ls", "--watch"]
    with subprocess.Popen(command, env=daemon.environment, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        lines = iter(watching.stdout.readline, "")
        assert any(line.startswith("smol\t") for line in lines)
        broken(daemon, "watched")
        assert any(line.startswith("watched\tinvalid\t") for line in lines)
        (daemon.models / "watched" / "watched.json").unlink()
        assert any(line.startswith("watched\tremoved") for line in lines)
        watching.terminate()


def test_ls_watch_on_a_terminal_redraws_the_table(daemon: Daemon):
    with Terminal("ls", "--watch", env=daemon.environment) as terminal:
        terminal.expect("smol")
        broken(daemon, "redrawn")
        terminal.expect("redrawn")
        terminal.type(CTRL_C)
        assert terminal.wait() == 130


# --- show


def test_show_describes_one_model(jan: Command):
    text = jan("show", "smol").stdout
    assert text.splitlines()[0].split() == ["id", "smol"]
    assert "models/smol/smol.gguf  98.4 MB  model" in text
    assert '"ctx_len": 1024' in text


def test_show_json_is_the_model_object(jan: Command):
    assert json.loads(jan("show", "smol", "--json").stdout)["id"] == "smol"


def test_an_unknown_model_is_a_sentence_with_the_nearest_names(jan: Command):
    done = jan("show", "smoll")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("janagent: ")
    assert "smol" in done.stderr
    assert "Traceback" not in done.stderr


# --- start, stop


def test_start_waits_until_the_model_runs_and_stop_until_it_does_not(jan: Command, daemon: Daemon):
    assert jan("stop", "smol").stdout == "smol downloaded\n"
    assert daemon.state("smol") == "downloaded"
    assert jan("start", "smol").stdout == "smol running\n"
    assert daemon.state("smol") == "running"


def test_start_takes_parameters_until_the_next_stop(jan: Command, daemon: Daemon):
    started = json.loads(jan("start", "smol", "--set", "ctx_len=512", "--json").stdout)
    assert started["parameters"]["init"]["ctx_len"] == 512
    jan("stop", "smol")
    assert daemon.call("GET", "/v1/models/smol")[1]["parameters"]["init"]["ctx_len"] == 1024


@pytest.mark.parametrize("parameter", ["ctx_len", "=5"])
def test_a_parameter_without_name_or_value_exits_with_2(jan: Command, parameter: str):
    done = jan("start", "smol", "--set", parameter)
    assert done.returncode == 2
    assert "NAME=VALUE" in done.stderr


def test_start_of_a_broken_model_says_why_and_exits_with_1(jan: Command, daemon: Daemon):
    broken(daemon, "start-broken")
    done = jan("start", "start-broken")
    assert done.returncode == 1
    assert "line 1" in done.stderr


def test_start_on_a_terminal_ends_with_the_state(daemon: Daemon, jan: Command):
    jan("stop", "smol")
    with Terminal("start", "smol", env=daemon.environment) as terminal:
        terminal.expect("smol running")
        assert terminal.wait() == 0


def test_start_without_waiting_returns_at_once(jan: Command, daemon: Daemon):
    jan("stop", "smol")
    assert jan("start", "smol", "--no-wait").stdout in ("smol starting\n", "smol running\n")
    daemon.wait_state("smol", "running")


# --- rm


def test_rm_deletes_the_files(jan: Command, daemon: Daemon):
    folder = broken(daemon, "gone")
    done = jan("rm", "gone")
    assert (done.returncode, done.stdout) == (0, "gone deleted\n")
    until(lambda: not folder.exists())
    assert jan("show", "gone").returncode == 1


def test_rm_on_a_terminal_asks_and_no_keeps_everything(daemon: Daemon):
    folder = broken(daemon, "asked")
    with Terminal("rm", "asked", env=daemon.environment) as terminal:
        assert "models/asked/asked.json" in terminal.expect("Delete asked?")
        terminal.type("n\n")
        assert terminal.wait() == 1
    assert (folder / "asked.json").exists()


def test_rm_on_a_terminal_deletes_after_yes(daemon: Daemon):
    folder = broken(daemon, "agreed")
    with Terminal("rm", "agreed", env=daemon.environment) as terminal:
        terminal.expect("Delete agreed?")
        terminal.type("y\n")
        terminal.expect("agreed deleted")
        assert terminal.wait() == 0
    until(lambda: not folder.exists())


def test_rm_with_yes_does_not_ask(daemon: Daemon):
    broken(daemon, "unasked")
    with Terminal("rm", "unasked", "--yes", env=daemon.environment) as terminal:
        terminal.expect("unasked deleted")
        assert terminal.wait() == 0


# --- ids, keys


def test_an_id_with_slashes_reaches_its_model(jan: Command, daemon: Daemon):
    for name in ("one", "two"):
        folder = daemon.models / "clash" / name
        folder.mkdir(parents=True)
        (folder / "same.json").write_text("{")
    daemon.wait_state("clash/two/same", "invalid")
    assert json.loads(jan("show", "clash/two/same", "--json").stdout)["id"] == "clash/two/same"
    assert jan("rm", "clash/two/same", "--json").returncode == 0


def test_the_key_of_the_settings_opens_a_daemon_that_needs_one(cli: Run, tmp_path: Path):
    with Daemon(tmp_path, api_key="hunter2") as keyed:
        refused = cli("ls", env=keyed.environment)
        passed = cli("ls", "--json", env=keyed.environment | {"JANAGENT_API_KEY": "hunter2"})
    assert refused.returncode == 1
    assert "API key" in refused.stderr
    assert (passed.returncode, json.loads(passed.stdout)) == (0, [])


# --- logs of a model


def test_the_log_of_a_model_is_what_its_engine_wrote(jan: Command, daemon: Daemon):
    jan("start", "smol")
    done = jan("logs", "smol")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) > 1
    assert len(jan("logs", "smol", "-n", 1).stdout.splitlines()) == 1


def test_following_the_log_of_a_model_goes_on_until_ctrl_c(daemon: Daemon, jan: Command):
    jan("start", "smol")
    with Terminal("logs", "smol", "--follow", env=daemon.environment) as terminal:
        terminal.expect("\n")
        terminal.type(CTRL_C)
        assert terminal.wait() == 130
