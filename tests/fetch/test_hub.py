"""The choice of hub and token, and a hub's trouble in words."""

import pytest

from janagent.fetch import hub
from janagent.fetch.faults import FetchError
from tests.fetch.hub import TestHub

MIRROR = "https://mirror.example"


@pytest.fixture(autouse=True)
def logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """`get_token` of the hub's library looks there first; what `open_hub` is given says nothing of it."""
    monkeypatch.setenv("HF_TOKEN", "hf_login")


def test_the_usual_hub_gets_the_token_of_the_login() -> None:
    assert hub.open_hub(None, {}) == hub.Hub(hub.HUGGING_FACE, "hf_login")


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


async def test_files_come_with_sizes_hashes_and_addresses_at_the_commit() -> None:
    async with TestHub() as served:
        commit = served.add_repo("a/b", {"m.gguf": b"G" * 5000, "README.md": b"hello"})
        files = {file.name: file for file in await hub.Hub(served.url).repo_files("a/b")}
    assert all(f"/resolve/{commit}/" in file.url and file.is_hub for file in files.values())
    assert files["m.gguf"].size_bytes == 5000
    assert all((file.sha256 is None) != (file.git_sha1 is None) for file in files.values())


@pytest.mark.parametrize(
    ("status", "code", "is_permanent"), [(429, "rate_limited", False), (503, "server_error", False)]
)
async def test_a_hub_in_trouble_says_when_to_come_again(status: int, code: str, is_permanent: bool) -> None:
    async with TestHub() as served:
        served.add_repo("a/b", {"m.gguf": b"G"})
        served.api_fail_status, served.api_retry_after_s = status, 7
        with pytest.raises(FetchError) as caught:
            await hub.Hub(served.url).repo_files("a/b")
    error = caught.value
    assert (error.code, error.is_permanent, error.retry_after_s) == (code, is_permanent, 7)


async def test_a_hub_may_say_it_as_a_date() -> None:
    async with TestHub() as served:
        served.add_repo("a/b", {"m.gguf": b"G"})
        served.api_fail_status, served.api_retry_after_s, served.is_api_retry_a_date = 429, 90, True
        with pytest.raises(FetchError) as caught:
            await hub.Hub(served.url).repo_files("a/b")
    assert caught.value.retry_after_s is not None
    assert 80 < caught.value.retry_after_s <= 91


async def test_an_unknown_repo_and_an_unknown_revision_are_told_apart() -> None:
    async with TestHub() as served:
        served.add_repo("a/b", {"m.gguf": b"G"})
        with pytest.raises(FetchError, match="no repo a/c"):
            await hub.Hub(served.url).repo_files("a/c")
        with pytest.raises(FetchError, match="no revision 'v9'"):
            await hub.Hub(served.url).repo_files("a/b", revision="v9")


@pytest.mark.parametrize("page", ["<!DOCTYPE html><title>Sign in</title>", '{"login": "here"}', "[1]"])
async def test_what_answers_but_is_no_hub_is_said_to_be_that(page: str) -> None:
    async with TestHub() as served:
        served.add_repo("a/b", {"m.gguf": b"GGUF"})
        served.api_page = page
        with pytest.raises(FetchError, match=r"not like a hub.*hub_endpoint") as caught:
            await hub.Hub(served.url).repo_files("a/b")
    assert (caught.value.code, caught.value.is_permanent) == ("server_error", False)
