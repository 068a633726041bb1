"""Fixtures that every folder of tests may use."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons import Daemon, starter_gguf


@pytest.fixture(scope="session")
def starter() -> Path:
    """The real starter model's GGUF."""
    return starter_gguf()


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory, starter: Path) -> Iterator[Daemon]:
    """One real daemon for the whole run, with the real model `smol` in its folder, loaded on first request.

    Tests that change what it serves take a `Daemon` of their own.
    """
    with Daemon(tmp_path_factory.mktemp("daemon")) as running:
        running.drop("smol", {"parameters": {"init": {"ctx_len": 1024}}}, gguf=starter)
        running.wait_state("smol", "running")
        yield running
