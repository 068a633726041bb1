"""The tray as a person has it: the real toolkit, a real daemon, the real model, the menu over D-Bus."""

import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from janagent.tray.desktop import ADDING
from tests.daemons import Daemon, assert_all_gone, until
from tests.tray.bus import Menu, Node, notifications, tree
from tests.tray.programs import gate, given, install
from tests.tray.session import Home, TrayProcess


def is_running(root: Node, name: str) -> bool:
    return root.find(f"✓ {name}: running") is not None


def is_drawn_anew(label: str, pressed: int, *, is_checked: bool) -> Callable[[Node], bool]:
    """GTK turns the mark of the pressed item at once; what came of it shows in a new one."""

    def look(root: Node) -> bool:
        item = root.find(label)
        return item is not None and item.id != pressed and item.is_checked is is_checked

    return look


def test_a_day_with_the_tray(home: Home, served: Daemon, starter: Path) -> None:
    bus = home.session.bus_address
    with (
        notifications(bus) as shown,
        TrayProcess(home.environment) as tray,
        Menu(bus, tray.pid) as menu,
    ):
        menu.wait("janagent: no models yet")

        served.drop("smol", {"parameters": {"init": {"ctx_len": 512}}}, gguf=starter)
        menu.until(lambda root: is_running(root, "smol"))
        menu.wait("janagent: 1 running")
        menu.until(lambda root: re.search(r"^Memory: \d+ MB of .* GB$", tree(root), re.MULTILINE))
        until(lambda: ("Model ready", "smol is ready.") in shown)

        menu.press("*smol*", "Stop")
        menu.wait("smol: 98.4 MB")
        assert served.state("smol") == "downloaded"
        menu.press("*smol*", "Start")
        menu.until(lambda root: is_running(root, "smol"))

        served.drop("broken", '{"parameters": {"init": {"ctx_len": "many"}}}')
        faulty = menu.wait("broken: *")
        assert "ctx_len" in faulty.label
        assert menu.read().find("With a problem") is not None
        menu.wait("janagent: 1 running, 1 with a problem")
        until(lambda: any(title == "broken cannot be used" for title, _ in shown))

        children = served.kill()
        menu.wait("janagent is not running")
        assert menu.read().find("*smol*") is None
        assert_all_gone(children)
        served.start()
        menu.wait("smol: 98.4 MB")

        menu.press("Quit tray")
        assert tray.wait() == 0
    assert tray.complaints == []
    assert served.call("GET", "/v1/health")[0] == 200, "the daemon goes on"
    assert not (home.state / "tray").exists(), "no file of icons is left"


def test_without_a_daemon_one_is_started_and_a_crashed_one_again(home: Home) -> None:
    held, opened = gate(home.folder)
    with TrayProcess(home.environment | held) as tray, Menu(home.session.bus_address, tray.pid) as menu:
        menu.wait("janagent is starting…")
        opened.touch()
        menu.wait("janagent: no models yet")
        (daemon,) = home.daemons()
        assert daemon.terminal() is None
        assert len(list((home.state / "log").glob("*.log"))) == 1

        opened.unlink()
        daemon.send_signal(signal.SIGKILL)
        words = "janagent was ended by signal 9; it is started again"
        menu.until(lambda root: root.find("janagent is starting…") and root.find(words))
        opened.touch()
        menu.wait("janagent: no models yet")
        (second,) = home.daemons()
        assert second.pid != daemon.pid

        menu.press("Quit tray and stop janagent")
        assert tray.wait() == 0
        second.wait(30)
    assert tray.complaints == []


def test_start_janagent_starts_one_that_a_person_ended(home: Home, served: Daemon) -> None:
    with TrayProcess(home.environment) as tray, Menu(home.session.bus_address, tray.pid) as menu:
        menu.wait("janagent: no models yet")
        served.stop()
        menu.wait("janagent is not running")
        menu.press("Start janagent")
        menu.wait("janagent: no models yet")
        assert len(home.daemons()) == 1
        menu.press("Quit tray")
        assert tray.wait() == 0
        assert len(home.daemons()) == 1, "it lives on without the tray"


def test_downloads_are_paused_and_go_on(calm: tuple[Home, Daemon]) -> None:
    home, daemon = calm
    with TrayProcess(home.environment) as tray, Menu(home.session.bus_address, tray.pid) as menu:
        for is_paused in (True, False):
            pressed = menu.press("Pause downloads")
            until(lambda p=is_paused: daemon.call("GET", "/v1/health")[1]["machine"]["downloads_paused"] is p)
            menu.until(is_drawn_anew("Pause downloads", pressed, is_checked=is_paused))


def test_start_at_login_is_switched_on_and_off(home: Home, served: Daemon) -> None:
    entry = home.folder / "config" / "autostart" / "janagent-tray.desktop"
    with TrayProcess(home.environment) as tray, Menu(home.session.bus_address, tray.pid) as menu:
        for is_wanted in (True, False):
            pressed = menu.press("Start at login")
            until(lambda w=is_wanted: entry.exists() is w)
            menu.until(is_drawn_anew("Start at login", pressed, is_checked=is_wanted))


def test_what_is_opened_is_opened_by_the_desktop(calm: tuple[Home, Daemon], tmp_path: Path) -> None:
    home, daemon = calm
    programs = tmp_path / "bin"
    programs.mkdir()
    opened = tmp_path / "opened.txt"
    opened.touch()
    install(programs, "xdg-open", f'echo "$1" >> "{opened}"')
    terminal = install(programs, "x-terminal-emulator")
    remote = {"origin": "http://127.0.0.1:9/v1", "import_format": "openai"}
    remote |= {"parameters": {"init": {"API-KEY": "k"}}}
    path = f"{programs}:/usr/bin:/bin"
    with (
        TrayProcess(home.environment | {"PATH": path}, "--root", str(home.root)) as tray,
        Menu(home.session.bus_address, tray.pid) as menu,
    ):
        daemon.drop("far", remote)
        menu.wait("✓ far: running")
        menu.press("*far*", "Stop")
        menu.wait("far: stopped")
        menu.press("*far*", "Start")
        menu.wait("✓ far: running")
        for label, place in {
            ("Open models folder",): daemon.models,
            ("*far*", "Open folder"): daemon.models / "far",
            ("Open logs",): next((home.state / "log").glob("*.log")),
            ("Add a model…",): ADDING,
        }.items():
            menu.press(*label)
            until(lambda place=place: str(place) in opened.read_text().splitlines())
        menu.press("*far*", "Chat")
        assert given(terminal)[:3] == ["-e", "sh", "-c"]
        chat = ["-m", "janagent", "chat", "far", "--root", str(home.root)]
        assert given(terminal)[-len(chat) :] == chat

        (programs / "xdg-open").unlink()
        menu.press("Open logs")
        if shutil.which("xdg-open", path=path) is None:
            menu.wait("nothing opens *")
        shutil.rmtree(daemon.models / "far")
        menu.wait("janagent: no models yet")
        menu.press("Quit tray")
        assert tray.wait() == 0
