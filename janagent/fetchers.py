"""Fetch actions become fetcher processes; each ends in exactly one `FetchEnded`. Part of the I/O half.

Owns the child processes that bring files. Knows neither hubs nor HTTP (the child does) nor when to fetch (the
machine decides). Neighbours: `executor` hands the actions over, `children.spawn` runs the process.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from janagent.children import wire
from janagent.children.logs import LogRing
from janagent.children.spawn import Child
from janagent.core import events as ev
from janagent.core.actions import DiscardFetch, StartFetch, StopFetch
from janagent.core.memory import Budget
from janagent.folder import brought
from janagent.folder.defaults import defaults_path
from janagent.folder.entry import Condition, ModelEntry
from janagent.folder.fault import Fault
from janagent.folder.listing import join, parent
from janagent.folder.origin import ImportFormat
from janagent.folder.records import discard, open_fetch, open_fetches, record_path

log = logging.getLogger(__name__)

FETCH_ARGV = (sys.executable, "-P", "-m", "janagent.fetch")
HUB_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH")
"""Secrets that other children are not given."""
STOP_GRACE_S = 0.5
"""What it has is on disk at any moment: there is nothing to wait for."""


@dataclass(slots=True)
class _Fetcher:
    """One fetcher, from the action that started it until its end was told."""

    action: StartFetch
    child: Child | None = None
    is_stopped: bool = False
    outcome: wire.Fetched | wire.FetchFailed | None = None


class Fetchers:
    """The fetcher processes there are. `run` and `stop` are bodies of tasks; the executor owns those."""

    def __init__(
        self,
        *,
        models: Path,
        hub_endpoint: str | None,
        budget: Callable[[], Budget],
        post: Callable[[ev.Event], None],
        logs_of: Callable[[str], LogRing],
        look: Callable[[str, set[str]], Awaitable[None]],
        argv: Sequence[str] = FETCH_ARGV,
    ) -> None:
        """`budget` tells what a choice among quantizations has to fit. `look` has a folder below `models`
        read again, and is told which files there have their last byte: what came is known before the end is
        told."""
        self._models = models
        self._hub_endpoint = hub_endpoint
        self._budget = budget
        self._post = post
        self._logs_of = logs_of
        self._look = look
        self._argv = tuple(argv)
        self._fetchers: dict[int, _Fetcher] = {}

    def sweep(self, entries: Mapping[str, ModelEntry]) -> None:
        """Give up fetches of models that left the folder while no daemon ran, or became complete without
        them. Blocks on the file system."""
        for key in open_fetches(self._models):
            if key not in entries or entries[key].condition is Condition.COMPLETE:
                discard(self._models, key)
        brought.sweep(self._models, entries)

    def kill_all(self) -> None:
        """At the end of the daemon: what they have is kept for resuming."""
        for fetcher in self._fetchers.values():
            if fetcher.child is not None:
                fetcher.child.kill()

    async def run(self, action: StartFetch) -> None:
        """Spawn, follow, wait: the whole life of one fetcher."""
        fetcher = self._fetchers[action.fetch] = _Fetcher(action)
        ended = ev.FetchEnded(action.fetch, Fault("internal_error", "the download could not be started"))
        try:
            ended = await self._live(fetcher)
        except Exception as error:
            log.exception("fetching %s failed", action.entry.id)
            words = f"the download could not be started: {error}"
            ended = ev.FetchEnded(action.fetch, Fault("internal_error", words))
        finally:
            del self._fetchers[action.fetch]
            if fetcher.child is not None:
                fetcher.child.kill()  # harmless once it has ended
            if isinstance(fetcher.outcome, wire.Fetched):
                folder = parent(action.entry.key)
                await self._look(folder, {join(folder, name) for name in fetcher.outcome.files})
            self._post(ended)

    async def stop(self, action: StopFetch) -> None:
        """End one; its `run` tells."""
        fetcher = self._fetchers.get(action.fetch)
        if fetcher is None:
            return
        fetcher.is_stopped = True
        if fetcher.child is not None:
            await fetcher.child.stop(grace_s=STOP_GRACE_S)

    async def discard(self, action: DiscardFetch) -> None:
        """Remove what an unfinished fetch left, and have the folders read again that it kept names in."""
        try:
            fetch = await asyncio.to_thread(open_fetch, self._models, action.key)
            await asyncio.to_thread(discard, self._models, action.key)
            if record_path(self._models, action.key).exists():
                log.info("what the unfinished fetch of %s left cannot be removed now", action.key)
            else:
                log.info("removed what the unfinished fetch of %s left", action.key)
            paths = fetch.paths() if fetch is not None else frozenset[str]()
            for folder in sorted({parent(path) for path in (action.key, *paths)}):
                await self._look(folder, set())
        except Exception:
            log.exception("what the fetch of %s left could not be removed", action.key)
        finally:
            self._post(ev.FetchDiscarded(action.key))

    async def _live(self, fetcher: _Fetcher) -> ev.FetchEnded:
        action = fetcher.action
        logs = self._logs_of(action.entry.key)
        budget = self._budget()
        spec = fetch_spec(action, models=self._models, hub_endpoint=self._hub_endpoint, budget=budget)
        log.info("fetching the files of %s", action.entry.id)
        child = await Child.spawn(
            self._argv, logs=logs, name=f"fetcher of {action.entry.id}", env=hub_environment(os.environ)
        )
        fetcher.child = child
        if fetcher.is_stopped:  # asked to stop before there was anything to stop
            child.kill()
        await child.send(wire.encode(spec))
        async for line in child.status():
            self._heard(fetcher, line, logs)
        exit_ = await child.wait()
        match fetcher.outcome:
            case wire.Fetched():
                log.info("fetched the files of %s", action.entry.id)
                return ev.FetchEnded(action.fetch)
            case wire.FetchFailed() as failed:
                log.warning("fetching %s failed: %s", action.entry.id, failed.message)
                logs.add(f"janagent: {failed.message}")
                fault = Fault(failed.code, failed.message)
                return ev.FetchEnded(action.fetch, fault, failed.is_permanent, failed.retry_after_s)
            case None:
                words = f"the download was cut off: the fetcher {exit_.message}"
                return ev.FetchEnded(action.fetch, Fault("fetch_failed", words))

    def _heard(self, fetcher: _Fetcher, line: wire.StatusLine, logs: LogRing) -> None:
        action = fetcher.action
        match line:
            case wire.Planned():
                logs.add(f"janagent: fetching {line.files} files, {line.total_bytes:,} bytes. {line.note}")
                self._post(ev.FetchPlanned(action.fetch, line.note))
            case wire.Fetching():
                self._post(ev.FetchAdvanced(action.fetch, line.model_dump(exclude={"event"})))
            case wire.Fetched() | wire.FetchFailed():
                fetcher.outcome = line
            case _:
                pass  # an engine's words; no fetcher says them


def fetch_spec(
    action: StartFetch, *, models: Path, hub_endpoint: str | None, budget: Budget
) -> wire.FetchSpec:
    """What a fetcher is told."""
    entry, manifest = action.entry, action.entry.manifest
    is_janhq = manifest.effective_import_format is ImportFormat.JANHQ
    return wire.FetchSpec.model_validate(
        {
            "key": entry.key,
            "artifact_key": entry.artifact_key,
            "model_id": entry.id,
            "folder": str((models / entry.key).parent),
            "record_path": str(record_path(models, entry.key)),
            "origin": manifest.origin,
            "import_format": manifest.effective_import_format.value,
            "download_url": manifest.download_url,
            "files": manifest.files,
            "hub_endpoint": hub_endpoint,
            "ram_bytes": max(budget.ram_bytes, 0),
            "gpu_bytes": max(budget.gpu_bytes, 0),
            "is_gpu_in_ram": budget.is_gpu_in_ram,
            "defaults_path": str(defaults_path(models, entry.artifact_key)) if is_janhq else None,
            **{name: getattr(manifest.init, name) for name in wire.MEMORY_SETTINGS},
        }
    )


def hub_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What only a fetcher may know; and that the hub's library tells the hub no more than it has to, which
    would go to huggingface.co even where another hub is configured."""
    secrets = {name: environment[name] for name in HUB_VARIABLES if name in environment}
    return {"HF_HUB_DISABLE_TELEMETRY": "1", **secrets}
