"""What DELETE takes away, and what it never touches."""

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from janagent.folder.entry import Binary, Condition, ModelEntry, Role
from janagent.folder.manifest import Manifest
from janagent.folder.removal import obstacle, remove_files, sweep


def model(models: Path, folder: str, *binaries: str, shared: tuple[str, ...] = ()) -> ModelEntry:
    """A model `folder/m.json` with its files made on disk."""
    (models / folder).mkdir(parents=True, exist_ok=True)
    (models / folder / "m.json").write_text("{}")
    made = []
    for name in binaries:
        path = models / folder / name
        if not path.exists():
            path.write_bytes(b"GGUF")
        about = (f"models/{folder}/{name}", path, 4, Role.MODEL, name in shared, (1, 2, 3, 4))
        made.append(Binary(*about))
    return ModelEntry(
        key=f"{folder}/m.json",
        id="m",
        aliases=(),
        path=f"models/{folder}/m.json",
        manifest=Manifest(),
        has_manifest=True,
        condition=Condition.COMPLETE,
        binaries=tuple(made),
    )


def test_manifest_binaries_and_the_empty_folders_go_but_never_models(tmp_path: Path) -> None:
    models = tmp_path / "models"
    entry = model(models, "a/b/c", "m-00001-of-00002.gguf", "m-00002-of-00002.gguf")
    remove_files(entry, models=models)
    assert list(models.iterdir()) == []


def test_other_files_of_the_folder_stay(tmp_path: Path) -> None:
    models = tmp_path / "models"
    entry = model(models, "a", "m.gguf")
    (models / "a" / "notes.txt").write_text("mine")
    remove_files(entry, models=models)
    assert [path.name for path in (models / "a").iterdir()] == ["notes.txt"]


def test_a_binary_that_another_model_uses_stays(tmp_path: Path) -> None:
    models = tmp_path / "models"
    entry = model(models, "a", "m.gguf", shared=("m.gguf",))
    remove_files(entry, models=models)
    assert [path.name for path in (models / "a").iterdir()] == ["m.gguf"]


def test_a_linked_binary_outside_is_refused_by_the_name_of_the_link(tmp_path: Path) -> None:
    models, outside = tmp_path / "models", tmp_path / "precious.gguf"
    outside.write_bytes(b"GGUF")
    (models / "a").mkdir(parents=True)
    (models / "a" / "m.gguf").symlink_to(outside)
    entry = model(models, "a", "m.gguf")
    reason = obstacle(entry, models=models)
    assert reason is not None
    assert "models/a/m.gguf is a link" in reason
    with pytest.raises(OSError, match="link"):
        remove_files(entry, models=models)
    assert outside.exists()
    assert (models / "a" / "m.json").exists()


def test_a_linked_folder_outside_is_refused_by_the_name_of_the_link(tmp_path: Path) -> None:
    models, outside = tmp_path / "models", tmp_path / "elsewhere"
    outside.mkdir()
    models.mkdir()
    (models / "a").symlink_to(outside)
    entry = model(models, "a", "m.gguf")
    reason = obstacle(entry, models=models)
    assert reason is not None
    assert reason.startswith("models/a is a link")


def test_a_models_folder_that_is_itself_a_link_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    models = tmp_path / "models"
    models.symlink_to(tmp_path / "disk")
    entry = model(models, "a", "m.gguf")
    assert obstacle(entry, models=models) is None
    remove_files(entry, models=models)
    assert list((tmp_path / "disk").iterdir()) == []


def test_a_removal_that_fails_half_way_leaves_everything_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    entry = model(models, "a", "m-00001-of-00002.gguf", "m-00002-of-00002.gguf")
    rename = Path.rename

    def on_another_disk(path: Path, target: Path) -> Path:
        if path == models / "a" / "m-00002-of-00002.gguf":
            raise OSError(errno.EXDEV, "Invalid cross-device link", str(path))
        return rename(path, target)

    before = sorted(models.rglob("*"))
    monkeypatch.setattr(Path, "rename", on_another_disk)
    with pytest.raises(OSError, match="cross-device"):
        remove_files(entry, models=models)
    assert sorted(models.rglob("*")) == before


def test_a_bare_link_goes_and_the_file_that_another_model_uses_stays(tmp_path: Path) -> None:
    models = tmp_path / "models"
    model(models, "a", "m.gguf")
    (models / "b.gguf").symlink_to(models / "a" / "m.gguf")
    shared = Binary("models/b.gguf", models / "a" / "m.gguf", 4, Role.MODEL, True, (1, 2, 3, 4))
    bare = replace(
        model(models, "a"), key="b.gguf", path="models/b.gguf", has_manifest=False, binaries=(shared,)
    )
    remove_files(bare, models=models)
    assert sorted(path.name for path in models.iterdir()) == ["a"]
    assert sorted(path.name for path in (models / "a").iterdir()) == ["m.gguf", "m.json"]


def test_a_bare_file_that_another_model_uses_is_refused(tmp_path: Path) -> None:
    models = tmp_path / "models"
    entry = replace(
        model(models, "a", "m.gguf", shared=("m.gguf",)), path="models/a/m.gguf", has_manifest=False
    )
    assert "another model uses models/a/m.gguf" in (obstacle(entry, models=models) or "")


def test_a_file_that_is_already_gone_is_no_error(tmp_path: Path) -> None:
    models = tmp_path / "models"
    entry = model(models, "a", "m.gguf")
    (models / "a" / "m.gguf").unlink()
    remove_files(entry, models=models)
    assert list(models.iterdir()) == []


def test_what_an_earlier_end_left_out_of_sight_goes_and_nothing_else(tmp_path: Path) -> None:
    shelf = tmp_path / ".janagent"
    (shelf / "removed-abc").mkdir(parents=True)
    (shelf / "removed-abc" / "0-m.gguf").write_bytes(b"x")
    (shelf / "keep").write_text("a fetch's own record")
    sweep(tmp_path)
    assert [path.name for path in shelf.iterdir()] == ["keep"]
    sweep(tmp_path / "absent")
