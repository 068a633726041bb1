"""launchd, asked through launchctl(1): the agents of the person who is logged in on a Mac.

Knows agents by label only. The verbs are those of macOS 10.11 and later: `bootstrap`, `bootout`, `kickstart`.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from janagent.service.systemctl import ServiceError, Unit

LIMIT_S = 600.0


class Launchctl:
    """The agents of this person's desktop session."""

    @property
    def domain(self) -> str:
        """launchd's name for this person's desktop session."""
        return f"gui/{os.getuid()}"

    def load(self, label: str, plist: Path) -> None:
        """Make launchd take the agent up; its RunAtLoad starts it. Raises ServiceError."""
        self._must(["enable", f"{self.domain}/{label}"])
        if self._is_loaded(label):
            self.unload(label)
        self._must(["bootstrap", self.domain, str(plist)])

    def unload(self, label: str) -> None:
        """Stop the agent and forget it; nothing happens if launchd does not know it. Raises ServiceError."""
        if self._is_loaded(label):
            self._must(["bootout", f"{self.domain}/{label}"])

    def start(self, label: str, plist: Path) -> None:
        """Start the agent, if it does not run. Raises ServiceError."""
        if self._is_loaded(label):
            self._must(["kickstart", f"{self.domain}/{label}"])
        else:
            self.load(label, plist)

    def stop(self, label: str) -> None:
        """Ask the agent to end; it is known still and starts at the next log-in. Raises ServiceError."""
        if self.unit(label).pid:
            self._must(["kill", "SIGTERM", f"{self.domain}/{label}"])

    def unit(self, label: str) -> Unit:
        """How it is now."""
        done = self._run(["print", f"{self.domain}/{label}"])
        is_loaded = done.returncode == 0
        pid = re.search(r"^\s*pid = (\d+)", done.stdout, re.MULTILINE) if is_loaded else None
        state = re.search(r"^\s*state = (.+)$", done.stdout, re.MULTILINE) if is_loaded else None
        return Unit(
            name=label,
            is_loaded=is_loaded,
            active="active" if pid else "inactive",
            is_enabled=is_loaded,
            pid=int(pid[1]) if pid else 0,
            words=state[1].strip() if state else "",
        )

    def _is_loaded(self, label: str) -> bool:
        return self._run(["print", f"{self.domain}/{label}"]).returncode == 0

    def _must(self, arguments: Sequence[str]) -> None:
        done = self._run(arguments)
        if done.returncode:
            said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
            raise ServiceError(f"launchctl {' '.join(arguments)}: {said}")

    def _run(self, arguments: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        command = ["launchctl", *arguments]
        if shutil.which("launchctl") is None:
            return subprocess.CompletedProcess(command, 127, "", "there is no launchctl on the path")
        try:
            return subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 124, "", f"no answer within {LIMIT_S:.0f} s")
