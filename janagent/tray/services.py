"""The user's service manager, as far as the tray asks it: whether the daemon is a service, and log-in start.

The one place of the tray that knows `janagent.service`. `python -m janagent.tray.services on` is `set_login`
in a process of its own, because that reads the settings, which the tray's own process has no room for.
"""

import subprocess
import sys
from typing import Protocol

from janagent import service
from janagent.service import ServiceError

LIMIT_S = 120.0


class Failed(Exception):
    """The manager could not do it; the message says why and what to do."""


class Services(Protocol):
    """What the tray asks. Every call may take a moment, a start or a stop as long as the daemon takes for it;
    all raise Failed. Never called on the thread that draws."""

    def is_installed(self) -> bool:
        """The daemon is a service of this person."""
        ...

    def start(self) -> None:
        """Start the daemon through the manager; returns when it answers."""
        ...

    def stop(self) -> None:
        """Stop it through the manager; returns when its answers are finished."""
        ...

    def login_enabled(self) -> bool | None:
        """Daemon and tray begin with the session; None: this cannot be set here."""
        ...

    def set_login(self, enabled: bool, /) -> None:
        """Let them begin with the session, or not."""
        ...


class OwnServices:
    """`janagent.service`."""

    def is_installed(self) -> bool:
        """A manager that does not answer has none."""
        try:
            return service.is_installed()
        except (ServiceError, OSError, subprocess.SubprocessError):
            return False

    def start(self) -> None:
        """See Services."""
        try:
            service.start()
        except (ServiceError, OSError, subprocess.SubprocessError) as error:
            raise Failed(str(error)) from error

    def stop(self) -> None:
        """See Services."""
        try:
            service.stop()
        except (ServiceError, OSError, subprocess.SubprocessError) as error:
            raise Failed(str(error)) from error

    def login_enabled(self) -> bool | None:
        """See Services."""
        try:
            return service.login_enabled()
        except (ServiceError, OSError):
            return None

    def set_login(self, enabled: bool, /) -> None:
        """See Services."""
        command = [sys.executable, "-m", "janagent.tray.services", "on" if enabled else "off"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        except (OSError, subprocess.SubprocessError) as error:
            raise Failed(str(error)) from error
        if done.returncode:
            raise Failed(done.stderr.strip().removeprefix("janagent: "))


def main() -> int:
    """Set log-in start as the argument says, `on` or `off`."""
    from janagent.config import ConfigError

    try:
        service.set_login(sys.argv[1:] == ["on"])
    except (ServiceError, ConfigError, OSError) as error:
        print(f"janagent: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
