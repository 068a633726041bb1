"""systemd, asked through systemctl(1): the instance of the person who is logged in, or that of the machine.

Knows units by name only. `Result.words` is what systemctl said, for a person to read.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ASK_S = 10.0
WORK_S = 600.0
"""A stop waits for answers, a start for a large folder; systemd has limits of its own below this one."""


class ServiceError(Exception):
    """The service manager could not do what was asked; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Unit:
    """How a unit is. `words` is its own status line."""

    name: str
    is_loaded: bool
    active: str
    is_enabled: bool
    pid: int
    words: str


class Systemctl:
    """One systemd. Every method that changes something raises ServiceError."""

    def __init__(self, *, is_system: bool = False) -> None:
        self.is_system = is_system

    @property
    def command(self) -> list[str]:
        """What a person types before the verb."""
        return ["systemctl"] if self.is_system else ["systemctl", "--user"]

    @property
    def is_installed(self) -> bool:
        """systemctl is there."""
        return shutil.which("systemctl") is not None

    def is_reachable(self) -> bool:
        """The manager answers; it does not in containers and in a session without one."""
        return self.is_installed and self._run(["show", "--property=Version"], limit_s=ASK_S).returncode == 0

    def do(self, verb: str, *units: str) -> None:
        """`systemctl VERB UNIT...`, waiting for its end. Raises ServiceError."""
        self._must([verb, *units], limit_s=WORK_S)

    def link(self, verb: str, *units: str) -> None:
        """`enable` or `disable` for the next start, also while no manager answers. Raises ServiceError."""
        self._must([verb, *units], limit_s=ASK_S, SYSTEMD_OFFLINE="1")

    def unit(self, name: str) -> Unit:
        """How it is now; not loaded and inactive if nobody can tell."""
        wanted = ("LoadState", "ActiveState", "MainPID", "StatusText", "Result")
        found = dict.fromkeys(wanted, "")
        if self.is_installed:
            done = self._run(["show", f"--property={','.join(wanted)}", name], limit_s=ASK_S)
            if done.returncode == 0:
                found |= dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
        result = found["Result"]
        return Unit(
            name=name,
            is_loaded=found["LoadState"] == "loaded",
            active=found["ActiveState"] or "unknown",
            is_enabled=self._is_enabled(name),
            pid=int(found["MainPID"] or 0),
            words=found["StatusText"]
            or (f"last ended with: {result}" if result not in ("", "success") else ""),
        )

    def _is_enabled(self, name: str) -> bool:
        """From the links alone, which are there also while no manager answers."""
        if not self.is_installed:
            return False
        done = self._run(["is-enabled", name], limit_s=ASK_S, SYSTEMD_OFFLINE="1")
        return done.stdout.strip() == "enabled"

    def _must(self, arguments: Sequence[str], *, limit_s: float, **variables: str) -> None:
        if not self.is_installed:
            raise ServiceError("systemd is not here: there is no systemctl on the path")
        done = self._run(arguments, limit_s=limit_s, **variables)
        if done.returncode:
            said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
            raise ServiceError(f"{' '.join([*self.command, *arguments])}: {said}")

    def _run(
        self, arguments: Sequence[str], *, limit_s: float, **variables: str
    ) -> "subprocess.CompletedProcess[str]":
        command = [*self.command, "--no-pager", *arguments]
        environment = {**os.environ, **self._where(), **variables, "LC_ALL": "C.UTF-8"}
        try:
            return subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 124, "", f"no answer within {limit_s:.0f} s")
        except OSError as error:
            return subprocess.CompletedProcess(command, 127, "", str(error))

    def _where(self) -> dict[str, str]:
        """Where a person's own manager listens, for a shell that was not told (su, sudo, cron)."""
        if self.is_system or os.environ.get("XDG_RUNTIME_DIR"):
            return {}
        usual = f"/run/user/{os.getuid()}"
        return {"XDG_RUNTIME_DIR": usual} if Path(usual).is_dir() else {}
