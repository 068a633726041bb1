"""What the daemon last said, kept for whoever draws it. Knows neither HTTP nor pystray.

Neighbours: `follower` fills it from `/v1/events`; `menu`, `icon` and `notices` read the immutable `View`.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any, Self

from janagent import words

_NEED_FILES = ("starting", "running", "stopping", "stopped")
"""States that only a remote model can have without a file."""


class Link(StrEnum):
    """How the tray stands to the daemon."""

    STARTING = "starting"
    """One is starting, and does not answer yet."""
    CONNECTED = "connected"
    ABSENT = "absent"
    REFUSED = "refused"
    """It answers, but not to us; `View.reason` says why."""
    ENDING = "ending"
    """It was told to end."""


@dataclass(frozen=True, slots=True)
class Model:
    """What the tray needs of a model object (contract 3)."""

    id: str
    state: str
    code: str = ""
    """Of its error, or of a remote model's last one; empty without."""
    message: str = ""
    folder: str = ""
    """Where its manifest or file lies, relative to the root, with slashes."""
    size_bytes: int | None = None
    fraction: float | None = None
    """Of a download or a load, 0 to 1."""
    bytes_per_s: float | None = None
    is_remote: bool = False
    can_chat: bool = True

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Self:
        """From a model object. What is absent or of another type counts as not said."""
        error = body.get("error") or body.get("last_error") or {}
        progress = body.get("progress") or {}
        abilities = body.get("capabilities")
        return cls(
            id=str(body["id"]),
            state=str(body.get("state", "")),
            code=str(error.get("code", "")),
            message=str(error.get("message", "")),
            folder=str(PurePosixPath(str(body.get("path") or ".")).parent),
            size_bytes=body.get("size_bytes"),
            fraction=words.fraction(progress),
            bytes_per_s=progress.get("bytes_per_s"),
            is_remote=not body.get("binaries") and str(body.get("state")) in _NEED_FILES,
            can_chat=abilities is None or "chat" in abilities,
        )

    @property
    def is_waiting(self) -> bool:
        """Its download is paused, or waits for others."""
        return self.state == "missing" and self.code in ("paused", "queued")

    @property
    def is_faulty(self) -> bool:
        """A person has to do something before it can run."""
        return self.state in ("invalid", "failed", "missing") and not self.is_waiting


@dataclass(frozen=True, slots=True)
class View:
    """Everything that can be seen, at one moment."""

    link: Link = Link.ABSENT
    reason: str = ""
    """Why there is no connection, in words."""
    trouble: str = ""
    """What of the last click did not work, in words."""
    models: tuple[Model, ...] = ()
    used_bytes: int = 0
    budget_bytes: int = 0
    downloads_paused: bool = False
    version: str = ""
    has_page: bool = False
    start_at_login: bool | None = None
    """None: it cannot be set here."""

    @property
    def is_connected(self) -> bool:
        """What the models say is of now."""
        return self.link is Link.CONNECTED


@dataclass(frozen=True, slots=True)
class Change:
    """One model before and after; `before` is None for a new one, `after` for one that is gone."""

    before: Model | None
    after: Model | None


class State:
    """The one place that is written; every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._models: dict[str, Model] = {}
        self._view = View()

    def apply(self, kind: str, data: Any) -> list[Change]:
        """Take one event of `/v1/events`; what it changed. A snapshot is where counting begins anew: none.

        Unknown kinds are left alone: a newer daemon may have more to say.
        """
        with self._lock:
            changes = self._take(kind, data)
        self._changed.set()
        return changes

    def _take(self, kind: str, data: Any) -> list[Change]:
        match kind:
            case "snapshot":
                self._models = {model.id: model for model in map(Model.of, data["models"])}
                self._take("machine", data["machine"])
                self._view = replace(self._view, link=Link.CONNECTED, reason="")
            case "model":
                model = Model.of(data)
                before = self._models.get(model.id)
                self._models[model.id] = model
                return [Change(before, model)] if before != model else []
            case "removed":
                gone = self._models.pop(str(data["id"]), None)
                return [Change(gone, None)] if gone else []
            case "machine":
                self._view = replace(
                    self._view,
                    used_bytes=int(data.get("memory_used_bytes") or 0),
                    budget_bytes=int(data.get("memory_budget_bytes") or 0),
                    downloads_paused=bool(data.get("downloads_paused")),
                    version=str(data.get("version", "")),
                )
        return []

    def set(self, **fields: Any) -> None:
        """Change fields of the view other than `models`. Leaving CONNECTED forgets the models."""
        with self._lock:
            self._view = replace(self._view, **fields)
            if not self._view.is_connected:
                self._models = {}
        self._changed.set()

    def view(self) -> View:
        """How it looks now, models sorted by id."""
        with self._lock:
            models = tuple(sorted(self._models.values(), key=lambda model: model.id))
            return replace(self._view, models=models)

    def wait(self, timeout_s: float) -> bool:
        """Until something changed since the last call, at most so long; whether it did."""
        is_changed = self._changed.wait(timeout_s)
        self._changed.clear()
        return is_changed
