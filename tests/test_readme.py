"""The README's tour, run as it is written: the same shell lines, a fresh home, a real daemon."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons import Daemon, until

README = (Path(__file__).parent.parent / "README.md").read_text()


def blocks(chapter: str) -> list[tuple[str, str]]:
    """(language, text) of what a chapter has people type."""
    text = README.partition(f"\n## {chapter}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```(sh|python)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


BLOCKS = blocks("Three minutes")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Daemon]:
    """What `make run` leaves running on a fresh machine, on a free port."""
    daemon = Daemon(tmp_path, root=tmp_path / "home" / "janroot")
    daemon.root.mkdir(parents=True)
    command = [sys.executable, "-m", "janagent", "starter", "--if-no-models"]
    subprocess.run(command, env=daemon.environment, check=True, timeout=180)
    with daemon:
        # A person types later than a second after the model was written.
        daemon.wait_state("smollm2-135m-instruct", "downloaded", "starting", "running")
        yield daemon


def run(daemon: Daemon, language: str, text: str) -> str:
    """One block in a new shell, with the daemon's port in place of 1337; what it printed."""
    text = text.replace("localhost:1337", daemon.url.removeprefix("http://"))
    if language == "python":
        command = [sys.executable, "-c", text]
    else:
        assert ". .venv/bin/activate" in BLOCKS[0][1]
        command = ["bash", "-euc", text.replace(". .venv/bin/activate\n", "")]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        env=daemon.environment | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def init_of(daemon: Daemon) -> dict[str, int]:
    model = daemon.model("tour") or {}
    init: dict[str, int] = model["parameters"]["init"]
    return init


def test_the_tour_works_as_written(served: Daemon) -> None:
    talk, drop, curl, python, edit, broken, delete = BLOCKS
    said = run(served, *talk)
    assert "smollm2-135m-instruct" in said
    assert len(said.splitlines()) >= 3
    assert "tour" in run(served, *drop)
    served.wait_state("tour", "running")
    assert '"content":' in run(served, *curl)
    assert len(run(served, *python)) > 20
    run(served, *edit)
    until(lambda: init_of(served) == {"ctx_len": 2048}, what="the edit is seen")
    served.wait_state("tour", "running")
    run(served, *broken)
    error = until(lambda: (served.model("tour") or {}).get("error"), what="the fault is told")
    assert "ctx_len" in error["message"]
    run(served, *delete)
    served.wait_state("tour", "")


def test_other_programs_are_pointed_here_as_written(served: Daemon) -> None:
    langchain, llm = blocks("Other programs")
    said = run(served, *langchain)
    assert int(said.split()[-1]) > 100, "the length of a vector comes last"
    assert len(run(served, *llm).strip()) > 5
