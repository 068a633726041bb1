"""Where a token comes from and where it goes: environment or file, daemon, fetcher, hub, and nobody else."""

from pathlib import Path

import pytest

from tests.daemons import Daemon
from tests.fetch.hosting import REPO
from tests.fetch.hub import TestHub
from tests.gguf_files import write_model

TOKEN = "hf_a_token_of_the_tests"


@pytest.fixture
def gated(hub: TestHub, tmp_path: Path, no_tokens: None) -> TestHub:
    hub.add_repo(REPO, {"tiny.gguf": write_model(tmp_path / "tiny.gguf")}, gated=True, private_token=TOKEN)
    return hub


def daemon(tmp_path: Path, env: dict[str, str], **settings: str) -> Daemon:
    return Daemon(tmp_path, env=env, offline="false", spare_worker="false", **settings)


def told(hub: TestHub, host: str) -> set[str | None]:
    """What those requests said in `Authorization`."""
    return {request.headers.get("authorization") for request in hub.requests if request.host == host}


def test_a_token_set_together_with_a_hub_opens_its_gated_repo_and_goes_to_that_hub_alone(
    gated: TestHub, tmp_path: Path
) -> None:
    with daemon(tmp_path, {"HF_ENDPOINT": gated.url, "HF_TOKEN": TOKEN}) as running:
        running.drop("tiny", {"origin": REPO})
        running.wait_state("tiny", "downloaded", "running")
        assert told(gated, "hub") == {f"Bearer {TOKEN}"}
        assert told(gated, "cdn") == {None}
        gated.requests.clear()
        running.drop("direct", {"origin": gated.direct_url(REPO, "tiny.gguf")})
        running.wait_state("direct", "downloaded", "running")
        assert told(gated, "cdn") == {None}
        status, logs = running.call("GET", "/v1/models/tiny/logs")
        assert status == 200
        assert TOKEN not in logs + "\n".join(running.lines)
    assert not any(TOKEN in path.read_text(errors="replace") for path in tmp_path.rglob("*.json"))


@pytest.mark.parametrize("how", ["a variable", "a file"])
def test_a_token_of_another_hub_is_not_sent_to_the_one_in_the_settings(
    gated: TestHub, tmp_path: Path, how: str
) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    env = {"HF_TOKEN": TOKEN} if how == "a variable" else {"HF_TOKEN_PATH": str(file)}
    with daemon(tmp_path, env, hub_endpoint=gated.url) as running:
        running.drop("tiny", {"origin": REPO})
        error = running.wait_state("tiny", "failed")["error"]
    assert error["code"] == "gated"
    assert "set HF_TOKEN" in error["message"]
    assert told(gated, "hub") == {None}
