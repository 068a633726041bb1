"""The real fetcher process against the hub of the tests."""

import os
import random
from pathlib import Path

import pytest

from janagent.children.wire import ExitCode, FetchFailed
from janagent.folder.records import record_path
from tests.campaigns.kills import kill_fetchers
from tests.fetch.fetchers import REPO, finished, start
from tests.fetch.hub import TestHub

CONTENT = b"GGUF" + random.Random(3).randbytes(1 << 20)


def test_a_killed_fetcher_goes_on_where_it_was(tmp_path: Path):
    """Five times; `make campaign` does it fifty times, and to the daemon too."""
    assert kill_fetchers(tmp_path, dice=random.Random(5), kills=5).done == 5


def test_it_says_why_it_fails(tmp_path: Path):
    with TestHub() as hub:
        code, lines = finished(*start(hub, tmp_path))
    assert code == ExitCode.FETCH_FAILED
    assert isinstance(lines[-1], FetchFailed)
    assert lines[-1].is_permanent


def test_what_the_disk_refuses_is_an_error_of_its_own_and_not_tried_for_ever(tmp_path: Path):
    name = "n" * 247 + ".gguf"
    with TestHub() as hub:
        hub.add_repo(REPO, {name: CONTENT})
        code, lines = finished(*start(hub, tmp_path, files=(name,)))
    assert code == ExitCode.FETCH_FAILED
    assert isinstance(lines[-1], FetchFailed)
    assert (lines[-1].code, lines[-1].is_permanent) == ("name_too_long", True)


@pytest.mark.parametrize("name", ["../out.gguf", "/tmp/out.gguf", "C:\\out.gguf", ".janagent/fetch/out.gguf"])
def test_a_repo_whose_names_try_to_leave_the_folder_brings_nothing(tmp_path: Path, name: str):
    folder = tmp_path / "models"
    folder.mkdir()
    with TestHub() as hub:
        hub.add_repo(REPO, {"good.gguf": CONTENT[:1000], name: CONTENT[:1000]})
        code, lines = finished(*start(hub, folder, files=()))
        assert hub.bytes_sent("good.gguf") == 0
    assert code == ExitCode.FETCH_FAILED
    assert isinstance(lines[-1], FetchFailed)
    assert (lines[-1].code, lines[-1].is_permanent) == ("unsafe_name", True)
    assert (os.listdir(tmp_path), os.listdir(folder)) == (["models"], ["m.json"])


def test_a_folder_without_the_manifest_is_not_the_one_that_was_meant(tmp_path: Path):
    """A mount point whose disk is gone is an empty folder."""
    with TestHub() as hub:
        hub.add_repo(REPO, {"model.gguf": CONTENT})
        code, lines = finished(*start(hub, tmp_path, key="gone.json"))
    assert code == ExitCode.FETCH_FAILED
    assert isinstance(lines[-1], FetchFailed)
    assert (lines[-1].code, lines[-1].is_permanent) == ("disk_error", False)
    assert os.listdir(tmp_path) == ["m.json"]


def test_it_ends_with_its_parent(tmp_path: Path):
    with TestHub() as hub:
        hub.add_repo(REPO, {"model.gguf": CONTENT})
        hub.file(REPO, "model.gguf").slow_bytes_per_s = 1000
        process, reading = start(hub, tmp_path)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(60) == ExitCode.PARENT_GONE
        os.close(reading)


def test_what_is_to_be_kept_of_a_repo_is_kept_before_the_fetch_counts_as_done(tmp_path: Path):
    """Else whoever is interrupted between the two would never have it."""
    obstacle = tmp_path / "defaults"
    obstacle.write_text("a file where the folder would be")
    said = b'{"parameters": {"top_p": 0.5}}'
    wish = {
        "import_format": "janhq",
        "files": (),
        "defaults_path": str(obstacle / "m.json"),
        "artifact_key": "wish",
    }
    folder = tmp_path / "models"
    folder.mkdir()
    with TestHub() as hub:
        hub.add_repo(REPO, {"m.Q4_0.gguf": CONTENT, "model.json": said})
        code, _ = finished(*start(hub, folder, **wish))
        assert code == ExitCode.FETCH_FAILED
        assert record_path(folder, "m.json").exists()
        obstacle.unlink()
        code, _ = finished(*start(hub, folder, **wish))
        assert code == ExitCode.OK
    assert "0.5" in (obstacle / "m.json").read_text()
    assert not record_path(folder, "m.json").exists()
    assert hub.bytes_sent("m.Q4_0.gguf") < 2 * len(CONTENT)
