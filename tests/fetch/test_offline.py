"""`offline = true`: a wish stays one, and nobody outside hears of it."""

from pathlib import Path

from tests.daemons import Daemon
from tests.fetch.hosting import REPO
from tests.fetch.hub import TestHub


def test_an_offline_daemon_asks_no_hub_and_says_why_it_does_not_fetch(
    tmp_path: Path, hub: TestHub, starter: Path
) -> None:
    hub.add_repo(REPO, {"smol.gguf": starter})
    with Daemon(tmp_path, offline="true", hub_endpoint=hub.url, env={"HF_ENDPOINT": hub.url}) as daemon:
        daemon.drop("wish", {"origin": REPO})
        daemon.drop("direct", {"origin": hub.direct_url(REPO, "smol.gguf")})
        for name in ("wish", "direct"):
            error = daemon.wait_state(name, "missing")["error"]
            assert error["code"] == "missing"
            assert "offline = true forbids" in error["message"]
            status, answer = daemon.call("PUT", f"/v1/models/{name}/start")
            assert (status, answer["error"]["code"]) == (409, "model_missing")
            assert "offline = true forbids" in answer["error"]["message"]
        daemon.drop("here", gguf=starter)
        daemon.wait_state("here", "downloaded", "starting", "running")
    assert hub.requests == []
