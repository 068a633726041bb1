"""The real fetcher as a process, as the daemon starts it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from janagent.children.wire import STATUS_FD_VARIABLE, FetchSpec, encode, parse_status
from janagent.folder.records import record_path
from tests.fetch.hub import TestHub

REPO = "owner/some-GGUF"


def start(
    hub: TestHub,
    folder: Path,
    *,
    env: dict[str, str] | None = None,
    before: Callable[[], None] | None = None,
    **fields: object,
) -> tuple[subprocess.Popen[bytes], int]:
    """A fetcher for `m.json` in `folder`, and the end of its status pipe to read from. `before` is called in
    the new process."""
    wanted = {"origin": REPO, "files": ("model.gguf",), "hub_endpoint": hub.url, **fields}
    (folder / "m.json").write_text("{}")
    path = str(record_path(folder, "m.json"))
    spec = FetchSpec.model_validate(
        {"key": "m.json", "model_id": "m", "folder": str(folder), "record_path": path, **wanted}
    )
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "janagent.fetch"],
        stdin=subprocess.PIPE,
        pass_fds=(writing,),
        preexec_fn=before,
        env={**os.environ, **(env or {}), STATUS_FD_VARIABLE: str(writing)},
    )
    os.close(writing)
    assert process.stdin is not None
    process.stdin.write(encode(spec))
    process.stdin.flush()
    return process, reading


def finished(process: subprocess.Popen[bytes], reading: int) -> tuple[int, list[object]]:
    """Wait for its end: the exit status, and all it said."""
    with os.fdopen(reading, "rb") as pipe:
        lines = [parse_status(line) for line in pipe]
    code = process.wait(60)
    assert process.stdin is not None
    process.stdin.close()
    return code, lines
