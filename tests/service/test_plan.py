"""Every file that is installed, looked at by those who judge its kind: systemd, desktop-file-validate, and
plistlib with the keys of launchd.plist(5)."""

import os
import plistlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from janagent.config import Settings
from janagent.service import plan
from janagent.service.plan import Facts, Part

LAUNCHD_KEYS: dict[str, type] = {
    "Label": str,
    "ProgramArguments": list,
    "RunAtLoad": bool,
    "KeepAlive": dict,
    "ThrottleInterval": int,
    "ExitTimeOut": int,
    "ProcessType": str,
    "SoftResourceLimits": dict,
    "LimitLoadToSessionType": str,
    "AbandonProcessGroup": bool,
    "StandardOutPath": str,
    "StandardErrorPath": str,
}


@pytest.fixture
def real() -> Facts:
    """The interpreter is here, as systemd wants it to be."""
    return plan.facts(longest_stop_s=90)


def verify(unit: Path, tmp_path: Path, *, scope: str) -> "subprocess.CompletedProcess[str]":
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    return subprocess.run(
        ["systemd-analyze", "verify", scope, "--man=no", str(unit)],
        env=os.environ | {"XDG_RUNTIME_DIR": str(runtime), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (Part.DAEMON, "janagent.service"),
        (Part.TRAY, "janagent-tray.service"),
        (Part.SYSTEM, "janagent.service"),
    ],
)
def test_systemd_has_nothing_to_say_about_a_unit(
    part: Part, name: str, real: Facts, home: Path, tmp_path: Path
) -> None:
    file = next(file for file in plan.files(part, real) if file.path.name == name)
    unit = tmp_path / name
    unit.write_text(file.text)
    done = verify(unit, tmp_path, scope="--system" if part is Part.SYSTEM else "--user")
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_would_say_so_if_a_key_were_wrong(real: Facts, home: Path, tmp_path: Path) -> None:
    unit = tmp_path / "janagent.service"
    unit.write_text(plan.files(Part.DAEMON, real)[0].text.replace("OOMPolicy", "OomPolicy"))
    assert "OomPolicy" in verify(unit, tmp_path, scope="--user").stderr


def settings_of(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


@pytest.mark.parametrize("part", [Part.DAEMON, Part.SYSTEM])
def test_the_daemons_units_say_what_a_daemon_needs(part: Part, facts: Facts) -> None:
    said = settings_of(plan.files(part, facts)[-1].text)
    assert said["ExecStart"] == "/opt/janagent/bin/python -P -m janagent serve"
    wanted = {"Type": "notify", "OOMPolicy": "continue", "KillMode": "mixed", "Restart": "on-failure"}
    assert {name: said[name] for name in wanted} == wanted
    assert int(said["WatchdogSec"]) > 0
    # These take GPUs, or what their drivers compile, away.
    assert not {"PrivateDevices", "ProtectClock", "MemoryDenyWriteExecute", "DeviceAllow"} & set(said)


def test_no_namespace_is_asked_of_a_persons_systemd(facts: Facts) -> None:
    said = settings_of(plan.files(Part.DAEMON, facts)[0].text)
    needs_one = ("Private", "Protect", "ReadWrite", "ReadOnly", "Inaccessible", "Bind", "TemporaryFileSystem")
    assert [name for name in said if name.startswith(needs_one)] == []


def test_a_stop_may_take_as_long_as_the_settings_say(home: Path) -> None:
    settings = Settings.load({"drain_s": 300})
    known = plan.facts(longest_stop_s=settings.longest_stop_s)
    said = settings_of(plan.files(Part.DAEMON, known)[0].text)
    assert int(said["TimeoutStopSec"]) > settings.longest_stop_s > 300


def test_the_machines_unit_may_write_into_its_folder(facts: Facts) -> None:
    said = settings_of(plan.files(Part.SYSTEM, facts)[-1].text)
    assert (said["ReadWritePaths"], said["User"], said["ProtectSystem"]) == ("/janroot", "janagent", "strict")


def test_the_interpreter_is_the_one_that_runs_this_and_flags_go_along() -> None:
    known = plan.facts(longest_stop_s=1, serve_flags=["--root", "/mnt/my models"])
    assert known.serve[0] == sys.executable
    assert known.serve[-2:] == ["--root", "/mnt/my models"]


@pytest.mark.parametrize("interpreter", ["/opt/janagent/bin/python", '/home/a b/100% "$x`\\/python'])
def test_the_desktop_entry_is_valid(interpreter: str, home: Path, tmp_path: Path) -> None:
    entry = tmp_path / "janagent-tray.desktop"
    entry.write_text(plan.files(Part.TRAY, Facts(interpreter))[-1].text)
    done = subprocess.run(["desktop-file-validate", entry], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def agent(part: Part, known: Facts) -> dict[str, Any]:
    (file,) = plan.files(part, known)
    loaded: dict[str, Any] = plistlib.loads(file.text.encode())
    assert file.path.name == f"{loaded['Label']}.plist"
    return loaded


@pytest.mark.parametrize("part", [Part.DAEMON, Part.TRAY])
def test_an_agent_has_keys_that_launchd_knows(part: Part, facts: Facts, mac: Path) -> None:
    loaded = agent(part, facts)
    assert [key for key in loaded if key not in LAUNCHD_KEYS] == []
    assert [key for key, value in loaded.items() if type(value) is not LAUNCHD_KEYS[key]] == []
    assert all(isinstance(word, str) for word in loaded["ProgramArguments"])
    assert loaded["KeepAlive"] in ({"SuccessfulExit": False}, {"Crashed": True})
    assert Path(loaded["StandardErrorPath"]).is_absolute()


def test_an_agent_runs_the_same_commands(mac: Path) -> None:
    odd = Facts("/Users/a & b/<x>/python", ("--root", "/Volumes/Disk 1"), stop_s=321)
    daemon = agent(Part.DAEMON, odd)
    assert daemon["ProgramArguments"] == odd.serve
    assert daemon["ExitTimeOut"] == 321
    assert daemon["SoftResourceLimits"] == {"NumberOfFiles": 65536}
    assert agent(Part.TRAY, odd)["ProgramArguments"] == odd.tray


def test_places_follow_the_persons_configuration(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert plan.user_unit_dir() == home / ".config" / "systemd" / "user"
    monkeypatch.setenv("XDG_CONFIG_HOME", "/elsewhere")
    assert plan.autostart_file() == Path("/elsewhere/autostart/janagent-tray.desktop")
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")  # to be ignored, says the specification
    assert plan.autostart_file() == home / ".config" / "autostart" / "janagent-tray.desktop"


def test_flags_are_found_again_in_what_was_installed(mac: Path) -> None:
    assert plan.installed_flags() == ()
    (file,) = plan.files(Part.DAEMON, Facts("/p", ("--root", "/Volumes/Disk & 1")))
    file.write()
    assert plan.installed_flags() == ("--root", "/Volumes/Disk & 1")
    file.path.write_text(file.text + "changed")
    assert plan.installed_flags() == ()
