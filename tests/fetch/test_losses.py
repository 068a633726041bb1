"""What `kill -9` late in a large file costs: at most 16 MB are fetched twice. The hub counts them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from janagent.children.wire import ExitCode
from tests.daemons import Daemon, assert_all_gone, until
from tests.fetch.fetchers import REPO, finished, start
from tests.fetch.hub import TestHub
from tests.fetch.transfers import parts
from tests.gguf_files import write_model

NAME = "big.Q4_0.gguf"
SIZE = 100_000_000
LATE = [60_000_000, 80_000_000]
"""How much is there at each kill."""
MOST_LOST = 16 << 20


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[TestHub]:
    path = tmp_path / "content"
    write_model(path)
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        while (left := SIZE - file.tell()) > 0:
            file.write(os.urandom(min(left, 1 << 20)))
    with TestHub() as running:
        running.add_repo(REPO, {NAME: path})
        running.file(REPO, NAME).slow_bytes_per_s = 15_000_000  # each connection
        yield running


def assert_it_came_with_few_losses(hub: TestHub, folder: Path, *, kills: int) -> None:
    content = hub.file(REPO, NAME).content
    assert isinstance(content, Path)
    assert (folder / NAME).read_bytes() == content.read_bytes()
    assert 0 <= hub.bytes_sent(NAME) - SIZE <= kills * MOST_LOST


@pytest.mark.parametrize("has_hash", [False, True])
def test_a_fetcher_that_is_killed_late_fetches_little_again(hub: TestHub, tmp_path: Path, has_hash: bool):
    folder = tmp_path / "models"
    folder.mkdir()
    wish = {"files": (NAME,)} if has_hash else {"origin": hub.direct_url(REPO, NAME), "files": ()}
    for moment in LATE:
        process, reading = start(hub, folder, **wish)
        until(lambda moment=moment: hub.bytes_sent(NAME) > moment)
        process.kill()
        finished(process, reading)
    code, _ = finished(*start(hub, folder, **wish))
    assert code == ExitCode.OK
    assert_it_came_with_few_losses(hub, folder, kills=len(LATE))


def test_a_daemon_that_is_killed_late_fetches_little_again(hub: TestHub, tmp_path: Path):
    settings = {"offline": "false", "hub_endpoint": hub.url, "spare_worker": "false", "hot_load": "never"}
    with Daemon(tmp_path, **settings) as daemon:
        folder = daemon.drop("big", {"origin": REPO})
        for moment in LATE:
            until(lambda moment=moment: hub.bytes_sent(NAME) > moment)
            daemon.kill()
            daemon.start()
        daemon.wait_state("big", "downloaded")
        assert_it_came_with_few_losses(hub, folder, kills=len(LATE))


def test_after_a_reboot_that_lost_what_was_not_yet_on_the_disk_the_right_file_comes(
    hub: TestHub, tmp_path: Path
):
    """The record says that it is there; the file has holes."""
    settings = {"offline": "false", "hub_endpoint": hub.url, "spare_worker": "false", "hot_load": "never"}
    with Daemon(tmp_path, **settings) as daemon:
        hub.file(REPO, NAME).slow_bytes_per_s = 3_000_000
        folder = daemon.drop("big", {"origin": REPO})
        until(lambda: hub.bytes_sent(NAME) > 30_000_000)
        assert_all_gone(daemon.kill(), within_s=60)
        (part,) = parts(folder, NAME)
        size = part.stat().st_size
        os.truncate(part, 10_000_000)
        os.truncate(part, size)
        hub.file(REPO, NAME).slow_bytes_per_s = None
        daemon.start()
        daemon.wait_state("big", "downloaded")
        content = hub.file(REPO, NAME).content
        assert isinstance(content, Path)
        assert (folder / NAME).read_bytes() == content.read_bytes()
        assert sorted(path.name for path in folder.iterdir()) == [NAME, "big.json"]
