"""Whether a file is still as janagent wrote it."""

import os
from pathlib import Path

import pytest

from janagent.service.stamp import FileState, StampedFile


@pytest.fixture
def file(tmp_path: Path) -> StampedFile:
    return StampedFile(tmp_path / "new" / "a.service", "[Unit]\nDescription=a\n")


def test_it_is_absent_then_current(file: StampedFile) -> None:
    assert file.state() is FileState.ABSENT
    file.write()
    assert file.state() is FileState.CURRENT
    assert file.path.read_text().startswith(file.body)
    assert file.path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(file.path.parent) == ["a.service"]


def test_what_an_earlier_version_wrote_is_ours_still(file: StampedFile) -> None:
    StampedFile(file.path, "[Unit]\nDescription=old\n").write()
    assert file.state() is FileState.OUTDATED
    assert file.state().is_ours


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("Description=a", "Description=mine"),
        lambda text: text + "Environment=A=1\n",
        lambda text: "# mine\n" + text,
        lambda text: text.replace("sha256 ", "sha256 0"),
    ],
)
def test_what_a_person_changed_is_known(file: StampedFile, change: object) -> None:
    file.write()
    file.path.write_text(change(file.path.read_text()))  # type: ignore[operator]
    assert file.state() is FileState.CHANGED
    assert file.state().is_in_the_way


@pytest.mark.parametrize("text", ["", "[Unit]\n", "# by hand", "\udcff"])
def test_what_somebody_else_wrote_is_known(file: StampedFile, text: str) -> None:
    file.path.parent.mkdir()
    file.path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert file.state() is FileState.FOREIGN


def test_a_link_is_somebody_elses(file: StampedFile, tmp_path: Path) -> None:
    file.write()
    kept = file.path.rename(tmp_path / "dotfiles")
    file.path.symlink_to(kept)
    assert file.state() is FileState.FOREIGN


def test_a_property_list_carries_its_stamp_as_a_comment(tmp_path: Path) -> None:
    file = StampedFile(tmp_path / "a.plist", "<plist>\n</plist>\n")
    file.write()
    assert file.text.splitlines()[-1].startswith("<!-- ")
    assert file.state() is FileState.CURRENT


def test_a_write_that_fails_leaves_nothing(file: StampedFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="no"):
        file.write()
    assert os.listdir(file.path.parent) == []
