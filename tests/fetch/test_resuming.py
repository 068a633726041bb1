"""The real fetcher, interrupted and started again with other memory: it sticks to its choice."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from janagent.children.wire import ExitCode, Planned
from janagent.fetch.plan import RemoteFile
from janagent.fetch.record import Entry
from janagent.fetch.resuming import narrowed
from tests.daemons import until
from tests.fetch.fetchers import REPO, finished, start
from tests.fetch.hub import TestHub
from tests.fetch.transfers import parts

Q2, Q4 = b"GGUF" + bytes(8_000_000), b"GGUF" + bytes(16_000_000)
BIG, SMALL = 10**12, 10**6
WISH = {"import_format": "thebloke", "files": (), "artifact_key": "wish"}


@pytest.fixture
def hub() -> Iterator[TestHub]:
    with TestHub() as running:
        running.add_repo(REPO, {"m.Q2_K.gguf": Q2, "m.Q4_K_M.gguf": Q4, "README.md": b"# m"})
        yield running


def interrupted(hub: TestHub, folder: Path) -> None:
    hub.file(REPO, "m.Q4_K_M.gguf").slow_bytes_per_s = 500_000
    process, reading = start(hub, folder, ram_bytes=BIG, **WISH)
    until(lambda: parts(folder, "m.Q4_K_M.gguf") and hub.bytes_sent("m.Q4_K_M.gguf") > 2_000_000)
    process.kill()
    finished(process, reading)
    hub.file(REPO, "m.Q4_K_M.gguf").slow_bytes_per_s = None


def note_of(lines: list[object]) -> str:
    return next(line.note for line in lines if isinstance(line, Planned))


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_with_less_memory_it_goes_on_with_what_it_began(hub: TestHub, tmp_path: Path):
    interrupted(hub, tmp_path)
    code, lines = finished(*start(hub, tmp_path, ram_bytes=SMALL, **WISH))
    assert code == ExitCode.OK
    assert names(tmp_path) == ["m.Q4_K_M.gguf", "m.json"]
    assert note_of(lines) == "going on with what was chosen before: m.Q4_K_M.gguf"
    assert hub.bytes_sent("m.Q4_K_M.gguf") < len(Q4) + (16 << 20)
    assert hub.bytes_sent("m.Q2_K.gguf") == 0


def test_with_another_manifest_it_chooses_anew_and_drops_what_came(hub: TestHub, tmp_path: Path):
    interrupted(hub, tmp_path)
    code, _ = finished(*start(hub, tmp_path, ram_bytes=SMALL, **{**WISH, "artifact_key": "another"}))
    assert code == ExitCode.OK
    assert names(tmp_path) == ["m.Q2_K.gguf", "m.json"]


def test_a_choice_that_the_repo_no_longer_holds_is_made_anew(hub: TestHub, tmp_path: Path):
    interrupted(hub, tmp_path)
    hub.add_repo(REPO, {"m.Q2_K.gguf": Q2, "m.Q5_K_M.gguf": Q4})
    code, _ = finished(*start(hub, tmp_path, ram_bytes=SMALL, **WISH))
    assert code == ExitCode.OK
    assert names(tmp_path) == ["m.Q2_K.gguf", "m.json"]


def test_a_choice_within_the_folders_of_a_repo_is_kept(hub: TestHub, tmp_path: Path):
    """The repo has it under another name than the manifest's folder."""
    hub.add_repo(REPO, {"Q2_K/m-Q2_K.gguf": Q2, "Q4_K_M/m-Q4_K_M.gguf": Q4})
    hub.file(REPO, "Q4_K_M/m-Q4_K_M.gguf").slow_bytes_per_s = 500_000
    process, reading = start(hub, tmp_path, ram_bytes=BIG, **WISH)
    until(lambda: hub.bytes_sent("m-Q4_K_M.gguf") > 2_000_000)
    process.kill()
    finished(process, reading)
    hub.file(REPO, "Q4_K_M/m-Q4_K_M.gguf").slow_bytes_per_s = None
    code, lines = finished(*start(hub, tmp_path, ram_bytes=SMALL, **WISH))
    assert code == ExitCode.OK
    assert names(tmp_path) == ["m-Q4_K_M.gguf", "m.json"]
    assert note_of(lines).startswith("going on with")


def test_what_was_chosen_hides_the_alternatives_and_nothing_else():
    files = [RemoteFile(name, f"http://x/{name}") for name in ("a.Q2_K.gguf", "a.Q4_0.GGUF", "model.yml")]
    assert [f.name for f in narrowed(files, [Entry("a.Q2_K.gguf")])] == ["a.Q2_K.gguf", "model.yml"]
    assert narrowed(files, [Entry("gone.gguf")]) == tuple(files)
