"""A real panel, a real mouse: the icon is there, its menu opens, and choosing does what it says.

`TRAY_PICTURE=tests/data/tray.png` makes the picture of the README.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import ImageChops

from tests.daemons import Daemon, until
from tests.fetch.hub import TestHub
from tests.gguf_files import write_model
from tests.tray.bus import Menu
from tests.tray.screen import Screen
from tests.tray.session import Home, TrayProcess

PANEL = ["trayer", "--edge", "top", "--align", "right", "--widthtype", "pixel", "--width", "300"]
PANEL += ["--height", "26", "--tint", "0xe6e8ec", "--transparent", "true", "--alpha", "0"]
BEHIND = 0x8C98A4
SMOL = "smollm2-135m-instruct"


@pytest.fixture
def hub() -> Iterator[TestHub]:
    """One slow model."""
    with TestHub() as running:
        yield running


@pytest.fixture
def busy(own_home: Home, hub: TestHub, starter: Path, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon with something of everything."""
    slow = write_model(tmp_path / "slow.gguf")
    with slow.open("ab") as file:
        file.write(bytes(60_000_000))
    repo, name = "TheBloke/zephyr-7B-beta-GGUF", "zephyr-7b-beta.Q4_K_M.gguf"
    hub.add_repo(repo, {name: slow})
    hub.file(repo, name).slow_bytes_per_s = 300_000  # its end would make another menu
    env = {**own_home.own, "JANAGENT_OFFLINE": "false", "JANAGENT_HUB_ENDPOINT": hub.url}
    settings = {"hot_load": "never", "spare_worker": "false"}
    with Daemon(own_home.folder, env=env, root=own_home.root, **settings) as daemon:
        daemon.drop(SMOL, {}, gguf=starter)
        daemon.drop("tinyllama-stories", {}, gguf=write_model(tmp_path / "tiny.gguf"))
        daemon.drop("mistral-7b", {"parameters": {"init": {"ctx_len": "many"}}})
        daemon.drop("zephyr-7b-beta", {"origin": repo, "download_url": name})
        daemon.wait_state(SMOL, "downloaded")
        assert daemon.call("PUT", f"/v1/models/{SMOL}/start")[0] == 200
        yield daemon


def test_the_menu_under_a_real_panel(own_home: Home, busy: Daemon) -> None:
    with (
        Screen(own_home.session.display) as screen,
        TrayProcess(own_home.environment) as tray,
        Menu(own_home.session.bus_address, tray.pid) as menu,
    ):
        own_home.session.start(own_home, *PANEL)
        screen.colour(BEHIND)
        menu.wait(f"✓ {SMOL}: running")
        for label in ("mistral-7b: *", "tinyllama-stories: *", "zephyr-7b-beta: *"):
            menu.wait(label)
        menu.until(lambda root: (line := root.find("Memory*")) and " 0 B" not in line.label)
        # Looked up anew each time: the panel finds its place only when it is there already.
        panel = until(
            lambda: (box := screen.named("trayer")) and screen.colours(box) > 10 and box,
            what="the icon is there",
        )
        before = screen.picture()
        screen.click(panel[2] - 13, (panel[1] + panel[3]) // 2)
        until(lambda: len(screen.menus()) == 1)
        screen.key("Down")
        screen.key("Right")
        boxes = until(lambda: (found := screen.menus()) and len(found) == 2 and found)
        assert ImageChops.difference(before, screen.picture()).getbbox() is not None
        if place := os.environ.get("TRAY_PICTURE"):
            screen.save(Path(place), [panel, *boxes], margin=12)
        screen.key("Return")
        busy.wait_state(SMOL, "downloaded")
        menu.wait(f"{SMOL}: 98.4 MB")
        until(lambda: screen.menus() == [])
        menu.press("Quit tray")
        assert tray.wait() == 0
