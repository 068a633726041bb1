"""`tray`: becomes `python -m janagent.tray`, the process of the icon, without this program's memory."""

from __future__ import annotations

import os
import sys

from janagent.cli.options import Config, Root


def tray(root: Root = None, config: Config = None) -> None:
    """Show the tray icon: what runs, what downloads, and a menu for the daily things."""
    flags = [] if root is None else ["--root", str(root)]
    flags += [] if config is None else ["--config", str(config)]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "janagent.tray", *flags])
