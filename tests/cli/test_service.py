"""`janagent service` as a person types it, with the real systemctl or none; tests/service has a systemd."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from janagent.cli import service
from janagent.cli.app import run
from janagent.cli.output import Failure
from janagent.service import plan
from tests.cli.conftest import Run
from tests.daemons import Daemon

Typed = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def typed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Typed:
    """`typed("service", "install")` runs in this process: the command without the start of an interpreter."""
    for name in [name for name in os.environ if name.startswith(("JANAGENT_", "XDG_", "DBUS_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "runtime").mkdir(mode=0o700)
    for name, value in {"HOME": home, "XDG_RUNTIME_DIR": tmp_path / "runtime", "COLUMNS": "100"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(tmp_path)

    def run_it(*arguments: object, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        words = [str(argument) for argument in arguments]
        with pytest.MonkeyPatch.context() as more:
            for name, value in (env or {}).items():
                more.setenv(name, value)
            code = run(words)
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(words, code, out, err)

    return run_it


@pytest.fixture
def unit(home: Path) -> Path:
    return home / ".config" / "systemd" / "user" / "janagent.service"


def test_install_shows_what_it_writes_and_does(cli: Run, unit: Path, home: Path) -> None:
    done = cli("service", "install", "--tray")
    assert done.returncode == 0, done.stderr
    assert f"{unit}" in done.stdout
    assert f"{home}/.config/autostart/janagent-tray.desktop" in done.stdout
    assert done.stdout.count(" written\n") == 3
    assert "ran: systemctl --user enable janagent.service" in done.stdout
    assert f"ExecStart={sys.executable} -P -m janagent serve\n" in unit.read_text()


def test_a_second_install_says_that_nothing_changed(typed: Typed, unit: Path) -> None:
    typed("service", "install")
    done = typed("service", "install")
    assert done.returncode == 0
    assert " unchanged\n" in done.stdout


def test_a_dry_run_shows_the_text_and_writes_nothing(typed: Typed, home: Path) -> None:
    done = typed("service", "install", "--dry-run")
    assert "would be written" in done.stdout
    assert "OOMPolicy=continue" in done.stdout
    assert list(home.iterdir()) == []


def test_the_flags_of_the_daemon_travel_along(typed: Typed, unit: Path, root: Path, tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text("drain_s = 600\n")
    assert typed("service", "install", "--root", root, "--config", "my.toml").returncode == 0
    text = unit.read_text()
    assert f" serve --root {root} --config {tmp_path}/my.toml\n" in text
    assert "TimeoutStopSec=690\n" in text


def test_a_later_install_keeps_the_flags_of_the_first(typed: Typed, unit: Path, tmp_path: Path) -> None:
    odd = tmp_path / 'a "b" 100% $HOME \\n'
    typed("service", "install", "--root", odd)
    done = typed("service", "install", "--tray")
    assert done.stdout.count(" unchanged\n") == 1
    assert plan.installed_flags() == ("--root", str(odd))
    typed("service", "install", "--root", "other")
    assert plan.installed_flags() == ("--root", f"{tmp_path}/other")


def test_wrong_settings_are_no_service(typed: Typed, unit: Path, tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text("drains = 600\n")
    assert typed("service", "install", "--config", "my.toml").returncode == 2
    assert not unit.exists()


def test_a_variable_that_the_service_will_not_see_is_named(typed: Typed) -> None:
    done = typed("service", "install", env={"JANAGENT_PORT": "1400"})
    assert "JANAGENT_PORT: set here, but the service will not see it" in done.stderr


def test_a_changed_unit_is_refused_in_a_sentence(typed: Typed, unit: Path) -> None:
    typed("service", "install")
    unit.write_text(unit.read_text().replace("RestartSec=2", "RestartSec=9"))
    done = typed("service", "install")
    assert done.returncode == 1
    assert "was changed after janagent wrote it: nothing was done" in done.stderr
    done = typed("service", "uninstall")
    assert done.returncode == 1
    assert "it stays" in done.stderr
    assert "RestartSec=9" in unit.read_text()


def test_uninstall_takes_back_what_install_did(typed: Typed, home: Path) -> None:
    typed("service", "install", "--tray")
    done = typed("service", "uninstall")
    assert "janagent service uninstall --tray" in done.stderr
    assert typed("service", "uninstall", "--tray").returncode == 0
    assert [path for path in (home / ".config").rglob("*") if not path.is_dir()] == []


def test_status_is_for_people_and_scripts(typed: Typed, unit: Path) -> None:
    done = typed("service", "status", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["files"] == [{"path": str(unit), "state": "absent", "done": ""}]
    typed("service", "install")
    done = typed("service", "status", "--json")
    assert done.returncode == 3, "it is installed and does not run"
    found = json.loads(done.stdout)
    assert found["files"][0]["state"] in ("current", "outdated")
    assert found["units"][0]["is_enabled"] is True
    assert "starts by itself" in typed("service", "status").stdout


def test_json_of_an_install_names_files_and_commands(typed: Typed, unit: Path) -> None:
    found = json.loads(typed("service", "install", "--json").stdout)
    assert found["files"] == [{"path": str(unit), "state": "absent", "done": "written"}]
    assert found["commands"] == ["systemctl --user enable janagent.service"]


def test_without_systemd_a_sentence_says_what_is_possible(typed: Typed, home: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    done = typed("service", "install", env={"PATH": str(tmp_path / "bin")})
    assert done.returncode == 1
    assert "no systemctl on the path" in done.stderr
    assert typed("service", "install", "--tray", env={"PATH": str(tmp_path / "bin")}).returncode == 0
    assert (home / ".config" / "autostart" / "janagent-tray.desktop").is_file()


def test_a_daemon_that_runs_already_goes_on(typed: Typed, tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        done = typed("service", "install", env=daemon.environment)
        assert done.returncode == 0
        assert f"janagent runs already (process {daemon.pid})" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["install", "--system", "--tray"], "install them apart"),
        (["install", "--system", "--root", "/srv"], "serves /janroot"),
    ],
)
def test_what_does_not_go_together_is_refused(typed: Typed, arguments: list[str], words: str) -> None:
    done = typed("service", *arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_a_dry_run_for_a_machine_needs_no_rights(typed: Typed) -> None:
    done = typed("service", "install", "--system", "--dry-run")
    assert done.returncode == 0
    assert "/etc/systemd/system/janagent.service" in done.stdout
    assert "u janagent - " in done.stdout


def test_a_machine_is_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Failure, match="sudo janagent service"):
        service._check_machine()


def test_an_interpreter_that_the_services_user_cannot_read_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    closed = tmp_path / "closed" / "python"
    closed.parent.mkdir(mode=0o700)
    closed.touch()
    monkeypatch.setattr(sys, "executable", str(closed))
    with pytest.raises(Failure, match=r"is closed to it.*venv /opt/janagent"):
        service._check_machine()
