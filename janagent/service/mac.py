"""What launchd has to be told once its files are there, and before they go. Neighbour: `installing`."""

from collections.abc import Sequence
from pathlib import Path

from janagent import paths
from janagent.service.launchctl import Launchctl
from janagent.service.plan import DAEMON_AGENT, TRAY_AGENT, Part, agent_file
from janagent.service.report import Report
from janagent.service.systemctl import Unit

AGENTS = {Part.DAEMON: DAEMON_AGENT, Part.TRAY: TRAY_AGENT}


class Mac:
    """The service manager of a Mac, as `installing` sees it."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._label = AGENTS.get(part, DAEMON_AGENT)
        self._launchctl = Launchctl()

    has_units = True

    def why_not(self) -> str:
        """Why this part cannot be installed here, empty if it can."""
        if self._part is Part.SYSTEM:
            return "the system-wide service is for systemd; on a Mac install it without --system"
        return ""

    def take_up(self, report: Report, *, written: Sequence[Path], start: bool) -> None:
        """Let launchd take the agent up, which starts it; without `start` that is left to the next log-in."""
        paths.make_private(paths.log_dir())  # launchd does not make it
        unit = self._launchctl.unit(self._label)
        if unit.is_loaded and not written:
            return
        if unit.pid:
            report.notes.append(
                f"{self._label} runs as it was before; the new file holds from the next log-in"
            )
        elif start:
            report.commands.append(f"launchctl bootstrap {self._launchctl.domain} {agent_file(self._label)}")
            self._launchctl.load(self._label, agent_file(self._label))

    def give_up(self, report: Report) -> None:
        """Stop the agent and make launchd forget it. Raises ServiceError."""
        if self._launchctl.unit(self._label).is_loaded:
            report.commands.append(f"launchctl bootout {self._launchctl.domain}/{self._label}")
            self._launchctl.unload(self._label)

    def forget(self, report: Report) -> None:
        """Nothing more is to be told."""

    def unit(self) -> Unit:
        """How it is now."""
        return self._launchctl.unit(self._label)
