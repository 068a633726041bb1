"""The shell around pystray, drawn in a real session by a program of its own and looked at over D-Bus."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.daemons import until
from tests.tray.bus import Menu, Node, notifications, tree
from tests.tray.screen import Screen
from tests.tray.session import Home

PROGRAM = """
import json, logging, os, sys, threading
from pathlib import Path
from janagent.tray import preflight
assert preflight.why_not() is None, preflight.why_not()
from janagent.tray import icon, menu
from janagent.tray.menu import Item
from janagent.tray.shell import Shell

def act(action):
    print(json.dumps(repr(action)), flush=True)
    if isinstance(action, menu.OpenLogs):
        raise RuntimeError("a click that fails")

def item(raw):
    label, action, more = raw
    items = tuple(map(item, more.get("items", ())))
    return Item(label, eval(action, vars(menu)) if action else None, more.get("enabled", True),
                more.get("checked"), items)

temporary = Path(os.environ["HOME"]) / "icons"
temporary.mkdir(exist_ok=True)
shell = Shell(act=act, temporary=temporary)

def obey():
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        if name == "menu":
            shell.show_menu(tuple(map(item, arguments[0])))
        elif name == "icon":
            shell.show_icon(icon.draw(icon.Mood(arguments[0]), shell.theme(), size_px=64))
        else:
            getattr(shell, name)(*arguments)
    shell.stop()

picture = icon.draw(icon.Mood.IDLE, icon.Theme.DARK, size_px=64)
try:
    shell.run(picture=picture, title="the title", items=(Item("First", menu.AddModel()),),
              ready=lambda: threading.Thread(target=obey, daemon=True).start())
except Exception as error:
    print(json.dumps(f"ended: {type(error).__name__}"), flush=True)
os._exit(0)
"""


class Drawn:
    """The program, its menu, and what it said."""

    def __init__(self, process: "subprocess.Popen[str]", menu: Menu) -> None:
        self.process = process
        self.menu = menu

    def do(self, name: str, *arguments: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([name, *arguments]) + "\n")
        self.process.stdin.flush()

    def heard(self) -> str:
        assert self.process.stdout is not None
        return str(json.loads(self.process.stdout.readline()))

    def shows(self, text: str) -> Node:
        """Wait until the menu looks like this."""
        return self.menu.until(lambda root: tree(root) == text and root, what=text)


@contextmanager
def drawing(home: Home, **environment: str) -> Iterator[Drawn]:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=home.environment | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            with Menu(home.session.bus_address, process.pid) as menu:
                drawn = Drawn(process, menu)
                assert drawn.heard() == "ready"
                yield drawn
        finally:
            process.kill()


@pytest.fixture
def drawn(home: Home) -> Iterator[Drawn]:
    with drawing(home) as running:
        yield running


def test_a_menu_is_drawn_as_the_model_says(drawn: Drawn):
    drawn.shows("First")
    assert drawn.menu.property("Title") == "the title"
    inner = [["Start", "StartModel('a_b')", {}], ["", "", {}], ["Off", "", {"enabled": False}]]
    items = [
        ["Head", "", {"enabled": False}],
        ["", "", {}],
        ["a_b: running", "", {"checked": True, "items": inner}],
    ]
    drawn.do("menu", items)
    root = drawn.shows("Head\n--\n[x] a_b: running\n  Start\n  --\n  Off")
    assert root.find("Head").is_enabled is False  # type: ignore[union-attr]
    assert root.find("a_b*", "Off").is_enabled is False  # type: ignore[union-attr]
    drawn.menu.press("a_b: running", "Start")
    assert drawn.heard() == "StartModel(id='a_b')"


def test_other_words_keep_the_menu_and_its_ids(drawn: Drawn):
    inner = [["Start", "StartModel('m')", {}], ["Stop", "StopModel('m')", {"enabled": False}]]
    drawn.do(
        "menu", [["m: 1 %", "", {"checked": False, "items": inner}], ["", "", {}], ["End", "OpenPage()", {}]]
    )
    before = drawn.shows("m: 1 %\n  Start\n  Stop\n--\nEnd")
    inner[1][2] = {"enabled": True}
    drawn.do(
        "menu", [["m: 2 %", "", {"checked": False, "items": inner}], ["", "", {}], ["End", "OpenPage()", {}]]
    )
    after = drawn.shows("m: 2 %\n  Start\n  Stop\n--\nEnd")
    assert [node.id for node in before.items] == [node.id for node in after.items]
    assert after.find("m*", "Stop").is_enabled is True  # type: ignore[union-attr]
    drawn.menu.press("m: 2 %", "Stop")
    assert drawn.heard() == "StopModel(id='m')"
    drawn.shows("m: 2 %\n  Start\n  Stop\n--\nEnd")


def test_other_items_make_another_menu(drawn: Drawn):
    drawn.do("menu", [["One", "AddModel()", {"checked": False}]])
    drawn.shows("One")
    drawn.do("menu", [["One", "AddModel()", {"checked": True}]])
    drawn.shows("[x] One")
    drawn.do("menu", [["One", "AddModel()", {"checked": True}], ["Two", "OpenPage()", {}]])
    drawn.shows("[x] One\nTwo")


def test_words_and_items_may_change_at_once_and_in_any_order(drawn: Drawn):
    for number in range(50):
        count = 1 + number % 3
        drawn.do("menu", [[f"{number}.{line}", "AddModel()", {}] for line in range(count)])
    drawn.shows("49.0\n49.1")


def test_a_click_that_fails_does_not_end_the_menu(drawn: Drawn):
    drawn.do("menu", [["Fails", "OpenLogs()", {}], ["Works", "AddModel()", {}]])
    drawn.menu.press("Fails")
    assert drawn.heard() == "OpenLogs()"
    drawn.menu.press("Works")
    assert drawn.heard() == "AddModel()"


def test_the_icon_changes_and_leaves_no_files(drawn: Drawn, home: Home):
    first = drawn.menu.property("IconName")
    drawn.do("icon", "attention")
    second = until(lambda: (name := drawn.menu.property("IconName")) != first and name)
    assert Path(second).parent == home.folder / "icons"
    assert not Path(first).exists()
    drawn.do("show_title", "another title")
    until(lambda: drawn.menu.property("Title") == "another title")


def test_a_notice_reaches_the_desktop_and_its_end_is_clean(home: Home):
    with notifications(home.session.bus_address) as shown, drawing(home) as drawn:
        drawn.do("notify", "A title", "what happened")
        until(lambda: shown == [("A title", "what happened")])
        drawn.do("stop")
        assert drawn.process.wait(20) == 0
        assert drawn.process.stdout is not None
        assert drawn.process.stdout.read() == ""


def test_without_anybody_who_shows_notices_the_menu_goes_on(drawn: Drawn):
    drawn.do("notify", "A title", "what happened")
    drawn.do("menu", [["Next", "AddModel()", {}]])
    drawn.shows("Next")


def test_the_clipboard_holds_what_was_copied(drawn: Drawn, home: Home):
    drawn.do("copy", "smöl/model")
    code = """if True:
        import gi
        gi.require_version("Gtk", "3.0")
        from gi.repository import Gdk, Gtk
        print(Gtk.Clipboard.get(Gdk.SELECTION_CLIPBOARD).wait_for_text())
    """

    def pasted() -> str:
        command = [sys.executable, "-c", code]
        return subprocess.run(
            command, env=home.environment, capture_output=True, text=True, check=True, timeout=30
        ).stdout.strip()

    until(lambda: pasted() == "smöl/model")


def test_an_error_is_shown_in_a_window_and_the_menu_goes_on(drawn: Drawn, home: Home):
    drawn.do("tell", "smol", "ctx_len: 'many' is not a number")
    with Screen(home.session.display) as screen:
        until(lambda: screen.named("janagent"))
    drawn.do("menu", [["Next", "AddModel()", {}]])
    drawn.shows("Next")
