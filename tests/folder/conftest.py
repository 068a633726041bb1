"""Fixtures for tests of the folder package."""

import sys
from pathlib import Path

import pytest

from tests.folder.desks import Desk
from tests.gguf_files import write_model

collect_ignore = (
    [] if sys.platform.startswith("linux") else ["test_watch_limits.py", "test_catalog_mounts.py"]
)
"""inotify and mount namespaces are Linux's."""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """An empty models folder, not yet scanned."""
    return Desk(tmp_path / "root")


@pytest.fixture(scope="session")
def model_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A whole tiny model."""
    return write_model(tmp_path_factory.mktemp("gguf") / "tiny.gguf").read_bytes()
