"""One real daemon for the tests of a module, and an upstream for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons import Daemon
from tests.remote.upstream import KEY, Upstream

STALL_S = 3.0


@pytest.fixture(scope="module")
def near(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that knows the upstream's key as `TEST_KEY`."""
    env = {"TEST_KEY": KEY, "SECRET": "not for others"}
    folder = tmp_path_factory.mktemp("near")
    with Daemon(folder, env=env, remote_stall_s=60, spare_worker=False) as running:
        yield running


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Daemon]:
    """One that gives up on a silent upstream soon."""
    with Daemon(tmp_path, env={"TEST_KEY": KEY}, remote_stall_s=STALL_S, spare_worker=False) as running:
        yield running


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(key=KEY) as running:
        yield running
