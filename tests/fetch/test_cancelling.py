"""Each way to cancel a download ends its connections within a second, as the hub sees it."""

import json
import time
from pathlib import Path

import pytest

from janagent.folder.tree import SETTLE_S
from tests.cli.terminal import CTRL_C, Terminal
from tests.daemons import Daemon, until
from tests.fetch.hosting import REPO, big
from tests.fetch.hub import Request, TestHub

LIMIT_S = 1.0


@pytest.fixture
def slow(hub: TestHub, tmp_path: Path) -> TestHub:
    """Each answer takes ten seconds and more, so that one which ends within one was cut."""
    big(hub, tmp_path, bytes_per_s=200_000)
    return hub


def transfers(hub: TestHub) -> list[Request]:
    return [one for one in hub.requests if one.host == "cdn" and one.bytes_sent]


def under_way(daemon: Daemon, hub: TestHub, name: str) -> None:
    daemon.wait_state(name, "downloading")
    until(lambda: len(transfers(hub)) >= 2, what="several connections carry it")


def last_end(hub: TestHub, *, within_s: float) -> float:
    """When the last connection was closed (time.monotonic)."""
    until(lambda: all(one.ended_at for one in transfers(hub)), within_s=within_s, what="all are closed")
    return max(one.ended_at or 0.0 for one in transfers(hub))


def test_delete_by_a_call(online: Daemon, slow: TestHub) -> None:
    online.drop("big", {"origin": REPO})
    under_way(online, slow, "big")
    asked = time.monotonic()
    assert online.call("DELETE", "/v1/models/big")[0] == 200
    assert last_end(slow, within_s=10) - asked < LIMIT_S


def test_stop(online: Daemon, slow: TestHub) -> None:
    online.drop("big", {"origin": REPO})
    under_way(online, slow, "big")
    asked = time.monotonic()
    assert online.call("PUT", "/v1/models/big/stop")[0] == 200
    assert last_end(slow, within_s=10) - asked < LIMIT_S


def test_a_manifest_that_is_deleted_by_hand_once_it_has_settled(online: Daemon, slow: TestHub) -> None:
    """For a second it may come back (editors save by rename), so long its download goes on; the time counts
    from there."""
    folder = online.drop("big", {"origin": REPO})
    under_way(online, slow, "big")
    deleted = time.monotonic()
    (folder / "big.json").unlink()
    ended = last_end(slow, within_s=10)
    assert SETTLE_S <= ended - deleted < SETTLE_S + LIMIT_S


def test_an_edit_of_what_is_to_be_fetched(online: Daemon, slow: TestHub) -> None:
    slow.add_repo("owner/other-GGUF", {"README.md": b"nothing"})
    folder = online.drop("big", {"origin": REPO})
    under_way(online, slow, "big")
    edited = time.monotonic()
    (folder / "big.json").write_text(json.dumps({"origin": "owner/other-GGUF"}))
    assert last_end(slow, within_s=10) - edited < LIMIT_S


def test_ctrl_c_in_pull(online: Daemon, slow: TestHub) -> None:
    """The time counts from the key, once the command shows how far it is."""
    with Terminal("pull", REPO, env=online.environment) as pulling:
        pulling.expect("% of 40.3 MB")
        under_way(online, slow, "tiny-GGUF")
        asked = time.monotonic()
        pulling.type(CTRL_C)
        ended = last_end(slow, within_s=10)
        assert pulling.wait() == 130
    assert ended - asked < LIMIT_S
