"""Each way to cancel a download ends its connections within a second, as the hub sees it.

It counts by what it sends, so many bytes a second: where the machine stands still for a moment, so does that.
"""

import itertools
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
BYTES_PER_S = 200_000
"""Of each answer."""


@pytest.fixture
def slow(hub: TestHub, tmp_path: Path) -> TestHub:
    """Each answer takes ten seconds and more, so that one which ends within one was cut."""
    big(hub, tmp_path, bytes_per_s=BYTES_PER_S)
    return hub


def transfers(hub: TestHub) -> list[Request]:
    return [one for one in hub.requests if one.host == "cdn" and one.bytes_sent]


def under_way(daemon: Daemon, hub: TestHub, name: str) -> None:
    daemon.wait_state(name, "downloading")
    until(lambda: len(transfers(hub)) >= 2, what="several connections carry it")


def sent(hub: TestHub) -> list[int]:
    """By every answer so far."""
    return [one.bytes_sent for one in hub.requests]


def all_end(hub: TestHub, before: list[int], *, within_s: float) -> float:
    """Wait until all are closed: when the last one was (time.monotonic). None of them carried more, since
    `before`, than `within_s` allow."""
    until(lambda: all(one.ended_at for one in transfers(hub)), within_s=60, what="all are closed")
    since = [now - then for now, then in itertools.zip_longest(sent(hub), before, fillvalue=0)]
    assert max(since) < within_s * BYTES_PER_S
    return max(one.ended_at or 0.0 for one in transfers(hub))


def test_delete_by_a_call(online: Daemon, slow: TestHub) -> None:
    online.drop("big", {"origin": REPO})
    under_way(online, slow, "big")
    before = sent(slow)
    assert online.call("DELETE", "/v1/models/big")[0] == 200
    all_end(slow, before, within_s=LIMIT_S)


def test_stop(online: Daemon, slow: TestHub) -> None:
    online.drop("big", {"origin": REPO})
    under_way(online, slow, "big")
    before = sent(slow)
    assert online.call("PUT", "/v1/models/big/stop")[0] == 200
    all_end(slow, before, within_s=LIMIT_S)


def test_a_manifest_that_is_deleted_by_hand_once_it_has_settled(online: Daemon, slow: TestHub) -> None:
    """For a second it may come back (editors save by rename), so long its download goes on; the time counts
    from there."""
    folder = online.drop("big", {"origin": REPO})
    under_way(online, slow, "big")
    before, deleted = sent(slow), time.monotonic()
    (folder / "big.json").unlink()
    assert all_end(slow, before, within_s=SETTLE_S + LIMIT_S) - deleted >= SETTLE_S


def test_an_edit_of_what_is_to_be_fetched(online: Daemon, slow: TestHub) -> None:
    slow.add_repo("owner/other-GGUF", {"README.md": b"nothing"})
    folder = online.drop("big", {"origin": REPO})
    under_way(online, slow, "big")
    before = sent(slow)
    (folder / "big.json").write_text(json.dumps({"origin": "owner/other-GGUF"}))
    all_end(slow, before, within_s=LIMIT_S)


def test_ctrl_c_in_pull(online: Daemon, slow: TestHub) -> None:
    """From the key on, once the command shows how far it is."""
    with Terminal("pull", REPO, env=online.environment) as pulling:
        pulling.expect("% of 40.3 MB")
        under_way(online, slow, "tiny-GGUF")
        before = sent(slow)
        pulling.type(CTRL_C)
        all_end(slow, before, within_s=LIMIT_S)
        assert pulling.wait() == 130
