"""What is asked of launchd around an install; the answers are those of a stand-in (see conftest)."""

from pathlib import Path

from janagent.service import installing
from janagent.service.mac import Mac
from janagent.service.plan import Facts, Part
from janagent.service.report import Report


def calls(mac: Path) -> list[str]:
    return (mac / "calls").read_text().splitlines() if (mac / "calls").exists() else []


def test_an_install_loads_the_agent_and_a_second_one_leaves_it_alone(
    mac: Path, facts: Facts, home: Path
) -> None:
    report = installing.install([Part.DAEMON, Part.TRAY], facts, start=[Part.DAEMON, Part.TRAY])
    assert [file.path.name for file in report.files] == ["janagent.daemon.plist", "janagent.tray.plist"]
    assert [command.split()[1] for command in report.commands] == ["bootstrap", "bootstrap"]
    assert (mac / "janagent.daemon").exists()
    assert (mac / "janagent.tray").exists()
    again = installing.install([Part.DAEMON, Part.TRAY], facts, start=[Part.DAEMON, Part.TRAY])
    assert {file.done for file in again.files} == {"unchanged"}
    assert again.commands == again.notes == []


def test_an_agent_that_runs_is_not_restarted_for_a_new_file(mac: Path, facts: Facts) -> None:
    installing.install([Part.DAEMON], facts, start=[Part.DAEMON])
    report = installing.install([Part.DAEMON], Facts("/another/python"), start=[Part.DAEMON])
    assert report.files[0].done == "updated"
    assert "from the next log-in" in report.notes[0]
    assert report.commands == []


def test_without_start_launchd_is_left_alone(mac: Path, facts: Facts) -> None:
    assert installing.install([Part.TRAY], facts).commands == []
    assert not (mac / "janagent.tray").exists()


def test_an_uninstall_stops_the_agent_and_removes_its_file(mac: Path, facts: Facts, home: Path) -> None:
    installing.install([Part.DAEMON], facts, start=[Part.DAEMON])
    report = installing.uninstall([Part.DAEMON], facts)
    assert report.files[0].done == "removed"
    assert not (mac / "janagent.daemon").exists()
    assert list((home / "Library" / "LaunchAgents").iterdir()) == []


def test_how_it_runs_is_told(mac: Path, facts: Facts) -> None:
    installing.install([Part.DAEMON], facts, start=[Part.DAEMON])
    (unit,) = installing.look([Part.DAEMON], facts).units
    assert (unit.name, unit.active, unit.pid) == ("janagent.daemon", "active", 77)


def test_the_system_wide_service_is_not_for_a_mac(mac: Path) -> None:
    assert "systemd" in Mac(Part.SYSTEM).why_not()
    Mac(Part.DAEMON).forget(Report())
