"""What hubs, mirrors and proxies do to a transfer: it ends in the right file or in an error of its own."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from janagent.fetch.faults import FetchError
from janagent.fetch.plan import RemoteFile
from tests.fetch.hosted import HostedFile
from tests.fetch.hub import TestHub
from tests.fetch.transfers import IMPATIENT, LARGE, REPO, SMALL, bring, interrupted, listing, remote

NAME = "model.gguf"


@pytest.fixture
async def hub() -> AsyncIterator[TestHub]:
    async with TestHub() as running:
        running.add_repo(REPO, {NAME: LARGE, "sub/note.txt": SMALL})
        yield running


@pytest.fixture
def hosted(hub: TestHub) -> HostedFile:
    return hub.file(REPO, NAME)


def direct(hub: TestHub) -> RemoteFile:
    """A plain address: neither size nor hash is known before the server speaks."""
    return RemoteFile(NAME, hub.direct_url(REPO, NAME))


async def error_of(hub: TestHub, folder: Path, *files: RemoteFile, **about: str) -> FetchError:
    with pytest.raises(FetchError) as caught:
        await bring(hub, folder, *files, **about)
    assert not (folder / NAME).exists()
    return caught.value


async def assert_it_comes(hub: TestHub, folder: Path, *files: RemoteFile, **about: Any) -> None:
    await bring(hub, folder, *files, **about)
    assert (folder / NAME).read_bytes() == LARGE
    assert listing(folder) == [NAME]


@pytest.mark.parametrize("after_bytes", [1, 65_537, 700_000])
async def test_connections_that_are_cut_all_the_time_cost_no_byte_twice(
    hub: TestHub, hosted: HostedFile, tmp_path: Path, after_bytes: int
):
    hosted.cut_after_bytes = after_bytes
    hosted.cut_times = 20 if after_bytes == 1 else None
    await assert_it_comes(hub, tmp_path)
    assert hub.bytes_sent(NAME) == len(LARGE)


async def test_a_connection_that_stalls_half_way_is_replaced(
    hub: TestHub, hosted: HostedFile, tmp_path: Path
):
    hosted.stall_after_bytes, hosted.stall_times = 300_000, 2
    await assert_it_comes(hub, tmp_path, limits=IMPATIENT)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_server_that_is_in_trouble_for_a_moment_is_asked_again(
    hub: TestHub, hosted: HostedFile, tmp_path: Path, status: int
):
    hosted.fail_status, hosted.fail_times = status, 3
    await assert_it_comes(hub, tmp_path)


@pytest.mark.parametrize("on_hub", [False, True])
async def test_a_wait_that_is_longer_than_we_stay_is_handed_on(
    hub: TestHub, hosted: HostedFile, tmp_path: Path, on_hub: bool
):
    hosted.fail_status, hosted.fail_on_hub, hosted.retry_after_s = 503, on_hub, 120
    error = await error_of(hub, tmp_path)
    assert (error.code, error.is_permanent, error.retry_after_s) == ("server_error", False, 120)


async def test_a_wait_may_be_told_as_a_date(hub: TestHub, hosted: HostedFile, tmp_path: Path):
    hosted.fail_status, hosted.is_retry_a_date, hosted.retry_after_s = 429, True, 120
    error = await error_of(hub, tmp_path)
    assert error.code == "rate_limited"
    assert error.retry_after_s is not None
    assert 110 < error.retry_after_s <= 121


async def test_a_server_without_range_that_is_cut_begins_again(
    hub: TestHub, hosted: HostedFile, tmp_path: Path
):
    hosted.ignore_range, hosted.cut_after_bytes, hosted.cut_times = True, 3_000_000, 2
    await assert_it_comes(hub, tmp_path)


async def test_a_server_without_range_that_always_breaks_off_is_given_up(
    hub: TestHub, hosted: HostedFile, tmp_path: Path
):
    hosted.ignore_range, hosted.cut_after_bytes = True, 3_000_000
    error = await error_of(hub, tmp_path)
    assert (error.code, error.is_permanent) == ("wrong_length", False)
    assert "cannot resume" in error.message


@pytest.mark.parametrize("has_hash", [False, True])
async def test_what_was_interrupted_begins_again_where_ranges_are_no_longer_served(
    hub: TestHub, hosted: HostedFile, tmp_path: Path, has_hash: bool
):
    files = (remote(hub) if has_hash else direct(hub),)
    await interrupted(hub, tmp_path, *files)
    hosted.ignore_range = True
    await assert_it_comes(hub, tmp_path, *files)


async def test_a_length_that_is_announced_too_long_harms_nobody_who_knows_better(
    hub: TestHub, hosted: HostedFile, tmp_path: Path
):
    hosted.lie_length = 1000
    await assert_it_comes(hub, tmp_path)


async def test_a_whole_file_that_is_announced_with_another_length_is_refused(
    hub: TestHub, hosted: HostedFile, tmp_path: Path
):
    hosted.ignore_range, hosted.lie_length = True, 1000
    assert (await error_of(hub, tmp_path)).code == "wrong_length"


async def test_a_whole_file_that_ends_before_its_announced_length_gets_no_name(
    hub: TestHub, hosted: HostedFile, tmp_path: Path
):
    hosted.ignore_range, hosted.lie_length = True, 1000
    error = await error_of(hub, tmp_path, direct(hub))
    assert (error.code, error.is_permanent) == ("wrong_length", False)


async def test_a_length_that_no_disk_has_is_not_believed(hub: TestHub, hosted: HostedFile, tmp_path: Path):
    hosted.ignore_range, hosted.lie_length = True, 1 << 60
    error = await error_of(hub, tmp_path, direct(hub))
    assert (error.code, error.is_permanent) == ("wrong_length", False)


async def test_answers_that_are_always_too_short_end_in_an_error(
    hub: TestHub, hosted: HostedFile, tmp_path: Path
):
    hosted.lie_length = -1
    error = await error_of(hub, tmp_path)
    assert (error.code, error.is_permanent) == ("network", False)


@pytest.mark.parametrize("is_longer", [False, True])
async def test_a_file_that_changes_half_way_is_never_a_mixture(
    hub: TestHub, hosted: HostedFile, tmp_path: Path, is_longer: bool
):
    later = bytes(reversed(LARGE)) + bytes(3_000_000 if is_longer else 0)
    hosted.change_after_bytes, hosted.new_content = 4_000_000, later
    await bring(hub, tmp_path, direct(hub))
    assert (tmp_path / NAME).read_bytes() == later


async def test_a_file_that_changed_while_nobody_fetched_begins_again(
    hub: TestHub, hosted: HostedFile, tmp_path: Path
):
    await interrupted(hub, tmp_path, direct(hub))
    hosted.set_content(bytes(reversed(LARGE)))
    await bring(hub, tmp_path, direct(hub))
    assert (tmp_path / NAME).read_bytes() == bytes(reversed(LARGE))


async def test_other_content_than_the_repo_lists_gets_no_name(
    hub: TestHub, hosted: HostedFile, tmp_path: Path
):
    wanted = remote(hub)
    hosted.change_after_bytes, hosted.new_content = 4_000_000, bytes(reversed(LARGE))
    assert (await error_of(hub, tmp_path, wanted)).code == "wrong_hash"
    assert not list(tmp_path.glob("model*"))


async def test_a_gated_file_comes_with_the_right_token_and_else_names_the_page(hub: TestHub, tmp_path: Path):
    hub.add_repo(REPO, {NAME: LARGE}, gated=True, private_token="hf_right")
    for token in (None, "hf_wrong"):
        error = await error_of(hub, tmp_path, **({"token": token} if token else {}))
        assert (error.code, error.is_permanent) == ("gated", True)
        assert f"{hub.url}/{REPO}" in error.message
        assert "HF_TOKEN" in error.message
    await assert_it_comes(hub, tmp_path, token="hf_right")


async def test_a_second_host_that_refuses_for_a_moment_says_nothing_about_the_repo(
    hub: TestHub, hosted: HostedFile, tmp_path: Path
):
    hosted.fail_status, hosted.fail_times = 403, 3
    await assert_it_comes(hub, tmp_path)


async def test_a_second_host_that_goes_on_refusing_is_not_called_a_gated_repo(
    hub: TestHub, hosted: HostedFile, tmp_path: Path
):
    hosted.fail_status = 403
    error = await error_of(hub, tmp_path)
    assert (error.code, error.is_permanent) == ("server_error", False)
    assert "gated" not in error.message


async def test_a_private_repo_needs_its_token(hub: TestHub, tmp_path: Path):
    hub.add_repo(REPO, {NAME: LARGE}, private_token="hf_right")
    error = await error_of(hub, tmp_path)
    assert (error.code, error.is_permanent) == ("unauthorized", True)
    await assert_it_comes(hub, tmp_path, token="hf_right")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_every_kind_of_redirect_is_followed(
    hub: TestHub, hosted: HostedFile, tmp_path: Path, status: int
):
    hosted.redirect_status = status
    await assert_it_comes(hub, tmp_path)
