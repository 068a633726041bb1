"""Transfers in this process against the hub of the tests: what several test modules share."""

import asyncio
import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from janagent.aio import cancel_and_wait, create_task
from janagent.fetch.client import Auth
from janagent.fetch.plan import RemoteFile
from janagent.fetch.record import Record
from janagent.fetch.transfer import Limits, Progress, transfer
from janagent.folder.brought import FOLDER as MEMORIES
from janagent.folder.records import record_path
from tests.fetch.hub import TestHub

REPO = "owner/repo"
LARGE = random.Random(1).randbytes(9_000_001)
SMALL = b"a small file\n"
QUICK = Limits(stall_s=30.0, give_up_s=3.0, backoff_s=0.02, longest_backoff_s=0.1)
"""Not with silence: a moment in which the machine does something else is none."""
IMPATIENT = replace(QUICK, stall_s=1.0)


def remote(hub: TestHub, name: str = "model.gguf", content: bytes = LARGE) -> RemoteFile:
    url, sha = f"{hub.url}/{REPO}/resolve/main/{name}", hashlib.sha256(content).hexdigest()
    return RemoteFile(name, url, len(content), sha, None, True)


async def bring(
    hub: TestHub,
    folder: Path,
    *files: RemoteFile,
    key: str = "m.json",
    token: str | None = None,
    limits: Limits = QUICK,
) -> list[Progress]:
    told: list[Progress] = []
    record = Record(record_path(folder, key), key=key)
    auth = Auth(token=token, host=hub.url)
    async with asyncio.timeout(90):
        await transfer(
            files or (remote(hub),), folder=folder, record=record, auth=auth, told=told.append, limits=limits
        )
    return told


def parts(folder: Path, name: str = "model.gguf") -> list[Path]:
    """What there is of an unfinished file."""
    return list(folder.glob(f"{name}.*.part"))


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what only files on disk can tell."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def interrupted(
    hub: TestHub, folder: Path, *files: RemoteFile, key: str = "m.json", begin_bytes: int = 0
) -> None:
    """A fetch that is cut off once some of it is there, as by a pause; `begin_bytes`: of its beginning."""
    files = files or (remote(hub),)
    for file in files:
        hub.file(REPO, file.name).slow_bytes_per_s = 1_200_000
    fetching = create_task(bring(hub, folder, *files, key=key), name="to be interrupted")
    record = Record(record_path(folder, key), key=key)

    def is_some_there() -> bool:
        done = [interval for entry in record.read().values() for interval in entry.done()]
        return any(begin_bytes <= (0 if start else end) for start, end in done)

    await eventually(is_some_there)
    await cancel_and_wait(fetching)
    for file in files:
        hub.file(REPO, file.name).slow_bytes_per_s = None


def listing(folder: Path) -> list[str]:
    """All there is, but for the memory of what was brought."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    kept = {name for name in found if name == MEMORIES or name.startswith(f"{MEMORIES}/")}
    if kept and not any(name.startswith(".janagent/") for name in found - kept):
        kept.add(".janagent")
    return sorted(found - kept)
