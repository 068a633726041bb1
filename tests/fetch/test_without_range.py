"""Servers that cannot resume: what is cut begins again, and what is refused in between costs nothing."""

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from janagent.aio import create_task
from tests.fetch.hosted import HostedFile
from tests.fetch.hub import TestHub
from tests.fetch.transfers import LARGE, QUICK, REPO, bring, eventually, listing, remote

NAME = "model.gguf"
LONG = random.Random(2).randbytes(40_000_000)


@pytest.fixture
async def hub() -> AsyncIterator[TestHub]:
    async with TestHub() as running:
        running.add_repo(REPO, {NAME: LARGE})
        yield running


@pytest.fixture
def hosted(hub: TestHub) -> HostedFile:
    hub.file(REPO, NAME).ignore_range = True
    return hub.file(REPO, NAME)


async def test_a_file_that_begins_again_while_it_is_hashed_comes_whole(
    hub: TestHub, hosted: HostedFile, tmp_path: Path
):
    """The hash is behind what came: at each cut it is in the middle of what is taken away from it."""
    hosted.set_content(LONG)
    hosted.cut_after_bytes, hosted.cut_times = 30_000_000, 5
    await bring(hub, tmp_path, remote(hub, content=LONG))
    assert (tmp_path / NAME).read_bytes() == LONG
    assert listing(tmp_path) == [NAME]


async def test_requests_that_are_refused_are_not_taken_for_a_file_that_breaks_off(
    hub: TestHub, hosted: HostedFile, tmp_path: Path
):
    hosted.cut_after_bytes, hosted.cut_times, hosted.slow_bytes_per_s = 3_000_000, 1, 4_000_000
    fetching = create_task(bring(hub, tmp_path, limits=replace(QUICK, give_up_s=20.0)), name="a fetch")
    await eventually(lambda: hub.bytes_sent(NAME) > 0)
    hosted.fail_status, hosted.fail_times, hosted.slow_bytes_per_s = 503, 12, None
    await fetching
    assert hosted.fail_times == 0
    assert (tmp_path / NAME).read_bytes() == LARGE
