"""Fixtures of the tests that take a manifest through the whole loop."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons import Daemon
from tests.fetch.hub import TestHub


@pytest.fixture
def hub() -> Iterator[TestHub]:
    """A hub on loopback, in a thread of its own."""
    with TestHub() as running:
        yield running


@pytest.fixture
def online(tmp_path: Path, hub: TestHub) -> Iterator[Daemon]:
    """A daemon that fetches from `hub`."""
    settings = {"offline": "false", "hub_endpoint": hub.url, "spare_worker": "false"}
    with Daemon(tmp_path, **settings) as running:
        yield running


@pytest.fixture
def no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that the developer's own environment says of hubs and tokens reaches a daemon."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HOME", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
