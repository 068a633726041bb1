"""The real fetcher, asked for what its server does not have."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from janagent.children.wire import ExitCode, FetchFailed
from tests.fetch.fetchers import REPO, finished, start
from tests.fetch.hub import TestHub


@pytest.fixture
def hub() -> Iterator[TestHub]:
    with TestHub() as running:
        running.add_repo(REPO, {"m.Q4_0.gguf": b"GGUF4", "m.Q5_0.gguf": b"GGUF5", "README.md": b"# m"})
        yield running


def failure(hub: TestHub, folder: Path, **spec: object) -> FetchFailed:
    code, lines = finished(*start(hub, folder, **{"files": (), **spec}))
    assert code == ExitCode.FETCH_FAILED
    assert isinstance(lines[-1], FetchFailed)
    return lines[-1]


def test_a_file_that_is_listed_and_not_to_be_had_is_named_with_the_nearest_others(
    hub: TestHub, tmp_path: Path
):
    hub.file(REPO, "m.Q4_0.gguf").fail_status = 404
    failed = failure(hub, tmp_path, download_url="m.Q4_0.gguf")
    assert (failed.code, failed.is_permanent) == ("file_not_found", True)
    assert "no file m.Q4_0.gguf (404); the nearest names are m.Q5_0.gguf" in failed.message


def test_a_file_that_is_not_even_listed_is_too(hub: TestHub, tmp_path: Path):
    failed = failure(hub, tmp_path, download_url="m.Q4_1.gguf")
    assert failed.code == "file_not_found"
    assert "m.Q4_0.gguf" in failed.message


def test_an_address_that_leads_nowhere_is_to_be_checked(hub: TestHub, tmp_path: Path):
    url = hub.direct_url(REPO, "m.Q4_0.gguf").replace("Q4", "Q9")
    failed = failure(hub, tmp_path, origin=url)
    assert (failed.code, failed.is_permanent) == ("file_not_found", True)
    assert "(404); check the address" in failed.message
