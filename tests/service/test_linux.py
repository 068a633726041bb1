"""What systemd is told where it does not answer or is absent; where it does, see test_own_systemd."""

from pathlib import Path

import pytest

from janagent.service import installing
from janagent.service.linux import Linux
from janagent.service.plan import Facts, Part
from janagent.service.systemctl import ServiceError


def test_without_an_answer_the_units_wait_for_the_next_log_in(nowhere: Path, facts: Facts) -> None:
    report = installing.install([Part.DAEMON, Part.TRAY], facts, start=[Part.DAEMON, Part.TRAY])
    assert report.commands == [
        "systemctl --user enable janagent.service",
        "systemctl --user enable janagent-tray.service",
    ]
    assert report.notes[0].endswith("janagent.service is started at the next log-in")
    wants = nowhere / ".config" / "systemd" / "user"
    assert (wants / "default.target.wants" / "janagent.service").resolve().is_file()
    assert (wants / "graphical-session.target.wants" / "janagent-tray.service").resolve().is_file()


def test_without_systemd_there_is_no_service_to_install(no_systemctl: None, facts: Facts, home: Path) -> None:
    with pytest.raises(ServiceError, match=r"no systemctl on the path.*--tray"):
        installing.install([Part.DAEMON], facts)
    assert list(home.iterdir()) == []


def test_without_systemd_the_desktop_can_start_the_tray(no_systemctl: None, facts: Facts, home: Path) -> None:
    report = installing.install([Part.TRAY], facts, start=[Part.TRAY])
    assert [file.path.name for file in report.files] == ["janagent-tray.desktop"]
    assert report.commands == []
    assert "the desktop starts the tray" in report.notes[0]
    assert installing.look([Part.TRAY], facts).is_installed
    assert installing.uninstall([Part.TRAY], facts).files[-1].done == "removed"


def test_a_uninstall_without_an_answer_unlinks(nowhere: Path, facts: Facts) -> None:
    installing.install([Part.DAEMON], facts)
    report = installing.uninstall([Part.DAEMON], facts)
    assert report.commands == ["systemctl --user disable janagent.service"]
    assert [path for path in (nowhere / ".config").rglob("*") if not path.is_dir()] == []


def test_each_part_has_its_unit() -> None:
    assert Linux(Part.TRAY).unit().name == "janagent-tray.service"
    assert Linux(Part.SYSTEM).unit().name == "janagent.service"
