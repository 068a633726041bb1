"""The real fetcher process against the hub of the tests."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

from janagent.children.wire import (
    STATUS_FD_VARIABLE,
    ExitCode,
    Fetched,
    FetchFailed,
    FetchSpec,
    encode,
    parse_status,
)
from tests.fetch.hub import TestHub

REPO = "owner/some-GGUF"
CONTENT = b"GGUF" + random.Random(3).randbytes(60 << 20)
LOST_BYTES = 16 << 20


def start(hub: TestHub, folder: Path, **fields: object) -> tuple[subprocess.Popen[bytes], int]:
    wanted = {"origin": REPO, "files": ("model.gguf",), "hub_endpoint": hub.url, **fields}
    (folder / "m.json").write_text("{}")
    record_path = str(folder / ".janagent" / "fetch" / "m.json")
    spec = FetchSpec.model_validate(
        {"key": "m.json", "model_id": "m", "folder": str(folder), "record_path": record_path, **wanted}
    )
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "janagent.fetch"],
        stdin=subprocess.PIPE,
        pass_fds=(writing,),
        env={**os.environ, STATUS_FD_VARIABLE: str(writing)},
    )
    os.close(writing)
    assert process.stdin is not None
    process.stdin.write(encode(spec))
    process.stdin.flush()
    return process, reading


def finished(process: subprocess.Popen[bytes], reading: int) -> tuple[int, list[object]]:
    with os.fdopen(reading, "rb") as pipe:
        lines = [parse_status(line) for line in pipe]
    code = process.wait(20)
    assert process.stdin is not None
    process.stdin.close()
    return code, lines


def test_a_killed_fetcher_goes_on_where_it_was(tmp_path: Path):
    dice, kills = random.Random(), 0
    with TestHub() as hub:
        hub.add_repo(REPO, {"model.gguf": CONTENT})
        hub.file(REPO, "model.gguf").slow_bytes_per_s = 3_000_000
        while kills < 5:
            process, reading = start(hub, tmp_path)
            time.sleep(dice.uniform(0.5, 1.4))
            process.kill()
            finished(process, reading)
            kills += 1
        hub.file(REPO, "model.gguf").slow_bytes_per_s = None
        code, lines = finished(*start(hub, tmp_path))
        sent = hub.bytes_sent("model.gguf")
    assert code == ExitCode.OK
    assert isinstance(lines[-1], Fetched)
    assert (tmp_path / "model.gguf").read_bytes() == CONTENT
    assert sorted(os.listdir(tmp_path)) == ["m.json", "model.gguf"]
    assert sent <= len(CONTENT) + kills * LOST_BYTES


def test_it_says_why_it_fails(tmp_path: Path):
    with TestHub() as hub:
        code, lines = finished(*start(hub, tmp_path))
    assert code == ExitCode.FETCH_FAILED
    assert isinstance(lines[-1], FetchFailed)
    assert lines[-1].is_permanent


def test_what_the_disk_refuses_is_an_error_of_its_own_and_not_tried_for_ever(tmp_path: Path):
    name = "n" * 247 + ".gguf"
    with TestHub() as hub:
        hub.add_repo(REPO, {name: CONTENT})
        code, lines = finished(*start(hub, tmp_path, files=(name,)))
    assert code == ExitCode.FETCH_FAILED
    assert isinstance(lines[-1], FetchFailed)
    assert (lines[-1].code, lines[-1].is_permanent) == ("name_too_long", True)


def test_a_folder_without_the_manifest_is_not_the_one_that_was_meant(tmp_path: Path):
    """A mount point whose disk is gone is an empty folder."""
    with TestHub() as hub:
        hub.add_repo(REPO, {"model.gguf": CONTENT})
        code, lines = finished(*start(hub, tmp_path, key="gone.json"))
    assert code == ExitCode.FETCH_FAILED
    assert isinstance(lines[-1], FetchFailed)
    assert (lines[-1].code, lines[-1].is_permanent) == ("disk_error", False)
    assert os.listdir(tmp_path) == ["m.json"]


def test_it_ends_with_its_parent(tmp_path: Path):
    with TestHub() as hub:
        hub.add_repo(REPO, {"model.gguf": CONTENT})
        hub.file(REPO, "model.gguf").slow_bytes_per_s = 1000
        process, reading = start(hub, tmp_path)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == ExitCode.PARENT_GONE
        os.close(reading)
