"""Files written, left alone, and taken away."""

from pathlib import Path

import pytest

from janagent.service import installing, plan
from janagent.service.plan import Facts, Part
from janagent.service.stamp import FileState
from janagent.service.systemctl import ServiceError


@pytest.fixture
def unit(nowhere: Path) -> Path:
    return plan.user_unit_dir() / "janagent.service"


def done(report: "installing.Report") -> dict[str, str]:
    return {file.path.name: file.done for file in report.files}


def test_a_second_install_changes_nothing(unit: Path, facts: Facts) -> None:
    assert done(installing.install([Part.DAEMON], facts)) == {"janagent.service": "written"}
    before = unit.stat()
    assert done(installing.install([Part.DAEMON], facts)) == {"janagent.service": "unchanged"}
    assert unit.stat().st_ino == before.st_ino


def test_another_interpreter_updates_the_unit(unit: Path, facts: Facts) -> None:
    installing.install([Part.DAEMON], facts)
    assert installing.look([Part.DAEMON], Facts("/new/python")).files[0].state is FileState.OUTDATED
    assert done(installing.install([Part.DAEMON], Facts("/new/python"))) == {"janagent.service": "updated"}
    assert "ExecStart=/new/python " in unit.read_text()


@pytest.mark.parametrize(
    ("text", "words"),
    [("[Service]\nExecStart=/mine\n", "was not written by janagent"), (None, "was changed after janagent")],
)
def test_what_a_person_wrote_or_changed_is_neither_replaced_nor_removed(
    unit: Path, facts: Facts, text: str | None, words: str
) -> None:
    if text is None:
        installing.install([Part.DAEMON], facts)
        text = unit.read_text().replace("RestartSec=2", "RestartSec=20")
    unit.parent.mkdir(parents=True, exist_ok=True)
    unit.write_text(text)
    with pytest.raises(ServiceError, match=words):
        installing.install([Part.DAEMON, Part.TRAY], facts)
    assert not plan.autostart_file().exists(), "nothing at all was done"
    report = installing.uninstall([Part.DAEMON], facts)
    assert done(report) == {"janagent.service": "kept"}
    assert report.has_kept
    assert words in report.notes[0]
    assert unit.read_text() == text


def test_a_unit_that_janagent_never_wrote_is_not_even_disabled(unit: Path, facts: Facts) -> None:
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/mine\n")
    assert installing.uninstall([Part.DAEMON], facts).commands == []


def test_uninstall_leaves_all_else_where_it_is(unit: Path, facts: Facts, nowhere: Path) -> None:
    installing.install([Part.DAEMON, Part.TRAY], facts)
    drop_in = unit.parent / "janagent.service.d" / "mine.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nEnvironment=A=1\n")
    settings = nowhere / ".config" / "janagent" / "janagent.toml"
    settings.parent.mkdir()
    settings.write_text("port = 1\n")
    installing.uninstall([Part.TRAY, Part.DAEMON], facts)
    left = [path for path in (nowhere / ".config").rglob("*") if not path.is_dir()]
    assert sorted(left) == sorted([drop_in, settings])


def test_uninstall_where_nothing_is_does_nothing(unit: Path, facts: Facts) -> None:
    report = installing.uninstall([Part.DAEMON, Part.TRAY], facts)
    assert set(done(report).values()) == {"absent"}
    assert report.commands == report.notes == []


def test_a_dry_run_writes_and_removes_nothing(unit: Path, facts: Facts) -> None:
    assert "ExecStart=" in installing.install([Part.DAEMON], facts, is_dry_run=True).files[0].text
    assert not unit.exists()
    installing.install([Part.DAEMON], facts)
    assert done(installing.uninstall([Part.DAEMON], facts, is_dry_run=True)) == {
        "janagent.service": "removed"
    }
    assert unit.exists()
