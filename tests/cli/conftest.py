"""The real command as a subprocess, in a home of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    (made / "models").mkdir(parents=True)
    return made


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    """This process's own, less what a developer's machine may have set for janagent."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("JANAGENT_", "XDG_")) and name not in ("FORCE_COLOR", "NO_COLOR")
    }
    return kept | {"HOME": str(home), "TERM": "dumb", "COLUMNS": "100"}


@pytest.fixture
def cli(environment: dict[str, str], tmp_path: Path) -> Run:
    """`cli("ls", "--json", env={...}, input="...")` runs `janagent` and waits for it."""

    def run(
        *arguments: object, env: dict[str, str] | None = None, input: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "janagent", *map(str, arguments)],
            env=environment | (env or {}),
            cwd=tmp_path,
            stdin=subprocess.DEVNULL if input is None else None,
            input=input,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run
