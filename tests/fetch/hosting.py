"""Repos of the tests' hub, and what a fetch of one leaves below a folder."""

import os
from pathlib import Path

from tests.fetch.hub import TestHub
from tests.gguf_files import write_model

REPO = "owner/tiny-GGUF"


def tree(folder: Path) -> list[str]:
    """All files below `folder`."""
    found = [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]
    return sorted(str(path.relative_to(folder)) for path in found)


def big(hub: TestHub, tmp_path: Path, *, bytes_per_s: int, size_bytes: int = 40_000_000) -> Path:
    """A repo whose one file takes seconds."""
    path = tmp_path / "big.gguf"
    write_model(path)
    with path.open("ab") as file:
        file.write(bytes(size_bytes))
    hub.add_repo(REPO, {"big.Q4_0.gguf": path})
    hub.file(REPO, "big.Q4_0.gguf").slow_bytes_per_s = bytes_per_s
    return path
