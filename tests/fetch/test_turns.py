"""Models in folders of their own that want the same large file at one time: it is fetched once."""

import asyncio
import fcntl
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from janagent.fetch.cache import LEAST_BYTES
from janagent.fetch.client import Auth
from janagent.fetch.part import Part
from janagent.fetch.place import Place
from janagent.fetch.plan import RemoteFile
from janagent.fetch.record import Entry, Record
from janagent.fetch.transfer import transfer
from janagent.fetch.turns import take_turn
from janagent.folder.records import record_path
from tests.daemons import Daemon, until
from tests.fetch.hosting import REPO, big, tree
from tests.fetch.hub import TestHub
from tests.fetch.transfers import REPO as OTHER_REPO
from tests.fetch.transfers import remote

NAME = "big.Q4_0.gguf"


@pytest.fixture
def online(tmp_path: Path, hub: TestHub) -> Iterator[Daemon]:
    settings = {"offline": "false", "hub_endpoint": hub.url, "spare_worker": "false", "hot_load": "never"}
    with Daemon(tmp_path, **settings, max_downloads=3) as running:
        yield running


def drop(daemon: Daemon, *names: str) -> None:
    for name in names:
        daemon.drop(name, {"origin": REPO})


def one_that_brings(daemon: Daemon, hub: TestHub, *names: str) -> str:
    """Which of them it is, once it does; one that finds another ahead has a `.part` for a moment too."""
    until(lambda: hub.bytes_sent(NAME) > 2_000_000, what="more is sent than headers to choose by")

    def found() -> list[str]:
        return [name for name in names if any(daemon.models.glob(f"{name}/*.part"))]

    (one,) = until(lambda: len(now := found()) == 1 and now, what="nobody else has begun")
    return one


def test_what_three_want_at_once_is_fetched_once(online: Daemon, hub: TestHub, tmp_path: Path) -> None:
    path = big(hub, tmp_path, bytes_per_s=4_000_000)
    drop(online, "one", "two", "three")
    for name in ("one", "two", "three"):
        online.wait_state(name, "downloaded", "failed")
    assert hub.bytes_sent(NAME) == path.stat().st_size
    files = [online.models / name / NAME for name in ("one", "two", "three")]
    assert all(file.samefile(files[0]) for file in files)
    assert files[0].read_bytes() == path.read_bytes()
    until(lambda: not (online.models / ".janagent").exists(), what="no record is left")


def test_when_the_one_that_brings_it_is_deleted_the_other_does(
    online: Daemon, hub: TestHub, tmp_path: Path
) -> None:
    path = big(hub, tmp_path, bytes_per_s=1_000_000)
    drop(online, "one", "two")
    first = one_that_brings(online, hub, "one", "two")
    second = "two" if first == "one" else "one"
    until(lambda: hub.bytes_sent(NAME) > 10_000_000)
    assert not any(online.models.glob(f"{second}/*.part"))
    assert online.call("DELETE", f"/v1/models/{first}")[0] == 200
    hub.file(REPO, NAME).slow_bytes_per_s = None
    online.wait_state(second, "downloaded", "failed")
    assert tree(online.models) == [f"{second}/{NAME}", f"{second}/{second}.json"]
    assert (online.models / second / NAME).read_bytes() == path.read_bytes()


def test_who_waits_can_be_stopped_and_deleted(online: Daemon, hub: TestHub, tmp_path: Path) -> None:
    path = big(hub, tmp_path, bytes_per_s=1_000_000)
    drop(online, "one", "two")
    first = one_that_brings(online, hub, "one", "two")
    second = "two" if first == "one" else "one"
    online.wait_state(second, "downloading")
    assert online.call("PUT", f"/v1/models/{second}/stop")[0] == 200
    assert online.wait_state(second, "missing")["error"]["code"] == "paused"
    assert online.call("DELETE", f"/v1/models/{second}")[0] == 200
    hub.file(REPO, NAME).slow_bytes_per_s = None
    online.wait_state(first, "downloaded")
    assert tree(online.models) == [f"{first}/{NAME}", f"{first}/{first}.json"]
    assert hub.bytes_sent(NAME) == path.stat().st_size


async def test_two_that_wait_for_each_other_s_files_both_end(tmp_path: Path) -> None:
    """More files than connections, in opposite orders: each has some, and all its connections would wait."""
    contents = {f"m{number}.bin": bytes([number]) * LEAST_BYTES for number in range(8)}
    async with TestHub() as hub:
        hub.add_repo(OTHER_REPO, contents)
        files = [remote(hub, name, content) for name, content in contents.items()]
        async with asyncio.timeout(180):
            await asyncio.gather(
                *(bring_into(tmp_path, name, some, hub) for name, some in (("a", files), ("b", files[::-1])))
            )
        sent = sum(hub.bytes_sent(name) for name in contents)
    for name, content in contents.items():
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() == content
    assert sent == 8 * LEAST_BYTES, "each is fetched once"


async def bring_into(models: Path, name: str, files: Sequence[RemoteFile], hub: TestHub) -> None:
    (models / name).mkdir()
    key = f"{name}/m.json"
    record = Record(record_path(models, key), key=key)
    auth = Auth(token=None, host=hub.url)
    await transfer(files, folder=models / name, record=record, auth=auth, told=lambda progress: None)


class Fetch:
    """One fetch of the same content, into the folder `name`."""

    def __init__(self, models: Path, name: str, *, size_bytes: int = LEAST_BYTES) -> None:
        folder = models / name
        folder.mkdir(parents=True)
        key = f"{name}/m.json"
        self.file = RemoteFile("m.gguf", "http://hub/m", size_bytes, hashlib.sha256(b"m").hexdigest())
        self.part = Part(self.file, Place.at(folder))
        self.record = Record(record_path(models, key), key=key)
        self.record.begin([Entry("m.gguf", size_bytes, self.file.sha256)], {})

    def takes_turn(self) -> bool:
        return take_turn(self.file, self.part, self.record, lambda: None)[0]

    def decide(self) -> None:
        self.record.owns("m.gguf", self.part.inode, [])


@pytest.fixture
def fetches(tmp_path: Path) -> Iterator[tuple[Fetch, Fetch]]:
    a, b = Fetch(tmp_path, "a"), Fetch(tmp_path, "b")
    yield a, b
    for fetch in (a, b):
        fetch.part.close()
        fetch.record.close()


def test_who_has_decided_goes_first_whatever_its_name(fetches: tuple[Fetch, Fetch], tmp_path: Path) -> None:
    a, b = fetches
    assert b.takes_turn()
    b.decide()
    assert take_turn(a.file, a.part, a.record, lambda: None) == (False, tmp_path / "b" / "m.gguf")
    assert not a.part.path.exists()


def test_of_two_that_have_not_decided_the_smaller_key_goes_first(fetches: tuple[Fetch, Fetch]) -> None:
    a, b = fetches
    assert a.takes_turn()
    assert not b.takes_turn()
    a.part.remove()
    assert b.takes_turn()
    assert a.takes_turn(), "b will see that, or has decided"


def test_of_two_that_decide_in_one_moment_the_smaller_key_goes_on(fetches: tuple[Fetch, Fetch]) -> None:
    a, b = fetches

    def decide() -> None:
        assert a.takes_turn(), "b has not decided"
        a.decide()
        b.decide()

    assert take_turn(b.file, b.part, b.record, decide) == (False, a.part.target)
    assert not b.part.path.exists()
    assert not b.takes_turn()


def test_the_smaller_key_goes_on_although_the_larger_has_decided_meanwhile(
    fetches: tuple[Fetch, Fetch],
) -> None:
    a, b = fetches

    def decide() -> None:
        assert b.part.open(), "it did not see a before it had its own lock"
        b.decide()
        a.decide()

    assert take_turn(a.file, a.part, a.record, decide)[0]


def test_a_look_of_a_moment_does_not_keep_a_new_part_from_its_maker(
    fetches: tuple[Fetch, Fetch], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, _ = fetches
    lock, tries = fcntl.flock, 0

    def looked_at(fd: int, how: int) -> None:
        nonlocal tries
        if how & fcntl.LOCK_EX and (tries := tries + 1) < 3:
            raise BlockingIOError
        lock(fd, how)

    monkeypatch.setattr(fcntl, "flock", looked_at)
    assert a.takes_turn()
    assert tries == 3


def test_one_that_rests_or_died_is_waited_for_by_nobody(fetches: tuple[Fetch, Fetch]) -> None:
    a, b = fetches
    assert a.takes_turn()
    a.decide()
    a.part.write([b"m"], 0)
    a.part.close()
    assert b.takes_turn()


def test_what_somebody_began_stays_when_another_is_ahead(fetches: tuple[Fetch, Fetch]) -> None:
    a, b = fetches
    assert a.takes_turn()
    b.part.path.write_bytes(b"some of it")
    assert not b.takes_turn()
    assert b.part.path.read_bytes() == b"some of it"


def test_nobody_waits_for_small_files_or_other_content(tmp_path: Path) -> None:
    small = [Fetch(tmp_path, name, size_bytes=LEAST_BYTES - 1) for name in "ab"]
    large = Fetch(tmp_path, "c")
    assert all(fetch.takes_turn() for fetch in (*small, large))
    for fetch in (*small, large):
        fetch.part.close()
        fetch.record.close()
