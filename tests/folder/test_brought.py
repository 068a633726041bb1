"""`janagent.folder.brought`: what finished fetches wrote, and who takes it away."""

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import pytest

from janagent.fetch.record import Entry, Record
from janagent.folder.brought import (
    Brought,
    forget,
    is_own,
    memory_path,
    note,
    remember,
    sweep,
    written_for,
)
from janagent.folder.records import record_path
from tests.daemons import until

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


def begun(models: Path, key: str, *names: str, size_bytes: int | None = None) -> Record:
    """A fetch for `key` that runs."""
    record = Record(record_path(models, key), key=key)
    record.begin([Entry(name, size_bytes) for name in names], {})
    return record


def test_what_a_running_fetch_of_another_model_found_goes_with_that_model(models: Path):
    remember(models, KEY, [brought(models, "README.md"), brought(models, "sub/note.txt")])
    running = begun(models, "m/b.json", "README.md", "big.gguf")
    assert not is_own(models, KEY, "README.md")
    assert is_own(models, KEY, "sub/note.txt")
    assert written(models) == ["m/sub/note.txt"]
    forget(models, KEY)
    assert written(models, "m/b.json") == ["m/README.md"]
    running.conclude()
    assert written(models, "m/b.json") == ["m/README.md"], "its end does not forget who wrote it"


def test_what_lies_in_the_way_of_another_model_s_fetch_goes(models: Path):
    remember(models, KEY, [brought(models, "README.md")])
    running = begun(models, "m/b.json", "README.md", size_bytes=5_000)
    assert written(models) == ["m/README.md"]
    running.close()


def test_a_fetch_of_a_model_that_is_gone_wants_nothing_any_more(models: Path):
    remember(models, KEY, [brought(models, "README.md")])
    running = begun(models, "m/b.json", "README.md")
    (models / "m" / "b.json").unlink()
    assert written(models) == ["m/README.md"]
    running.close()


def test_what_one_process_brings_and_another_hands_over_is_all_remembered(models: Path):
    """The fetcher of one model, and the daemon that deletes the other one."""
    shared = [f"shared-{number}" for number in range(50)]
    own = [f"own-{number}" for number in range(200)]
    for name in (*shared, *own):
        (models / "m" / name).write_text(name)
    remember(models, KEY, [brought(models, name) for name in shared])
    remember(models, "m/b.json", [brought(models, name, is_written=False) for name in shared])
    fetcher = multiprocessing.get_context("spawn").Process(target=note_each, args=(models, "m/b.json", own))
    fetcher.start()
    until(lambda: len(memory_path(models, "m/b.json").read_bytes().splitlines()) > 10)
    assert written(models) == []
    forget(models, KEY)
    fetcher.join()
    assert fetcher.exitcode == 0
    assert set(written(models, "m/b.json")) == {f"m/{name}" for name in (*shared, *own)}


def note_each(models: Path, key: str, names: list[str]) -> None:
    for name in names:
        note(models, key, [brought(models, name)])


def test_a_line_that_was_cut_off_costs_no_other_line(models: Path):
    remember(models, KEY, [brought(models, "README.md")])
    path = memory_path(models, KEY)
    path.write_bytes(path.read_bytes() + b'\n{"key": "m/a.json", "files": [{"name": "sub/no')
    note(models, KEY, [brought(models, "found.md")])
    assert written(models) == ["m/README.md", "m/found.md"]


def test_what_is_known_already_is_not_noted_again(models: Path):
    files = [brought(models, "README.md"), brought(models, "sub/note.txt")]
    remember(models, KEY, files)
    before = memory_path(models, KEY).read_bytes()
    remember(models, KEY, [replace(file, is_written=False) for file in files])
    assert memory_path(models, KEY).read_bytes() == before


def test_what_cannot_be_handed_over_stays_nevertheless(models: Path):
    remember(models, KEY, [brought(models, "README.md")])
    running = begun(models, "m/b.json", "README.md")
    memory_path(models, "m/b.json").mkdir()
    assert written(models) == []
    running.close()


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
