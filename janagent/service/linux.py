"""What systemd has to be told once the files are there, and before they go. Neighbour: `installing`."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from janagent.service.plan import DAEMON_UNIT, TRAY_UNIT, Part
from janagent.service.report import Report
from janagent.service.systemctl import ServiceError, Systemctl, Unit

DESKTOP = "graphical-session.target"
UNITS = {Part.DAEMON: DAEMON_UNIT, Part.TRAY: TRAY_UNIT, Part.SYSTEM: DAEMON_UNIT}


class Linux:
    """The service manager of a Linux machine, as `installing` sees it."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._unit = UNITS[part]
        self._systemctl = Systemctl(is_system=part is Part.SYSTEM)

    @property
    def has_units(self) -> bool:
        """systemd is installed. Without it only the XDG autostart entry means anything."""
        return self._systemctl.is_installed

    def why_not(self) -> str:
        """Why this part cannot be installed here, empty if it can."""
        if self._systemctl.is_installed or self._part is Part.TRAY:
            return ""
        return "systemd is not here (no systemctl on the path); the tray can start janagent at log-in: --tray"

    def take_up(self, report: Report, *, written: Sequence[Path], start: bool) -> None:
        """Enable the unit, and start it with `start`. Raises ServiceError."""
        if not self.has_units:
            report.notes.append(
                "systemd is not here: the desktop starts the tray at log-in, the tray janagent"
            )
            return
        if self._part is Part.SYSTEM:
            self._make_user_and_folder(report, written)
        self._link("enable", report)
        if not self._systemctl.is_reachable():
            when = "at the next boot" if self._part is Part.SYSTEM else "at the next log-in"
            report.notes.append(f"systemd does not answer here; {self._unit} is started {when}")
            return
        self._do(report, "daemon-reload")
        unit = self.unit()
        if unit.active in ("active", "reloading", "activating"):
            if any(path.name == self._unit for path in written):
                command = " ".join([*self._systemctl.command, "restart", self._unit])
                report.notes.append(f"{self._unit} runs as it was before; to use the new file: {command}")
        elif self._part is Part.TRAY and not self._has_desktop():
            report.notes.append("the tray starts at the next log-in; to have it now: janagent tray")
        elif start:
            self._do(report, "reset-failed", self._unit, is_needed=False)
            self._do(report, "start", self._unit)

    def give_up(self, report: Report) -> None:
        """Stop and disable the unit. Raises ServiceError."""
        if not self.has_units:
            return
        if self._systemctl.is_reachable() and self.unit().active not in ("inactive", "unknown", "failed"):
            self._do(report, "stop", self._unit)
        self._link("disable", report)

    def forget(self, report: Report) -> None:
        """The file is gone: let systemd see it."""
        if self.has_units and self._systemctl.is_reachable():
            self._do(report, "daemon-reload")
            self._do(report, "reset-failed", self._unit, is_needed=False)

    def unit(self) -> Unit:
        """How it is now."""
        return self._systemctl.unit(self._unit)

    def _has_desktop(self) -> bool:
        return self._systemctl.unit(DESKTOP).active == "active"

    def _make_user_and_folder(self, report: Report, written: Sequence[Path]) -> None:
        for tool, place in (
            (["systemd-sysusers"], "/etc/sysusers.d/janagent.conf"),
            (["systemd-tmpfiles", "--create"], "/etc/tmpfiles.d/janagent.conf"),
        ):
            command = [*tool, place]
            report.commands.append(" ".join(command))
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            except (OSError, subprocess.TimeoutExpired) as error:
                raise ServiceError(f"{' '.join(command)}: {error}") from error
            if done.returncode:
                raise ServiceError(f"{' '.join(command)}: {' '.join(done.stderr.split())}")

    def _link(self, verb: str, report: Report) -> None:
        report.commands.append(" ".join([*self._systemctl.command, verb, self._unit]))
        self._systemctl.link(verb, self._unit)

    def _do(self, report: Report, verb: str, *units: str, is_needed: bool = True) -> None:
        try:
            self._systemctl.do(verb, *units)
        except ServiceError:
            if is_needed:
                raise
            return
        report.commands.append(" ".join([*self._systemctl.command, verb, *units]))
