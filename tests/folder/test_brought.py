"""`janagent.folder.brought`: what finished fetches wrote, and who takes it away."""

import os
from pathlib import Path

import pytest

from janagent.folder.brought import Brought, forget, memory_path, remember, sweep, written_for

KEY = "m/a.json"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "m" / "sub").mkdir(parents=True)
    for name in ("a.json", "b.json", "README.md", "sub/note.txt", "found.md"):
        (tmp_path / "m" / name).write_text(name)
    return tmp_path


def brought(models: Path, name: str, *, is_written: bool = True) -> Brought:
    path = models / "m" / name
    return Brought.of(name, path, inode=path.stat().st_ino if is_written else None)


def written(models: Path, key: str = KEY, **about: set[str]) -> list[str]:
    return [str(path.relative_to(models)) for path in written_for(models, key, **about)]


def test_what_a_fetch_wrote_goes_and_what_it_found_stays(models: Path):
    files = [brought(models, "README.md"), brought(models, "sub/note.txt")]
    remember(models, KEY, [*files, brought(models, "found.md", is_written=False)])
    assert written(models) == ["m/README.md", "m/sub/note.txt"]
    assert written(models, "m/b.json") == []
    forget(models, KEY)
    assert written(models) == []
    assert not (models / ".janagent").exists()


@pytest.mark.parametrize("how", ["edited", "replaced", "touched", "gone", "a link now"])
def test_what_a_person_changed_since_is_not_ours_any_more(models: Path, how: str):
    remember(models, KEY, [brought(models, "README.md")])
    path = models / "m" / "README.md"
    if how == "edited":
        path.write_text("my notes")
    elif how == "replaced":
        path.rename(models / "m" / "old")
        path.write_text("README.md")
    elif how == "touched":
        os.utime(path, ns=(1, 1))
    else:
        path.rename(models / "m" / "old")
        if how == "a link now":
            path.symlink_to("old")
    assert written(models) == []


def test_what_another_model_uses_stays(models: Path):
    remember(models, KEY, [brought(models, "README.md"), brought(models, "sub/note.txt")])
    used = {os.path.realpath(models / "m" / "sub" / "note.txt")}
    assert written(models, used=used) == ["m/README.md"]


def test_the_last_of_those_that_wanted_a_file_takes_it_away(models: Path):
    remember(models, KEY, [brought(models, "README.md")])
    remember(models, "m/b.json", [brought(models, "README.md", is_written=False)])
    assert written(models) == []
    forget(models, KEY)
    assert written(models, "m/b.json") == ["m/README.md"]


def test_a_model_that_is_gone_wants_nothing_any_more(models: Path):
    remember(models, KEY, [brought(models, "README.md")])
    remember(models, "m/b.json", [brought(models, "README.md", is_written=False)])
    (models / "m" / "b.json").unlink()
    assert written(models) == ["m/README.md"]


def test_a_later_fetch_adds_to_what_an_earlier_one_wrote(models: Path):
    remember(models, KEY, [brought(models, "README.md")])
    later = [brought(models, "README.md", is_written=False), brought(models, "sub/note.txt")]
    remember(models, KEY, later)
    assert written(models) == ["m/README.md", "m/sub/note.txt"]


def test_only_models_that_are_there_are_remembered(models: Path):
    remember(models, KEY, [brought(models, "README.md")])
    remember(models, "m/b.json", [brought(models, "sub/note.txt")])
    sweep(models, {"m/b.json"})
    assert (written(models), written(models, "m/b.json")) == ([], ["m/sub/note.txt"])
    assert (models / "m" / "README.md").exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"key": "m/a.json"}',
        '{"key": "m/a.json", "files": [{"name": "../x"}]}',
        '{"key": "n.json", "files": []}',
    ],
)
def test_a_memory_that_cannot_be_read_or_came_with_a_folder_says_nothing(models: Path, text: str):
    remember(models, KEY, [brought(models, "README.md")])
    memory_path(models, KEY).write_text(text)
    assert written(models) == []


def test_names_that_leave_the_models_folder_by_a_link_are_left_alone(models: Path, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "note.txt").write_text("note")
    remember(models, KEY, [brought(models, "sub/note.txt")])
    (models / "m" / "sub" / "note.txt").rename(outside / "note.txt")
    (models / "m" / "sub").rmdir()
    (models / "m" / "sub").symlink_to(outside)
    assert written(models) == []
