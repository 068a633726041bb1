import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from janagent.config import ConfigError
from janagent.tray.options import BadOptions, Given, Options, parse, read


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in os.environ:
        if name.startswith(("JANAGENT_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_the_flags_are_handed_on():
    given = parse(["--root", "/a b", "--config", "c.toml"])
    assert given == Given(Path("/a b"), Path("c.toml"))
    assert parse(given.flags()) == given
    assert parse([]).flags() == []


def test_a_child_reads_the_settings_that_are_in_force(home: Path):
    file = home / "janagent.toml"
    file.write_text('api_key = "secret"\nnotifications = false\nport = 4711\n')
    options = read(Given(config=file))
    assert options == Options.load(Given(config=file))
    assert (options.api_key, options.notifications) == ("secret", False)
    assert options.root == str(home / "janroot")
    assert options.fallback_url == "http://127.0.0.1:4711"
    assert "secret" not in repr(options)


def test_a_wrong_setting_is_the_sentence_that_every_command_says(home: Path):
    file = home / "janagent.toml"
    file.write_text("hotload = 'all'\n")
    with pytest.raises(BadOptions, match=r"hotload is not a setting, did you mean hot_load\?"):
        read(Given(config=file))
    with pytest.raises(ConfigError):
        Options.load(Given(config=file))


@pytest.mark.parametrize(
    ("given", "environment", "is_tried"),
    [
        (Given(), {}, True),
        (Given(root=Path("/other")), {}, False),
        (Given(root=Path("/other")), {"JANAGENT_PORT": "5"}, False),
        (Given(), {"JANAGENT_ROOT": "/other"}, False),
        (Given(), {"JANAGENT_ROOT": "/other", "JANAGENT_PORT": "5"}, True),
    ],
)
def test_the_usual_port_is_tried_only_where_it_must_be_the_same_daemon(
    monkeypatch: pytest.MonkeyPatch, given: Given, environment: dict[str, str], is_tried: bool
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (Options.load(given).fallback_url is not None) is is_tried


def test_pydantic_stays_out_of_the_process_that_asks(home: Path):
    code = """if True:
        import sys
        from janagent.tray import client, follower, icon, launcher, menu, notices, options, preflight, state
        options.read(options.Given())
        heavy = ("pydantic", "janagent.config", "typer", "rich", "aiohttp", "asyncio", "argparse")
        print(*[name for name in heavy if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_program_prints_json_for_its_parent():
    command = [sys.executable, "-m", "janagent.tray.options", "--root", "/other"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["root"] == "/other"
