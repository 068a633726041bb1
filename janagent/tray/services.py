"""The user's service manager, as far as the tray asks it: whether the daemon is a service, and log-in start.

The one place that knows which implementation there is.
"""

from typing import Protocol

from janagent import service


class Services(Protocol):
    """What the tray asks. A call may take a moment (it runs the manager's own tool) and raises OSError or
    subprocess.SubprocessError when that fails; never called on the thread that draws."""

    def is_installed(self) -> bool:
        """The daemon is a service of this user."""
        ...

    def start(self) -> None:
        """Start the daemon through the manager."""
        ...

    def stop(self) -> None:
        """Stop it through the manager, which would else take an end for a failure."""
        ...

    def login_enabled(self) -> bool | None:
        """Daemon and tray begin with the session; None: this cannot be set here."""
        ...

    def set_login(self, enabled: bool, /) -> None:
        """Let them begin with the session, or not."""
        ...


def find() -> Services:
    """What this machine has."""
    return service
