"""`janagent.folder.records`: what a fetch leaves while it runs."""

import json
import time
from pathlib import Path

from janagent.folder.catalog import Catalog
from janagent.folder.derived import artifact_key
from janagent.folder.entry import Condition
from janagent.folder.manifest import read_manifest
from janagent.folder.records import discard, open_fetch, open_fetches, record_path
from tests.gguf_files import write_model

MANIFEST = '{"origin": "owner/repo"}'


def write_record(models: Path, key: str, *names: str, artifact_key: str = "") -> Path:
    path = record_path(models, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [{"name": name} for name in names]
    path.write_text(json.dumps({"key": key, "artifact_key": artifact_key, "files": files, "more": 1}))
    return path


def wanted_by(manifest: str) -> str:
    """The artifact key of a manifest with this text."""
    found = read_manifest(manifest.encode()).manifest
    assert found is not None
    return artifact_key(found)


def test_a_record_says_which_model_waits_for_which_files(tmp_path: Path):
    assert open_fetches(tmp_path) == {}
    write_record(tmp_path, "x/a.json", "a.gguf", "sub/b.gguf")
    (fetch,) = open_fetches(tmp_path).values()
    assert fetch.key == "x/a.json"
    assert fetch.paths() == {"x/a.gguf", "x/sub/b.gguf"}
    assert open_fetch(tmp_path, "y.json") is None


def test_a_record_that_cannot_be_read_says_nothing(tmp_path: Path):
    for number, text in enumerate(("", "[]", "{}", '{"key": 1, "files": 2}', "\x00")):
        path = record_path(tmp_path, str(number))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert open_fetches(tmp_path) == {}


def test_a_record_with_names_that_leave_the_folder_or_of_another_model_says_nothing(tmp_path: Path):
    write_record(tmp_path, "a.json", "../b.gguf")
    write_record(tmp_path, "b.json", "/etc/b.gguf")
    write_record(tmp_path, "c.json", "c.gguf").rename(record_path(tmp_path, "d.json"))
    assert open_fetches(tmp_path) == {}


def test_a_model_whose_fetch_has_not_ended_is_not_complete_and_what_came_is_no_model_of_its_own(
    tmp_path: Path,
):
    models = tmp_path / "models"
    models.mkdir()
    (models / "a.json").write_text(MANIFEST)
    write_model(models / "other-name.gguf")
    wanted = wanted_by(MANIFEST)
    write_record(models, "a.json", "other-name.gguf", "second.gguf", artifact_key=wanted)
    catalog = Catalog(tmp_path, default_root=False)
    catalog.scan(None, now=time.monotonic() + 10)
    (entry,) = catalog.entries().values()
    assert entry.condition is Condition.MISSING
    assert entry.fault is not None
    assert entry.fault.code == "interrupted"
    assert entry.is_fetchable
    record_path(models, "a.json").unlink()
    catalog.scan({""}, now=time.monotonic() + 20)
    assert catalog.entries()["a.json"].condition is Condition.COMPLETE


def test_a_record_of_what_the_manifest_no_longer_asks_for_holds_nothing_back(tmp_path: Path):
    models = tmp_path / "models"
    models.mkdir()
    (models / "a.json").write_text('{"metadata": {"engine": "llamacpp"}}')
    write_model(models / "a.gguf")
    write_record(models, "a.json", "other.gguf", artifact_key=wanted_by(MANIFEST))
    catalog = Catalog(tmp_path, default_root=False)
    catalog.scan(None, now=time.monotonic() + 10)
    catalog.scan({""}, now=time.monotonic() + 20)
    assert catalog.entries()["a.json"].condition is Condition.COMPLETE


def test_a_record_without_its_manifest_hides_no_names(tmp_path: Path):
    models = tmp_path / "models"
    models.mkdir()
    (models / "a.json").write_text(MANIFEST)
    write_model(models / "a.gguf")
    write_record(models, "a.json", "a.gguf", "b.gguf", artifact_key=wanted_by(MANIFEST))
    write_model(models / "b.gguf")
    catalog = Catalog(tmp_path, default_root=False)
    now = time.monotonic() + 10
    catalog.scan(None, now=now)
    assert set(catalog.entries()) == {"a.json"}
    (models / "a.json").unlink()
    catalog.scan({""}, now=now + 1)
    catalog.scan({""}, now=now + 3)
    assert set(catalog.entries()) == {"a.gguf", "b.gguf"}


def test_giving_up_a_fetch_removes_what_is_unfinished_and_nothing_else(tmp_path: Path):
    (tmp_path / "x").mkdir()
    for name in ("a.gguf.part", "b.gguf", "mine.part"):
        (tmp_path / "x" / name).write_text("text")
    path = write_record(tmp_path, "x/a.json", "a.gguf", "b.gguf", "mine")
    record = json.loads(path.read_text())
    record["files"][0]["inode"] = (tmp_path / "x" / "a.gguf.part").stat().st_ino
    path.write_text(json.dumps(record))
    discard(tmp_path, "x/a.json")
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == ["b.gguf", "mine.part"]
    assert not (tmp_path / ".janagent").exists()
    discard(tmp_path, "x/a.json")
