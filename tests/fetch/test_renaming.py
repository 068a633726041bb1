"""A rename that overwrites nothing."""

import os
import threading
from pathlib import Path

import pytest

from janagent.fetch.renaming import rename_to_free


def test_a_free_name_is_given(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("it")
    rename_to_free(tmp_path / "old", tmp_path / "new ä")
    assert os.listdir(tmp_path) == ["new ä"]
    assert (tmp_path / "new ä").read_text() == "it"


@pytest.mark.parametrize("what", ["a file", "a link that leads nowhere", "a folder"])
def test_a_name_that_is_taken_is_not(tmp_path: Path, what: str) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("it")
    if what == "a file":
        new.write_text("mine")
    elif what == "a folder":
        new.mkdir()
    else:
        new.symlink_to("nowhere")
    before = new.lstat().st_ino
    with pytest.raises(FileExistsError):
        rename_to_free(old, new)
    assert (old.read_text(), new.lstat().st_ino) == ("it", before)


def test_a_file_that_is_not_there_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        rename_to_free(tmp_path / "old", tmp_path / "new")


def test_what_a_person_makes_in_that_moment_is_never_overwritten(tmp_path: Path) -> None:
    names = [str(number) for number in range(3000)]
    for name in names:
        (tmp_path / f"old-{name}").write_text("it")
    made: list[str] = []

    def make_mine() -> None:
        for name in names:
            try:
                with (tmp_path / name).open("x") as file:
                    file.write("mine")
            except FileExistsError:
                continue
            made.append(name)

    person = threading.Thread(target=make_mine)
    person.start()
    given = []
    for name in names:
        try:
            rename_to_free(tmp_path / f"old-{name}", tmp_path / name)
        except FileExistsError:
            continue
        given.append(name)
    person.join()
    assert {(tmp_path / name).read_text() for name in made} <= {"mine"}
    assert sorted([*made, *given]) == sorted(names)
