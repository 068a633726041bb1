"""Which files make janagent a service here: their places and contents. Writes nothing.

Three parts: the daemon of a person, the tray of a person, the daemon of a whole machine. `installing` writes
them, `stamp` knows whether they are still as written.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from janagent import paths
from janagent.service import templates
from janagent.service.stamp import StampedFile

DAEMON_UNIT = "janagent.service"
TRAY_UNIT = "janagent-tray.service"
DAEMON_AGENT = "janagent.daemon"
TRAY_AGENT = "janagent.tray"
STOP_SPARE_S = 30
"""Beyond the longest orderly stop, so that the daemon itself is the one that gives up."""


class Part(StrEnum):
    """What can be installed by itself."""

    DAEMON = "daemon"
    TRAY = "tray"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the templates are filled with."""

    interpreter: str
    serve_flags: tuple[str, ...] = ()
    stop_s: int = 90 + STOP_SPARE_S
    """How long a service manager waits for the daemon to end."""

    @property
    def serve(self) -> list[str]:
        """The daemon's command line; `-P` keeps the working folder out of the way of imports."""
        return [self.interpreter, "-P", "-m", "janagent", "serve", *self.serve_flags]

    @property
    def tray(self) -> list[str]:
        """The tray's command line."""
        return [self.interpreter, "-P", "-m", "janagent", "tray"]


def facts(*, longest_stop_s: float, serve_flags: Sequence[str] = ()) -> Facts:
    """For the interpreter that runs this; that of a virtual environment, not the one behind it."""
    return Facts(sys.executable, tuple(serve_flags), int(longest_stop_s) + STOP_SPARE_S)


def installed_flags() -> tuple[str, ...]:
    """What the daemon's unit, as janagent wrote it, passes to `serve`; nothing without such a unit."""
    path = agent_file(DAEMON_AGENT) if is_mac() else user_unit_dir() / DAEMON_UNIT
    if not StampedFile(path, "").state().is_ours:
        return ()
    text = path.read_text("utf-8")
    if is_mac():
        import plistlib  # with its parser a megabyte, which every command would carry

        words = [str(word) for word in plistlib.loads(text.encode())["ProgramArguments"]]
    else:
        line = next(line for line in text.splitlines() if line.startswith("ExecStart="))
        words = templates.from_systemd(line.removeprefix("ExecStart="))
    return tuple(words[words.index("serve") + 1 :])


def is_mac() -> bool:
    """launchd it is, not systemd."""
    return sys.platform == "darwin"


def files(part: Part, known: Facts) -> list[StampedFile]:
    """The files of `part`, each at its place."""
    match part:
        case Part.SYSTEM:
            return _system_files(known)
        case _ if is_mac():
            return [_agent(part, known)]
        case Part.DAEMON:
            return [_user_unit(DAEMON_UNIT, known)]
        case Part.TRAY:
            return [_user_unit(TRAY_UNIT, known), _autostart(known)]


def user_unit_dir() -> Path:
    """Where systemd looks for a person's own units (systemd.unit(5))."""
    return _config_home() / "systemd" / "user"


def autostart_file() -> Path:
    """The entry that desktops read at log-in (Desktop Application Autostart Specification)."""
    return _config_home() / "autostart" / "janagent-tray.desktop"


def agent_file(label: str) -> Path:
    """The property list of a launchd agent."""
    return Path.home() / "Library" / "LaunchAgents" / f"{label}.plist"


def _config_home() -> Path:
    given = os.environ.get("XDG_CONFIG_HOME", "")
    return Path(given) if given.startswith("/") else Path.home() / ".config"


def _units(known: Facts) -> dict[str, str]:
    return {
        "SERVE": templates.for_systemd(known.serve),
        "TRAY": templates.for_systemd(known.tray),
        "STOP_S": str(known.stop_s),
    }


def _user_unit(name: str, known: Facts) -> StampedFile:
    return StampedFile(user_unit_dir() / name, templates.render(f"systemd/{name}", **_units(known)))


def _autostart(known: Facts) -> StampedFile:
    text = templates.render("config/autostart/janagent-tray.desktop", TRAY=templates.for_desktop(known.tray))
    return StampedFile(autostart_file(), text)


def _agent(part: Part, known: Facts) -> StampedFile:
    label = TRAY_AGENT if part is Part.TRAY else DAEMON_AGENT
    text = templates.render(
        f"launchd/{label}.plist",
        SERVE=templates.for_plist(known.serve),
        TRAY=templates.for_plist(known.tray),
        LOGS=templates.for_xml(str(paths.log_dir())),
        STOP_S=str(known.stop_s),
    )
    return StampedFile(agent_file(label), text)


def _system_files(known: Facts) -> list[StampedFile]:
    places = {
        "janagent.sysusers": "/etc/sysusers.d/janagent.conf",
        "janagent.tmpfiles": "/etc/tmpfiles.d/janagent.conf",
        "janagent.service": f"/etc/systemd/system/{DAEMON_UNIT}",
    }
    return [
        StampedFile(Path(place), templates.render(f"systemd/system/{name}", **_units(known)))
        for name, place in places.items()
    ]
