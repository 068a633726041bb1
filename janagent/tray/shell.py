"""The thin shell around pystray: draws the menu model, shows notices and dialogs, hands clicks on. Nothing
else imports pystray, nothing else but `preflight` imports gi. To be imported after `preflight.why_not`.

What pystray 0.19 does wrong on Linux is put right here: it takes SIGINT away, waits for ever for its setup
thread when its loop fails, ends in GLib.Error where nobody shows notifications, and loses what a callable
of a menu raises (there are none here: every text is a plain value).
"""

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from janagent.tray import desktop
from janagent.tray.icon import Picture, Theme
from janagent.tray.menu import Action, Item

log = logging.getLogger(__name__)

NAME = "janagent"
SIZE_PX = 64
NOTIFY_LIMIT_MS = 2000
_IS_LINUX = sys.platform.startswith("linux")


class NoTray(Exception):
    """pystray cannot show a menu here; the message says why."""


def load() -> Any:
    """Import pystray. Raises NoTray: whatever its backends raise, they raise at import."""
    if _IS_LINUX:
        # Its own choice would end with the xorg backend, whose icon takes no clicks.
        os.environ.setdefault("PYSTRAY_BACKEND", "appindicator")
    try:
        import pystray
    except Exception as error:
        raise NoTray(f"the tray cannot be shown: {error}") from error
    if not pystray.Icon.HAS_MENU:
        backend = os.environ.get("PYSTRAY_BACKEND", "")
        raise NoTray(f"the {backend} backend of pystray shows an icon without a menu; unset PYSTRAY_BACKEND")
    return pystray


class _Cell:
    """Label and sensitivity of one drawn item: what may change without building the menu anew."""

    def __init__(self, item: Item) -> None:
        self.label = item.label
        self.is_enabled = item.is_enabled


class Shell:
    """One icon. `run` on the main thread; everything else may be called from any other."""

    def __init__(self, *, act: Callable[[Action], None], temporary: Path) -> None:
        """`act` is called on the drawing thread and must return at once. The files of icons lie in
        `temporary`, which the caller removes."""
        self._pystray = load()
        self._act = act
        tempfile.tempdir = str(temporary)
        self._items: tuple[Item, ...] = ()
        self._cells: list[_Cell] = []
        self._icon: Any = None

    def run(
        self, *, picture: Picture, title: str, items: tuple[Item, ...], ready: Callable[[], None]
    ) -> None:
        """Show the icon until `stop`; `ready` is called on another thread when it is there."""
        self._items = items
        self._icon = self._pystray.Icon(NAME, picture, title, self._menu(items))
        on_interrupt = signal.getsignal(signal.SIGINT)

        def set_up(icon: Any) -> None:
            icon.visible = True
            if _IS_LINUX:
                self._mend(on_interrupt)
            ready()

        self._icon.run(set_up)

    def _mend(self, on_interrupt: Any) -> None:
        from gi.repository import GLib

        def set_back() -> bool:
            signal.signal(signal.SIGINT, on_interrupt)
            return False

        GLib.idle_add(set_back)  # pystray set SIG_DFL on its way in; only the main thread may set it back
        # A notification service that hangs would hold the menu for 25 s.
        self._icon._notifier._notify.set_default_timeout(NOTIFY_LIMIT_MS)

    def stop(self) -> None:
        """End `run`; from any thread, and from a signal handler."""
        if self._icon is not None:
            self._icon.stop()

    # -- what is seen

    def show_menu(self, items: tuple[Item, ...]) -> None:
        """Draw another menu. One that differs in words alone stays open and keeps its ids."""
        before, self._items = self._items, items
        if _IS_LINUX and [item.shape for item in before] == [item.shape for item in items]:
            self._relabel(items)
        else:
            self._icon.menu = self._menu(items)

    def show_icon(self, picture: Picture) -> None:
        """Another picture."""
        self._icon.icon = picture

    def show_title(self, title: str) -> None:
        """What hovering shows."""
        self._icon.title = title

    def notify(self, title: str, text: str) -> None:
        """A notice of the desktop's; lost without a word where nobody shows them."""
        self._icon.notify(text, title)

    def _menu(self, items: Sequence[Item]) -> Any:
        self._cells = []
        return self._pystray.Menu(*map(self._item, items))

    def _item(self, item: Item) -> Any:
        if not item.label:
            return self._pystray.Menu.SEPARATOR
        cell = _Cell(item)
        self._cells.append(cell)
        action = self._pystray.Menu(*map(self._item, item.items)) if item.items else self._click(item.action)
        return self._pystray.MenuItem(
            lambda _: cell.label,
            action,
            checked=None if item.is_checked is None else lambda _: bool(item.is_checked),
            enabled=lambda _: cell.is_enabled,
        )

    def _click(self, action: Action | None) -> Callable[[], None] | None:
        if action is None:
            return None
        return lambda: self._act(action)

    def _relabel(self, items: Sequence[Item]) -> None:
        """Other words in the menu that is there, on the drawing thread."""
        for cell, item in zip(self._cells, _labelled(items), strict=True):
            cell.label, cell.is_enabled = item.label, item.is_enabled
        from gi.repository import GLib

        GLib.idle_add(self._rewrite, self._cells)

    def _rewrite(self, cells: list[_Cell]) -> bool:
        if cells is self._cells:
            widgets = list(_widgets(self._icon._menu_handle))
            if len(widgets) == len(cells):
                for widget, cell in zip(widgets, cells, strict=True):
                    if widget.get_label() != cell.label:
                        widget.set_label(cell.label)
                    if widget.get_sensitive() != cell.is_enabled:
                        widget.set_sensitive(cell.is_enabled)
            else:
                self._icon.update_menu()
        return False

    # -- what only the toolkit can do

    def copy(self, text: str) -> None:
        """Put `text` on the clipboard."""
        if desktop.copy_by_tool(text) or not _IS_LINUX:
            return
        from gi.repository import Gdk, GLib, Gtk

        def put() -> bool:
            Gtk.Clipboard.get(Gdk.SELECTION_CLIPBOARD).set_text(text, -1)
            return False

        GLib.idle_add(put)

    def tell(self, title: str, text: str) -> None:
        """A dialog with one button; its text can be selected."""
        if not _IS_LINUX:
            desktop.tell_by_tool(title, text)
            return
        from gi.repository import GLib, Gtk

        def open_dialog() -> bool:
            dialog = Gtk.MessageDialog(text=title, secondary_text=text, buttons=Gtk.ButtonsType.CLOSE)
            dialog.set_title(NAME)
            for label in dialog.get_message_area().get_children():
                label.set_selectable(True)
                label.set_max_width_chars(80)
            dialog.connect("response", lambda shown, _: shown.destroy())
            dialog.show_all()
            dialog.present()
            return False

        GLib.idle_add(open_dialog)

    def theme(self) -> Theme:
        """What the icon lies on, as far as the desktop tells."""
        if not _IS_LINUX:
            return Theme.TEMPLATE
        if os.environ.get("XDG_CURRENT_DESKTOP", "").split(":")[-1] in ("GNOME", "Unity", "Pantheon"):
            return Theme.DARK  # their bar is dark whatever the theme
        from gi.repository import Gtk

        settings = Gtk.Settings.get_default()
        if settings is None:
            return Theme.LIGHT
        name = settings.get_property("gtk-theme-name") or ""
        is_dark = settings.get_property("gtk-application-prefer-dark-theme") or name.lower().endswith("-dark")
        return Theme.DARK if is_dark else Theme.LIGHT


def _labelled(items: Sequence[Item]) -> list[Item]:
    """Every item that has a label, in the order in which `_item` makes them."""
    return [one for item in items if item.label for one in (item, *_labelled(item.items))]


def _widgets(menu: Any) -> list[Any]:
    """Every GTK item below a menu that has a label, in the same order."""
    from gi.repository import Gtk

    found = []
    for widget in menu.get_children():
        if not isinstance(widget, Gtk.SeparatorMenuItem):
            found.append(widget)
            if (submenu := widget.get_submenu()) is not None:
                found += _widgets(submenu)
    return found
