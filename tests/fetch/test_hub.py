"""The choice of hub and token, and a hub's trouble in words."""

import pytest

from janagent.fetch import hub
from janagent.fetch.faults import FetchError

MIRROR = "https://mirror.example"


@pytest.fixture(autouse=True)
def logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "get_token", lambda: "hf_file")


def test_the_usual_hub_gets_the_token_of_the_login() -> None:
    assert hub.open_hub(None, {}) == hub.Hub(hub.HUGGING_FACE, "hf_file")


def test_a_hub_from_the_settings_gets_no_token() -> None:
    assert hub.open_hub(MIRROR + "/", {"HF_TOKEN": "hf_env"}) == hub.Hub(MIRROR, None)


def test_a_hub_from_the_environment_gets_the_token_that_stands_beside_it_only() -> None:
    assert hub.open_hub(None, {"HF_ENDPOINT": MIRROR, "HF_TOKEN": "hf_env"}) == hub.Hub(MIRROR, "hf_env")
    assert hub.open_hub(None, {"HF_ENDPOINT": MIRROR}) == hub.Hub(MIRROR, None)


def test_a_token_that_was_set_with_a_mirror_does_not_go_to_the_usual_hub() -> None:
    environment = {"HF_ENDPOINT": MIRROR, "HF_TOKEN": "hf_env"}
    assert hub.open_hub(hub.HUGGING_FACE, environment).token is None


async def test_a_hub_that_is_not_there_is_a_passing_trouble() -> None:
    with pytest.raises(FetchError) as caught:
        await hub.Hub("http://127.0.0.1:9").repo_files("a/b")
    assert (caught.value.code, caught.value.is_permanent) == ("network", False)
