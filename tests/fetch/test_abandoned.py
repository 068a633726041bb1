"""A download of several files that nobody goes on with: what of it goes, and when."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from janagent.folder.records import discard
from tests.daemons import Daemon, until
from tests.fetch.fetchers import REPO, finished, start
from tests.fetch.hub import TestHub
from tests.gguf_files import write_model

PLACED = ["README.md", "m.Q2_K.gguf", "sub/note.txt"]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[TestHub]:
    """Of its repo all files come at once but one, of which a beginning comes."""
    for name in ("m.Q2_K.gguf", "m.Q4_0.gguf"):
        write_model(tmp_path / name)
    with (tmp_path / "m.Q4_0.gguf").open("ab") as file:
        file.write(bytes(30_000_000))
    small = {"README.md": b"# m", "sub/note.txt": b"note", "m.Q2_K.gguf": tmp_path / "m.Q2_K.gguf"}
    with TestHub() as running:
        running.add_repo(REPO, {**small, "sub/m.Q4_0.gguf": tmp_path / "m.Q4_0.gguf"})
        running.file(REPO, "sub/m.Q4_0.gguf").slow_bytes_per_s = 1_500_000
        yield running


@pytest.fixture
def online(tmp_path: Path, hub: TestHub) -> Iterator[Daemon]:
    settings = {"offline": "false", "hub_endpoint": hub.url, "spare_worker": "false", "hot_load": "never"}
    with Daemon(tmp_path, **settings) as running:
        yield running


def begun(daemon: Daemon) -> Path:
    """A download of which some files are in place, and one is not."""
    folder = daemon.drop("m", {"origin": REPO, "import_format": "default"})
    until(lambda: all((folder / name).exists() for name in PLACED), what="the small files")
    until(lambda: list(folder.rglob("*.part")), what="the large one")
    return folder


@pytest.mark.parametrize("is_paused", [False, True])
def test_a_model_that_is_deleted_while_it_is_fetched_takes_all_that_came_along(
    online: Daemon, is_paused: bool
):
    folder = begun(online)
    (folder / "mine.txt").write_text("mine")
    if is_paused:
        assert online.call("PUT", "/v1/models/m/stop")[0] == 200
    assert online.call("DELETE", "/v1/models/m")[0] == 200
    until(lambda: [str(path) for path in folder.rglob("*")] == [str(folder / "mine.txt")], what="all is gone")
    assert [path.name for path in online.models.iterdir()] == ["m"]


def test_a_folder_that_held_nothing_but_a_download_goes_with_it(online: Daemon):
    begun(online)
    assert online.call("DELETE", "/v1/models/m")[0] == 200
    until(lambda: list(online.models.iterdir()) == [], what="the folder is gone")


def test_what_came_before_an_edit_goes_with_the_model_later(online: Daemon, hub: TestHub):
    folder = begun(online)
    wish = {"origin": REPO, "import_format": "default", "download_url": "m.Q2_K.gguf"}
    (folder / "m.json").write_text(json.dumps(wish))
    online.wait_state("m", "downloaded")
    until(lambda: not list(folder.rglob("*.part")), what="what is no longer wanted is gone")
    assert online.call("DELETE", "/v1/models/m")[0] == 200
    until(lambda: list(online.models.iterdir()) == [], what="all that came is gone")


def test_folders_that_an_unfinished_file_was_alone_in_go_with_it(hub: TestHub, tmp_path: Path):
    folder = tmp_path / "models"
    folder.mkdir()
    process, reading = start(hub, folder, files=("sub/m.Q4_0.gguf",))
    until(lambda: list(folder.rglob("*.part")))
    process.kill()
    finished(process, reading)
    discard(folder, "m.json")
    assert [path.name for path in folder.rglob("*")] == ["m.json"]


def test_a_folder_that_is_renamed_while_its_download_rests_is_completed_under_its_new_name(
    online: Daemon, hub: TestHub
):
    folder = online.drop("m", {"origin": REPO, "download_url": "sub/m.Q4_0.gguf"})
    until(lambda: hub.bytes_sent("m.Q4_0.gguf") > 5_000_000)
    assert online.call("PUT", "/v1/models/m/stop")[0] == 200
    hub.file(REPO, "sub/m.Q4_0.gguf").slow_bytes_per_s = None
    folder.rename(online.models / "new")
    online.wait_state("m", "downloaded")
    until(lambda: not (online.models / ".janagent").exists(), what="no record is left")
    assert sorted(path.name for path in online.models.rglob("*.*")) == ["m.Q4_0.gguf", "m.json"]
