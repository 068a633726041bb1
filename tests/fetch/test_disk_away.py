"""A linked folder on a disk that is away for a while: what was fetched into it is kept."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons import Daemon, until
from tests.fetch.hosting import REPO, big, tree
from tests.fetch.hub import TestHub

BLOCKS_BYTES = 6 << 20
"""A block of each connection is lost with an interruption."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[TestHub]:
    with TestHub() as running:
        path = big(running, tmp_path, bytes_per_s=0)
        running.add_repo(REPO, {"big.Q4_0.gguf": path, "README.md": b"# big"})
        running.file(REPO, "big.Q4_0.gguf").slow_bytes_per_s = 2_000_000
        yield running


@pytest.fixture
def online(tmp_path: Path, hub: TestHub) -> Iterator[Daemon]:
    settings = {"offline": "false", "hub_endpoint": hub.url, "spare_worker": "false", "hot_load": "never"}
    with Daemon(tmp_path, **settings) as running:
        yield running


@pytest.fixture
def disk(online: Daemon, tmp_path: Path) -> Path:
    """A folder elsewhere, linked into the models, with a model of which half has come."""
    disk = tmp_path / "disk"
    disk.mkdir()
    (disk / "big.json").write_text(json.dumps({"origin": REPO, "import_format": "default"}))
    (online.models / "ext").symlink_to(disk)
    return disk


def half_way(hub: TestHub, disk: Path) -> int:
    """What was sent until then, once that is."""
    until(lambda: hub.bytes_sent("big.Q4_0.gguf") > 20_000_000 and (disk / "README.md").exists())
    return hub.bytes_sent("big.Q4_0.gguf")


def is_whole(online: Daemon, hub: TestHub) -> bool:
    hub.file(REPO, "big.Q4_0.gguf").slow_bytes_per_s = None
    online.wait_state("big", "downloaded")
    return hub.bytes_sent("big.Q4_0.gguf") < 40_400_000 + 2 * BLOCKS_BYTES


def test_what_came_is_gone_on_with_when_the_disk_was_away_at_a_start(
    online: Daemon, hub: TestHub, disk: Path, tmp_path: Path
) -> None:
    half_way(hub, disk)
    online.stop()
    disk.rename(tmp_path / "away")
    online.start()
    online.stop()
    (tmp_path / "away").rename(disk)
    online.start()
    assert is_whole(online, hub)
    assert tree(disk) == ["README.md", "big.Q4_0.gguf", "big.json"]


def test_of_a_link_that_was_deleted_nothing_is_kept(online: Daemon, hub: TestHub, disk: Path) -> None:
    half_way(hub, disk)
    (online.models / "ext").unlink()
    until(lambda: not (online.models / ".janagent" / "fetch").exists(), what="the record is gone")


def test_of_a_folder_that_was_deleted_while_no_daemon_ran_nothing_is_kept(
    online: Daemon, hub: TestHub
) -> None:
    folder = online.drop("big", {"origin": REPO, "import_format": "default"})
    half_way(hub, folder)
    online.stop()
    shutil.rmtree(folder)
    online.start()
    until(lambda: tree(online.models) == [], what="record and memory are gone")
