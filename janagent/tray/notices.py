"""Which changes a person is told of, when, and in which words. Pure: `now` is an argument, in seconds.

A dropped model is ready, a download finished or failed, a file cannot be used, an engine crashed. A fault is
told once until its model is well again, however often the file is saved, and not before it has stayed for a
moment. Desktops show one notice of a program at a time, so those of one moment become one.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from janagent.tray.state import Change, Model

SETTLE_S = 2.0
"""A fault must stay so long: editors save halves, and a person mends at once what is seen at once."""
FAULT_GAP_S = 30.0
"""Between two different faults of one model."""
GAP_S = 5.0
"""Between any two notices."""
LONGEST = 240
_READY = ("downloaded", "running")


@dataclass(frozen=True, slots=True)
class Notice:
    """What the desktop shows."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class _Pending:
    model_id: str
    notice: Notice
    due: float
    fault: tuple[str, str] | None = None
    """Code and message, where it tells of one."""


class Notices:
    """Sees every change, and hands out what is due."""

    def __init__(self) -> None:
        self._awaited: set[str] = set()
        """Models that were not there or not whole when counting began, and have not been ready since."""
        self._fetched: set[str] = set()
        self._told: dict[str, set[tuple[str, str]]] = {}
        """Faults that were told of each model since it was last well."""
        self._fault_at: dict[str, float] = {}
        self._pending: list[_Pending] = []
        self._shown_at = float("-inf")

    def begin(self, models: Iterable[Model]) -> None:
        """Count from here: what is so already is no news. Called for each snapshot."""
        models = tuple(models)
        self._awaited = {model.id for model in models if model.state in ("missing", "downloading")}
        self._fetched = {model.id for model in models if model.state == "downloading"}
        self._pending = []
        for model in models:
            if model.code:
                self._told.setdefault(model.id, set()).add((model.code, model.message))

    def see(self, change: Change, *, now: float) -> None:
        """Take one change."""
        before, after = change.before, change.after
        if after is None:
            assert before is not None
            self._forget(before.id)
            return
        if before is None:
            self._awaited.add(after.id)
        if after.state == "downloading":
            self._fetched.add(after.id)
            self._drop_fault(after.id)
        elif after.state in _READY:
            self._see_ready(after, now=now)
        elif after.state == "starting" or after.is_waiting:
            self._drop_fault(after.id)
        else:
            self._see_fault(before, after, now=now)

    def due(self, *, now: float) -> Notice | None:
        """The notice to show now, if any."""
        if now - self._shown_at < GAP_S:
            return None
        ripe = [pending for pending in self._pending if pending.due <= now]
        if not ripe:
            return None
        self._pending = [pending for pending in self._pending if pending.due > now]
        self._shown_at = now
        for pending in ripe:
            if pending.fault is not None:
                self._fault_at[pending.model_id] = now
                self._told.setdefault(pending.model_id, set()).add(pending.fault)
        return _merged([pending.notice for pending in ripe])

    def _see_ready(self, model: Model, *, now: float) -> None:
        if model.code and model.state == "running":
            self._fault(model, Notice(f"The edit of {model.id} cannot be used", model.message), now=now)
        elif not model.code:
            self._drop_fault(model.id)
            self._told.pop(model.id, None)
        if model.id in self._fetched:
            self._ready(model, Notice("Download finished", f"{model.id} is ready."), now=now)
        elif model.id in self._awaited:
            self._ready(model, Notice("Model ready", f"{model.id} is ready."), now=now)

    def _ready(self, model: Model, notice: Notice, *, now: float) -> None:
        self._awaited.discard(model.id)
        self._fetched.discard(model.id)
        self._pending.append(_Pending(model.id, notice, now))

    def _see_fault(self, before: Model | None, after: Model, *, now: float) -> None:
        was = before.state if before is not None else ""
        if after.state == "invalid":
            self._fault(after, Notice(f"{after.id} cannot be used", after.message), now=now)
        elif after.state == "failed" and after.id in self._fetched:
            self._fault(after, Notice(f"The download of {after.id} failed", after.message), now=now)
        elif after.state == "failed" and was == "running":
            self._fault(after, Notice(f"{after.id} crashed", after.message), now=now)
        elif after.state == "failed":
            self._fault(after, Notice(f"{after.id} cannot be loaded", after.message), now=now)

    def _fault(self, model: Model, notice: Notice, *, now: float) -> None:
        """Tell it unless it was told, in place of an older one that was not told yet."""
        self._drop_fault(model.id)
        fault = (model.code, model.message)
        if fault in self._told.get(model.id, ()):
            return
        due = max(now + SETTLE_S, self._fault_at.get(model.id, float("-inf")) + FAULT_GAP_S)
        self._pending.append(_Pending(model.id, notice, due, fault))

    def _drop_fault(self, model_id: str) -> None:
        """What was not told yet is over."""
        self._pending = [one for one in self._pending if one.fault is None or one.model_id != model_id]

    def _forget(self, model_id: str) -> None:
        self._awaited.discard(model_id)
        self._fetched.discard(model_id)
        self._told.pop(model_id, None)
        self._pending = [one for one in self._pending if one.model_id != model_id]


def _merged(notices: list[Notice]) -> Notice:
    """One notice that says what all of them say."""
    if len(notices) == 1:
        return Notice(notices[0].title, _cut(notices[0].text))
    titles = {notice.title for notice in notices}
    if len(titles) == 1:
        return Notice(titles.pop(), _cut(" ".join(notice.text for notice in notices)))
    lines = [f"{notice.title}: {notice.text}" for notice in notices]
    return Notice(f"janagent: {len(notices)} messages", _cut("\n".join(lines)))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1].rstrip() + "…"
