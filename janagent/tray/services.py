"""The user's service manager, as far as the tray asks it: whether the daemon is a service, and log-in start.

The one place that knows which implementation there is; until there is one, `NoServices` says that nothing is
installed and nothing can be.
"""

from typing import Protocol


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


class NoServices:
    """No service manager is known."""

    def is_installed(self) -> bool:
        """Never."""
        return False

    def start(self) -> None:
        """Not called, as nothing is installed."""

    def stop(self) -> None:
        """Not called, as nothing is installed."""

    def login_enabled(self) -> bool | None:
        """It cannot be set."""
        return None

    def set_login(self, enabled: bool, /) -> None:
        """Not called, as the menu has no such entry then."""


def find() -> Services:
    """What this machine has."""
    return NoServices()
