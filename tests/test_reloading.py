"""SIGHUP at a real daemon: which settings change, and what happens to the others."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from janagent.config import ConfigError, Settings
from janagent.reloading import OTHERS_READ, RELOADABLE, merge, unchangeable
from tests.daemons import Daemon, until

README = (Path(__file__).parent.parent / "README.md").read_text()


class Configured(Daemon):
    """A daemon with a settings file, which `write` replaces and `reload` makes it read again."""

    def write(self, text: str) -> None:
        file = self.folder / "home" / "config" / "janagent" / "janagent.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def reload(self, *words: str) -> str:
        """Ends when the log says one of `words`; returns that line."""
        before = len(self.lines)
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

        def found() -> str:
            return next((line for line in self.lines[before:] if any(word in line for word in words)), "")

        return until(found, what=f"{words} in the log")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Configured]:
    daemon = Configured(tmp_path_factory.mktemp("configured"))
    del daemon.settings["rescan_s"]  # the environment goes before the file
    with daemon:
        yield daemon


@pytest.fixture
def configured(shared: Configured) -> Configured:
    """With the defaults in force."""
    shared.write("")
    shared.reload("read the settings again")
    return shared


def test_settings_that_can_change_do(configured: Configured, starter: Path) -> None:
    configured.drop("smol", "{}", gguf=starter)
    configured.wait_state("smol", "running")
    configured.write('idle_unload_s = 1\napi_key = "fresh"\nmemory_budget = "3GB"\ngpu_memory_budget = 0\n')
    line = configured.reload("read the settings again")
    assert line.endswith("changed: api_key, memory_budget, gpu_memory_budget, idle_unload_s")
    assert configured.call("GET", "/v1/models")[0] == 401
    key = {"Authorization": "Bearer fresh"}
    until(
        lambda: configured.call("GET", "/v1/models/smol", **key)[1]["state"] == "downloaded",
        what="it is unloaded after one idle second",
    )
    configured.call("PUT", "/v1/models/smol/start?wait=false", **key)  # memory is looked at for each load
    health = configured.call("GET", "/v1/health", **key)[1]
    assert health["machine"]["memory_budget_bytes"] == 3_000_000_000


def test_a_setting_that_needs_a_restart_is_named_and_keeps_its_value(configured: Configured) -> None:
    configured.write("rescan_s = 5\nqueue_limit = 3\n")
    line = configured.reload("only with a restart")
    assert "WARNING" in line
    assert line.endswith("queue_limit, rescan_s")


def test_settings_that_cannot_be_used_change_nothing(configured: Configured) -> None:
    configured.write('api_key = "fresh"\nidel_unload_s = 1\n')
    line = configured.reload("stay as they are")
    assert "idel_unload_s is not a setting, did you mean idle_unload_s?" in line
    assert configured.call("GET", "/v1/models")[0] == 200


def test_the_log_level_is_one_of_them(configured: Configured) -> None:
    configured.write('log_level = "warning"\nqueue_limit = 3\n')
    configured.reload("only with a restart")
    configured.write("log_level = 3\n")
    configured.reload("stay as they are")
    info = [line for line in configured.lines if "read the settings again" in line]
    configured.write("queue_limit = 4\n")
    configured.reload("read the settings again")
    assert len([line for line in configured.lines if "read the settings again" in line]) == len(info) + 1


def settings(**flags: object) -> Settings:
    return Settings.load(flags)


def test_the_key_of_an_open_door_is_not_taken_away() -> None:
    current = settings(host="0.0.0.0", api_key="secret")
    with pytest.raises(ConfigError, match="api_key must stay set"):
        merge(current, settings(host="localhost"))
    assert merge(current, settings(host="0.0.0.0", api_key="other")).api_key != current.api_key


def test_what_only_others_read_is_no_reason_to_restart() -> None:
    assert unchangeable(settings(), settings(notifications=False)) == []
    assert unchangeable(settings(), settings(port=1, root="/x")) == ["root", "port"]


def test_every_name_is_a_setting_and_readme_tells_them() -> None:
    assert {*RELOADABLE, *OTHERS_READ} <= set(Settings.model_fields)
    paragraph = README.partition("`SIGHUP`")[2].partition("\n\n")[0]
    assert [name for name in RELOADABLE if f"`{name}`" not in paragraph] == []


@pytest.mark.parametrize(("is_nohup", "ends"), [(False, True), (True, False)])
def test_a_terminal_that_is_closed_ends_the_daemon_unless_nohup_said_otherwise(
    tmp_path: Path, is_nohup: bool, ends: bool
) -> None:
    daemon = Daemon(tmp_path)
    (daemon.folder / "home").mkdir()
    daemon.models.mkdir(parents=True)
    log = tmp_path / "log"
    ours, theirs = pty.openpty()
    code = (
        "import fcntl, os, signal, sys, termios\n"
        f"signal.signal(signal.SIGHUP, signal.{'SIG_IGN' if is_nohup else 'SIG_DFL'})\n"
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'janagent', 'serve', '--port', '0'])\n"
    )
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=daemon.environment,
            stdin=theirs,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    os.close(theirs)
    try:
        until(lambda: " ready on " in log.read_text(), what="it is ready")
        os.close(ours)
        until(lambda: ("stopping" if ends else "read the settings again") in log.read_text(), what="SIGHUP")
        if not ends:
            process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
