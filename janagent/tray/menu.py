"""From what the daemon said to what the menu shows: pure, and the home of the tray's words for people.

`build` makes a tree of `Item`s, each with the action that a click stands for. Neighbours: `state` (the view),
`shell` (draws the tree), `app` (does what the actions say).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from janagent import words
from janagent.tray.state import Link, Model, View

SHOWN_MODELS = 15
"""Entries of the menu itself; the rest folds into one submenu."""
FOLDED_MODELS = 200
"""Entries of that submenu: a desktop takes seconds to draw thousands."""
LONGEST_ID = 44
LONGEST_REASON = 64


@dataclass(frozen=True, slots=True)
class StartModel:
    """Load a model, resume its download, or let a remote one work again."""

    id: str


@dataclass(frozen=True, slots=True)
class StopModel:
    """Unload a model, pause its download."""

    id: str


@dataclass(frozen=True, slots=True)
class Chat:
    """Talk to a model: on the page, else in a terminal."""

    id: str


@dataclass(frozen=True, slots=True)
class CopyId:
    """Put a model's id on the clipboard."""

    id: str


@dataclass(frozen=True, slots=True)
class OpenFolder:
    """Open a folder, given relative to the root."""

    folder: str


@dataclass(frozen=True, slots=True)
class ShowError:
    """Show in full what is wrong with a model."""

    id: str


@dataclass(frozen=True, slots=True)
class AddModel:
    """Open the models folder, and the page that says how a model is added."""


@dataclass(frozen=True, slots=True)
class PauseDownloads:
    """Pause all downloads, or let them go on."""

    is_paused: bool


@dataclass(frozen=True, slots=True)
class OpenLogs:
    """Open the daemon's log."""


@dataclass(frozen=True, slots=True)
class OpenPage:
    """Open the daemon's own page."""


@dataclass(frozen=True, slots=True)
class StartAtLogin:
    """Begin with the desktop session, or not."""

    is_wanted: bool


@dataclass(frozen=True, slots=True)
class StartDaemon:
    """Start a daemon where none runs."""


@dataclass(frozen=True, slots=True)
class Quit:
    """End the tray, and the daemon too where asked for."""

    stops_daemon: bool


Action = (
    StartModel
    | StopModel
    | Chat
    | CopyId
    | OpenFolder
    | ShowError
    | AddModel
    | PauseDownloads
    | OpenLogs
    | OpenPage
    | StartAtLogin
    | StartDaemon
    | Quit
)


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the menu. Without action and items it cannot be chosen; without label it separates."""

    label: str = ""
    action: Action | None = None
    is_enabled: bool = True
    is_checked: bool | None = None
    """None: it is not a thing to check."""
    items: tuple["Item", ...] = ()

    @property
    def shape(self) -> object:
        """What stays the same when only label and `is_enabled` change."""
        return (not self.label, self.action, self.is_checked, tuple(item.shape for item in self.items))


SEPARATOR = Item()
MODELS_FOLDER = "models"


def build(view: View) -> tuple[Item, ...]:
    """The whole menu."""
    models = _models(view.models) if view.is_connected else [SEPARATOR, *_without_daemon(view)]
    return (*_head(view), *models, SEPARATOR, *_tail(view))


def title(view: View) -> str:
    """One line that says how it stands: the header, and what hovering over the icon shows."""
    match view.link:
        case Link.CONNECTED:
            return f"janagent: {_counts(view)}"
        case Link.STARTING:
            return "janagent is starting…"
        case Link.ENDING:
            return "janagent is stopping…"
        case Link.REFUSED | Link.ABSENT:
            return "janagent is not running" if view.link is Link.ABSENT else "janagent cannot be reached"


def _counts(view: View) -> str:
    running = sum(model.state == "running" for model in view.models)
    loading = sum(model.state == "starting" for model in view.models)
    downloading = sum(model.state == "downloading" for model in view.models)
    faulty = sum(model.is_faulty for model in view.models)
    told = [
        f"{number} {what}"
        for number, what in [
            (running, "running"),
            (loading, "loading"),
            (downloading, "downloading"),
            (faulty, "with a problem"),
        ]
        if number
    ]
    return ", ".join(told) or ("no models yet" if not view.models else "nothing is running")


def _head(view: View) -> Iterable[Item]:
    yield Item(title(view), is_enabled=False)
    if view.is_connected and view.budget_bytes:
        used, budget = words.size(view.used_bytes), words.size(view.budget_bytes)
        yield Item(f"Memory: {used} of {budget}", is_enabled=False)
    for line in (view.reason, view.trouble):
        if line:
            yield Item(_short(line, LONGEST_REASON), is_enabled=False)


def _without_daemon(view: View) -> Iterable[Item]:
    if view.link is Link.ABSENT:
        yield Item("Start janagent", StartDaemon())


def _tail(view: View) -> Iterable[Item]:
    yield Item("Open models folder", OpenFolder(MODELS_FOLDER))
    yield Item("Add a model…", AddModel())
    if view.is_connected:
        paused = view.downloads_paused
        yield Item("Pause downloads", PauseDownloads(not paused), is_checked=paused)
    if view.is_connected and view.has_page:
        yield Item("Open page", OpenPage())
    yield Item("Open logs", OpenLogs())
    yield SEPARATOR
    if view.start_at_login is not None:
        yield Item("Start at login", StartAtLogin(not view.start_at_login), is_checked=view.start_at_login)
    if view.version:
        yield Item(f"Version {view.version}", is_enabled=False)
    yield Item("Quit tray", Quit(stops_daemon=False))
    yield Item("Quit tray and stop janagent", Quit(stops_daemon=True))


# -- models


def _models(models: Sequence[Model]) -> list[Item]:
    ordered = sorted(models, key=lambda model: (_GROUPS.index(_group(model)), model.id))
    rest = ordered[SHOWN_MODELS:]
    if len(rest) == 1:  # one entry takes no more room than the submenu
        return _grouped(ordered)
    items = _grouped(ordered[:SHOWN_MODELS])
    if rest:
        folded = _grouped(rest[:FOLDED_MODELS])[1:]
        if left := rest[FOLDED_MODELS:]:
            folded += [SEPARATOR, Item(f"{len(left)} others: janagent ls shows them", is_enabled=False)]
        items += [SEPARATOR, Item(f"More ({len(rest)})", items=tuple(folded))]
    return items


_GROUPS = ("Running", "Downloading", "With a problem", "Downloaded")


def _group(model: Model) -> str:
    if model.state in ("running", "starting", "stopping"):
        return "Running"
    if model.state == "downloading" or model.is_waiting:
        return "Downloading"
    return "With a problem" if model.is_faulty else "Downloaded"


def _grouped(models: Sequence[Model]) -> list[Item]:
    """Each group below its name, with a line before it."""
    items: list[Item] = []
    for group in _GROUPS:
        members = [model for model in models if _group(model) == group]
        if members:
            items += [SEPARATOR, Item(group, is_enabled=False), *map(_entry, members)]
    return items


def _entry(model: Model) -> Item:
    # The mark is a part of the words: GTK turns a real one around whenever the submenu opens.
    mark = "✓ " if model.state == "running" else ""
    told = _told(model)
    name = _short(model.id, LONGEST_ID, keeps_end=True)
    return Item(f"{mark}{name}: {told}" if told else name, items=tuple(_choices(model)))


def _told(model: Model) -> str:
    """What stands behind the id."""
    match model.state:
        case "running":
            return "running, but its edit cannot be used" if model.code and not model.is_remote else "running"
        case "starting":
            return "loading…" if model.fraction is None else f"loading {_percent(model.fraction)}…"
        case "stopping":
            return "stopping…"
        case "downloading":
            rate = f"{words.size(model.bytes_per_s)}/s" if model.bytes_per_s else ""
            share = "" if model.fraction is None else _percent(model.fraction)
            return ", ".join(part for part in (share, rate) if part) or "download begins"
        case "missing" if model.is_waiting:
            return "paused" if model.code == "paused" else "waits for other downloads"
        case "downloaded":
            return words.size(model.size_bytes)
        case "stopped":
            return "stopped"
        case _:
            return _short(model.message or model.state, LONGEST_REASON)


def _choices(model: Model) -> Iterable[Item]:
    """What can be done with a model: always the same lines in the same order, so that hands learn them."""
    is_download = _group(model) == "Downloading"
    start = "Resume download" if is_download else "Start"
    stop = "Pause download" if is_download else "Stop"
    can_start = model.state in ("downloaded", "failed", "stopped") or model.is_waiting
    can_stop = model.state in ("running", "starting", "downloading")
    is_usable = model.state in ("running", "starting", "downloaded")
    yield Item(start, StartModel(model.id), is_enabled=can_start)
    yield Item(stop, StopModel(model.id), is_enabled=can_stop)
    yield Item("Chat", Chat(model.id), is_enabled=is_usable and model.can_chat)
    yield SEPARATOR
    yield Item("Copy model id", CopyId(model.id))
    yield Item("Open folder", OpenFolder(model.folder))
    yield Item("Show error", ShowError(model.id), is_enabled=bool(model.message))


def _percent(fraction: float) -> str:
    # Not 100 before it is there.
    return f"{min(int(100 * fraction), 99) if fraction < 1 else 100} %"


def _short(text: str, longest: int, *, keeps_end: bool = False) -> str:
    """One printable line of at most `longest` characters. The end of an id tells it from others."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(line) <= longest:
        return line
    end = longest // 3 if keeps_end else 0
    return line[: longest - end - 1].rstrip() + "…" + line[len(line) - end :].lstrip()
