"""Fixtures for tests of the folder package."""

from pathlib import Path

import pytest

from tests.folder.desks import Desk
from tests.gguf_files import write_model


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """An empty models folder, not yet scanned."""
    return Desk(tmp_path / "root")


@pytest.fixture(scope="session")
def model_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A whole tiny model."""
    return write_model(tmp_path_factory.mktemp("gguf") / "tiny.gguf").read_bytes()
