"""The whole process where something is missing, dies or comes late: a sentence and an exit status, never a
hang, never a leak."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.daemons import Daemon, until
from tests.tray.bus import Menu, watcher
from tests.tray.session import Home, TrayProcess

QUICK_S = 40.0


def refused(environment: dict[str, str]) -> str:
    """A tray that cannot be shown says one sentence and exits with 3; the sentence."""
    with TrayProcess(environment) as tray:
        status = tray.wait(QUICK_S)
    lines = [line for line in tray.lines if line.startswith("janagent: ")]
    assert status == 3, tray.said
    assert len(lines) == 1, tray.said
    assert "Traceback" not in tray.said
    return lines[0]


def without(environment: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in names}


def test_without_a_display(home: Home):
    said = refused(without(home.environment, "DISPLAY"))
    assert said == (
        "janagent: there is no display: start the tray in a desktop session (janagent serve needs none)"
    )


def test_with_a_display_that_is_gone(home: Home):
    assert "the display :4711 cannot be opened" in refused(home.environment | {"DISPLAY": ":4711"})


def test_without_a_session_bus(home: Home):
    gone = {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={home.folder}/nobody"}
    assert "there is no session bus" in refused(home.environment | gone)


@pytest.mark.parametrize("backend", ["xorg", "dummy", "nonsense"])
def test_with_a_backend_that_shows_no_menu(home: Home, backend: str):
    refused(home.environment | {"PYSTRAY_BACKEND": backend})


def run_with(environment: dict[str, str], preparation: str) -> "subprocess.CompletedProcess[str]":
    """The same program with something taken away from under it."""
    code = f"import runpy, sys\n{preparation}\nrunpy.run_module('janagent.tray', run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_without_the_library_of_indicators(home: Home):
    lacking = """
import gi
real = gi.require_version
def require(name, version):
    if "AppIndicator" in name:
        raise ValueError(f"Namespace {name} not available")
    real(name, version)
gi.require_version = require
"""
    done = run_with(home.environment, lacking)
    assert done.returncode == 3
    assert done.stderr.startswith("janagent: the AppIndicator library is missing; install it with: sudo ")


def test_without_pygobject(home: Home):
    lacking = "sys.modules['gi'] = None\nfrom janagent.tray import preflight\npreflight._SYSTEM = ()"
    done = run_with(home.environment, lacking)
    assert done.returncode == 3
    assert done.stderr.startswith("janagent: PyGObject is missing; ")


def test_serve_needs_none_of_it(tmp_path: Path):
    nothing = {"DISPLAY": "", "DBUS_SESSION_BUS_ADDRESS": "", "WAYLAND_DISPLAY": ""}
    with Daemon(tmp_path, env=nothing, spare_worker=False) as daemon:
        assert daemon.call("GET", "/v1/health")[0] == 200


def test_a_wrong_setting_is_a_sentence_and_exit_2(home: Home):
    with TrayProcess(home.environment | {"JANAGENT_PORTT": "1"}) as tray:
        assert tray.wait(QUICK_S) == 2
    assert tray.said == "janagent: the variable JANAGENT_PORTT is not a setting, did you mean JANAGENT_PORT?"


def test_a_second_tray_brings_nothing_twice(calm: tuple[Home, Daemon]):
    home, _ = calm
    with TrayProcess(home.environment) as first, Menu(home.session.bus_address, first.pid) as menu:
        menu.wait("janagent: no models yet")
        with TrayProcess(home.environment) as second:
            assert second.wait(QUICK_S) == 0
        assert second.said == f"janagent: the tray is there already (process {first.pid})"
        assert len(home.daemons()) == 1
        menu.press("Quit tray")
        assert first.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_in_order(calm: tuple[Home, Daemon], number: int):
    home, daemon = calm
    with TrayProcess(home.environment) as tray, Menu(home.session.bus_address, tray.pid) as menu:
        menu.wait("janagent: no models yet")
        tray.send(number)
        assert tray.wait(QUICK_S) == 0
    assert tray.complaints == []
    assert not (home.state / "tray").exists()
    assert daemon.call("GET", "/v1/health")[0] == 200


def test_a_panel_that_comes_late_or_again_gets_the_icon(calm: tuple[Home, Daemon]):
    home, _ = calm
    with TrayProcess(home.environment) as tray, Menu(home.session.bus_address, tray.pid) as menu:
        menu.wait("janagent: no models yet")
        for _ in range(2):
            with watcher(home.session.bus_address) as items:
                until(lambda items=items: "/org/ayatana/NotificationItem/janagent" in " ".join(items))
        menu.press("Quit tray")
        assert tray.wait() == 0


def test_it_ends_with_the_session_bus(own_home: Home):
    with Daemon(own_home.folder, env=own_home.own, root=own_home.root, spare_worker=False) as daemon:
        with TrayProcess(own_home.environment) as tray:
            with Menu(own_home.session.bus_address, tray.pid) as menu:
                menu.wait("janagent: no models yet")
            assert own_home.session.bus is not None
            own_home.session.bus.kill()
            assert tray.wait(QUICK_S) == 0
        assert not (own_home.state / "tray").exists()
        assert daemon.call("GET", "/v1/health")[0] == 200


def test_it_ends_with_the_display_and_the_next_one_clears_up(own_home: Home):
    with Daemon(own_home.folder, env=own_home.own, root=own_home.root, spare_worker=False) as daemon:
        with TrayProcess(own_home.environment) as tray:
            with Menu(own_home.session.bus_address, tray.pid) as menu:
                menu.wait("janagent: no models yet")
            assert own_home.session.x is not None
            own_home.session.x.kill()
            tray.wait(QUICK_S)  # GDK itself ends the process
        assert daemon.call("GET", "/v1/health")[0] == 200
        left = set((own_home.state / "tray").iterdir())
        own_home.session.start_display()
        with TrayProcess(own_home.environment) as tray:
            with Menu(own_home.session.bus_address, tray.pid) as menu:
                menu.wait("janagent: no models yet")
                assert not left & set((own_home.state / "tray").iterdir())
                menu.press("Quit tray")
            assert tray.wait() == 0


def test_a_key_that_the_settings_have_later_is_used_then(home: Home):
    keyed = {"JANAGENT_API_KEY": "right"}
    config = home.folder / "config" / "janagent" / "janagent.toml"
    with (
        Daemon(home.folder, env=home.own | keyed, root=home.root, spare_worker=False),
        TrayProcess(home.environment) as tray,
        Menu(home.session.bus_address, tray.pid) as menu,
    ):
        menu.wait("janagent cannot be reached")
        menu.until(lambda root: any("API key" in label for label in root.labels()))
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text('api_key = "right"\n')
        menu.wait("janagent: no models yet")
        menu.press("Quit tray and stop janagent")
        assert tray.wait() == 0


def test_it_waits_quietly(calm: tuple[Home, Daemon]):
    """A tray that nobody looks at costs next to nothing; tests/benchmarks/tray.py measures more."""
    home, _ = calm
    with TrayProcess(home.environment) as tray, Menu(home.session.bus_address, tray.pid) as menu:
        menu.wait("janagent: no models yet")
        process = psutil.Process(tray.pid)

        def rests() -> bool:
            before = process.cpu_times()
            time.sleep(3)
            after = process.cpu_times()
            return (after.user + after.system) - (before.user + before.system) < 0.15

        until(rests, what="its start is over")
        assert rests(), "and it stays so"
        assert tray.unique_bytes() < 60e6
        menu.press("Quit tray")
        assert tray.wait() == 0
