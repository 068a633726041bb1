"""Our own folders below `models` come and go with the last file in them, whoever keeps one there."""

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from janagent.fetch.record import Entry, Record
from janagent.folder.brought import Brought, forget, remember
from janagent.folder.defaults import NO_DEFAULTS, defaults_of, defaults_path, save, sweep
from janagent.folder.hidden import made_in
from janagent.folder.records import record_path
from janagent.folder.removal import remove_files
from tests.folder.test_removal import model

ROUNDS = 400
Round = Callable[[Path, str], None]


def fetch(models: Path, name: str) -> None:
    record = Record(record_path(models, name), key=name)
    record.begin([Entry("m.gguf", 1)], {})
    record.remove()


def remember_and_forget(models: Path, name: str) -> None:
    path = models / f"{name}.txt"
    path.write_text(name)
    remember(models, f"{name}.json", [Brought.of(path.name, path, inode=None)])
    forget(models, f"{name}.json")


def save_defaults(models: Path, name: str) -> None:
    path = defaults_path(models, name * 64)
    save(path, defaults_of({"ctx_len": 512}, {})[0])
    save(path, NO_DEFAULTS)
    for folder in (path.parent, path.parent.parent):  # as a sweep does, of the folders that are empty then
        with contextlib.suppress(OSError):
            folder.rmdir()


def failures(models: Path, *rounds: tuple[Round, str]) -> list[OSError]:
    """Of rounds beside each other, and beside downloads that begin and end. Each would have failed one,
    or a deletion."""
    errors: list[OSError] = []

    def again_and_again(one: Round, name: str) -> None:
        for number in range(ROUNDS):
            try:
                one(models, name.format(number))
            except OSError as error:
                errors.append(error)

    some = [*rounds, *((fetch, name) for name in "cde")]
    threads = [threading.Thread(target=again_and_again, args=one) for one in some]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


@pytest.mark.parametrize("work", [remember_and_forget, save_defaults])
def test_nobody_fails_because_another_takes_the_folder_along(tmp_path: Path, work: Round) -> None:
    assert failures(tmp_path, (work, "a"), (work, "b")) == []
    sweep(tmp_path, set)
    assert not (tmp_path / ".janagent").exists()


def test_no_deletion_fails_because_a_download_ends(tmp_path: Path) -> None:
    models = tmp_path / "models"
    entries = {f"m{number}": model(models, f"m{number}") for number in range(ROUNDS)}

    def delete(models: Path, name: str) -> None:
        remove_files(entries[name], models=models)

    assert failures(models, (delete, "m{}")) == []
    assert list(models.iterdir()) == []


def test_nothing_is_made_in_place_of_a_models_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        made_in(tmp_path / "gone", ".janagent/x", lambda: None)
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_folder_would_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".janagent").write_text("mine")
    with pytest.raises(OSError, match="ile"):
        made_in(tmp_path, ".janagent/x", (tmp_path / ".janagent" / "x" / "y").touch)
