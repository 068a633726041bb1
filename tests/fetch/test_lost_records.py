"""Unfinished files whose record is lost: they block nobody, and nothing is made of them that is not right."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from janagent.fetch.plan import RemoteFile
from janagent.folder.records import discard, record_path
from tests.fetch.hub import TestHub
from tests.fetch.transfers import LARGE, REPO, bring, interrupted, listing, parts, remote


@pytest.fixture
async def hub() -> AsyncIterator[TestHub]:
    async with TestHub() as running:
        running.add_repo(REPO, {"model.gguf": LARGE})
        yield running


@pytest.mark.parametrize("has_hash", [False, True])
async def test_a_part_without_its_record_is_begun_anew(hub: TestHub, tmp_path: Path, has_hash: bool):
    file = remote(hub) if has_hash else RemoteFile("model.gguf", hub.direct_url(REPO, "model.gguf"))
    await interrupted(hub, tmp_path, file)
    record_path(tmp_path, "m.json").unlink()
    await bring(hub, tmp_path, file)
    assert (tmp_path / "model.gguf").read_bytes() == LARGE
    assert listing(tmp_path) == ["model.gguf"]


async def test_a_download_in_a_folder_that_was_renamed_goes_on_under_its_new_name(
    hub: TestHub, tmp_path: Path
):
    (tmp_path / "old").mkdir()
    inner = RemoteFile(f"old/{remote(hub).name}", remote(hub).url, len(LARGE), remote(hub).sha256)
    hub.add_repo(REPO, {"model.gguf": LARGE, "old/model.gguf": LARGE})
    await interrupted(hub, tmp_path, inner)
    (tmp_path / "old").rename(tmp_path / "new")
    discard(tmp_path, "m.json")
    moved = RemoteFile("new/model.gguf", inner.url, len(LARGE), inner.sha256)
    await bring(hub, tmp_path, moved, key="n.json")
    assert (tmp_path / "new" / "model.gguf").read_bytes() == LARGE
    assert listing(tmp_path) == ["new", "new/model.gguf"]


async def test_where_the_folder_is_a_link_out_of_the_models_the_record_stays_with_its_part(
    hub: TestHub, tmp_path: Path
):
    outside, models = tmp_path / "outside", tmp_path / "models"
    outside.mkdir()
    models.mkdir()
    await interrupted(hub, outside)
    path = record_path(models, "m/m.json")
    path.parent.mkdir(parents=True)
    shutil.copyfile(record_path(outside, "m.json"), path)
    path.write_text(path.read_text().replace('"m.json"', '"m/m.json"'))
    (models / "m").symlink_to(outside)
    discard(models, "m/m.json")
    assert path.exists()
    assert parts(outside)
    parts(outside)[0].unlink()
    discard(models, "m/m.json")
    assert not path.exists()
