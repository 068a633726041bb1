"""The fetcher program: spec, plan, transfer, one last word.

Owns the order of things and the exit codes; the parent on the other end is `janagent.fetchers`.
"""

import asyncio
import logging
import signal
import sys
from dataclasses import asdict
from pathlib import Path

import pydantic

from janagent import aio
from janagent.children.lifeline import Lifeline, StatusPipe
from janagent.children.wire import ExitCode, Fetched, FetchFailed, Fetching, FetchSpec, Planned
from janagent.fetch.cache import with_twins
from janagent.fetch.client import Auth
from janagent.fetch.disk import disk_fault, disk_faults
from janagent.fetch.faults import Code, FetchError
from janagent.fetch.hub import open_hub
from janagent.fetch.nearest import with_nearest
from janagent.fetch.record import Record
from janagent.fetch.resuming import plan_for
from janagent.fetch.transfer import Progress, transfer
from janagent.folder.defaults import save

log = logging.getLogger(__name__)


def main() -> int:
    """Fetch what the first line on stdin asks for; returns the exit status."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    for library in (
        "httpx",
        "httpx2",
    ):  # whichever huggingface_hub uses: a line for each request, with its URL
        logging.getLogger(library).setLevel(logging.WARNING)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the daemon decides
    status = StatusPipe.from_environment()
    lifeline = Lifeline()
    lifeline.start()
    try:
        spec = FetchSpec.model_validate_json(lifeline.first_line())
    except pydantic.ValidationError as error:
        words = f"the spec is not valid: {error.errors(include_url=False)[:3]}"
        status.send(FetchFailed(code="internal_error", message=words, is_permanent=True))
        return ExitCode.BAD_SPEC
    try:
        files = aio.run(fetch(spec, status))
    except FetchError as error:
        return _failed(error, status)
    except OSError as error:  # where no path was at hand to name
        return _failed(disk_fault(error, Path(error.filename or spec.folder)), status)
    except Exception as error:
        log.exception("the fetch of %s failed", spec.model_id)
        words = f"internal error, please report it: {type(error).__name__}: {error}"
        return _failed(FetchError(Code.INTERNAL, words, is_permanent=True), status)
    status.send(Fetched(files=files))
    return ExitCode.OK


def _failed(error: FetchError, status: StatusPipe) -> ExitCode:
    status.send(
        FetchFailed(
            code=error.code.value,
            message=error.message,
            is_permanent=error.is_permanent,
            retry_after_s=error.retry_after_s,
        )
    )
    return ExitCode.FETCH_FAILED


async def fetch(spec: FetchSpec, status: StatusPipe) -> tuple[str, ...]:
    """Plan and bring; returns the names of what is there now. Raises FetchError."""
    hub = open_hub(spec.hub_endpoint)
    record = Record(Path(spec.record_path), key=spec.key, artifact_key=spec.artifact_key)
    plan = await plan_for(spec, hub, record)
    total_bytes = sum(file.size_bytes or 0 for file in plan.files)
    status.send(Planned(files=len(plan.files), total_bytes=total_bytes, note=plan.note))
    folder = Path(spec.folder)
    files = await asyncio.to_thread(with_twins, plan.files, folder=folder, models=record.models)

    def told(progress: Progress) -> None:
        status.send(Fetching(**asdict(progress)))

    def save_defaults() -> None:  # so late: an interrupted fetch chooses by the manifest alone
        if spec.defaults_path is not None:
            path = Path(spec.defaults_path)
            with disk_faults(path):
                save(path, plan.defaults)

    manifest = Path(spec.folder, spec.key.rpartition("/")[2])
    with disk_faults(manifest):  # an empty mount point is a folder too, but not the one that was meant
        manifest.lstat()
    try:
        await transfer(
            files,
            folder=folder,
            record=record,
            auth=Auth(hub.token, hub.endpoint),
            told=told,
            at_end=save_defaults,
        )
    except FetchError as error:
        raise await with_nearest(error, spec=spec, hub=hub) from error
    return tuple(file.name for file in plan.files)


if __name__ == "__main__":
    sys.exit(main())
