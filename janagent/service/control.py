"""What the tray asks of the services: is there one, start it, stop it, start at log-in or not.

Blocking calls, some of them for as long as a start or a stop takes: not for a GUI's own thread.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from janagent.service import installing, plan
from janagent.service.launchctl import Launchctl
from janagent.service.plan import DAEMON_AGENT, DAEMON_UNIT, TRAY_AGENT, TRAY_UNIT, Part
from janagent.service.report import FileReport
from janagent.service.stamp import FileState
from janagent.service.systemctl import ServiceError, Systemctl

if TYPE_CHECKING:
    from janagent.config import Settings


def is_installed() -> bool:
    """The daemon is a service of this person, and the service manager knows it."""
    if plan.is_mac():
        return plan.agent_file(DAEMON_AGENT).exists()
    return Systemctl().unit(DAEMON_UNIT).is_loaded


def start() -> None:
    """Start the daemon's service; returns when it answers requests. Raises ServiceError."""
    if plan.is_mac():
        Launchctl().start(DAEMON_AGENT, plan.agent_file(DAEMON_AGENT))
        return
    systemctl = Systemctl()
    if systemctl.unit(DAEMON_UNIT).active == "failed":
        systemctl.do("reset-failed", DAEMON_UNIT)  # else a person's start counts as one too many
    systemctl.do("start", DAEMON_UNIT)


def stop() -> None:
    """Stop the daemon's service; returns when its answers are finished. Raises ServiceError."""
    if plan.is_mac():
        Launchctl().stop(DAEMON_AGENT)
    else:
        Systemctl().do("stop", DAEMON_UNIT)


def login_enabled() -> bool:
    """The tray starts at log-in. Reads files alone, so it is quick."""
    if plan.is_mac():
        return plan.agent_file(TRAY_AGENT).exists()
    return _is_linked(TRAY_UNIT) or _is_shown(plan.autostart_file())


def set_login(enabled: bool, *, settings: Settings | None = None) -> None:
    """Let daemon and tray start at log-in, or no more; what runs now goes on. Raises ServiceError, OSError.

    Switched off, the daemon's unit stays installed; on a Mac, where files are all there is, both agents go.
    `settings` are those in force, read if not given.
    """
    from janagent.config import Settings

    known = plan.facts(longest_stop_s=(settings or Settings.load()).longest_stop_s)
    if enabled:
        _let_start(known)
    elif plan.is_mac():
        _remove_agents(known)
    else:
        _unlink(known)


def _let_start(known: plan.Facts) -> None:
    has_units = installing.manager(Part.DAEMON).has_units
    # A unit of the daemon that is there already is good enough, whoever wrote it and with whatever flags.
    is_there = plan.files(Part.DAEMON, known)[0].path.exists()
    installing.install([Part.TRAY] if is_there or not has_units else [Part.DAEMON, Part.TRAY], known)
    if is_there and has_units and not plan.is_mac():
        Systemctl().link("enable", DAEMON_UNIT)


def _unlink(known: plan.Facts) -> None:
    systemctl = Systemctl()
    for unit in (TRAY_UNIT, DAEMON_UNIT):
        if _is_linked(unit):
            systemctl.link("disable", unit)
    entries = [file for file in plan.files(Part.TRAY, known) if file.path == plan.autostart_file()]
    _remove([(file.path, file.state()) for file in entries])


def _remove_agents(known: plan.Facts) -> None:
    """The files alone: launchd would end what runs."""
    _remove([(f.path, f.state()) for part in (Part.TRAY, Part.DAEMON) for f in plan.files(part, known)])


def _remove(files: list[tuple[Path, FileState]]) -> None:
    kept = [FileReport(path, state) for path, state in files if state.is_in_the_way]
    for path, state in files:
        if state.is_ours:
            path.unlink()
    if kept:
        words = "; ".join(f"{file.path} {installing.IN_WORDS[file.state]}" for file in kept)
        raise ServiceError(f"{words}: remove it yourself, or janagent goes on starting at log-in")


def _is_linked(unit: str) -> bool:
    return any(plan.user_unit_dir().glob(f"*.wants/{unit}"))


def _is_shown(entry: Path) -> bool:
    try:
        lines = [line.replace(" ", "") for line in entry.read_text("utf-8", errors="replace").splitlines()]
    except OSError:
        return False
    return "Hidden=true" not in lines
