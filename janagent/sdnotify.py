"""How a daemon speaks to the service manager that started it: sd_notify(3), one datagram a message.

Leaf helper. Silent where no manager listens. The variables are read and taken out of the environment once, so
that no child can speak in the daemon's name. `supervision` decides what is said and when.
"""

import os
import socket
import time
from collections.abc import MutableMapping

SEND_LIMIT_S = 1.0
"""A manager that does not read must not hold the daemon up."""
VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """`send("READY=1", ...)`. `watchdog_s`: a ping must come this often, None when nobody waits for one."""

    def __init__(self, address: str = "", *, watchdog_s: float | None = None) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = watchdog_s if address else None

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] = os.environ) -> "Notifier":
        """As the manager asked for it; its variables are gone from `environ` afterwards."""
        address, usec, pid = (environ.pop(name, "") for name in VARIABLES)
        is_meant = pid in ("", str(os.getpid()))
        watchdog_s = int(usec) / 1e6 if usec.isdecimal() and int(usec) and is_meant else None
        return cls(address, watchdog_s=watchdog_s)

    @property
    def is_heard(self) -> bool:
        """A service manager listens."""
        return bool(self._address)

    def send(self, *lines: str) -> None:
        """Say `lines`, each `NAME=value`, in one message. A manager that cannot be reached is no error."""
        if not self._address:
            return
        message = "\n".join(line.replace("\n", " ") for line in lines)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                out.settimeout(SEND_LIMIT_S)
                out.sendto(message.encode(), self._address)
        except OSError:
            pass


def status(text: str) -> str:
    """One line for people, shown by `systemctl status`."""
    return f"STATUS={text}"


def monotonic_usec() -> str:
    """When a reload began; without it `Type=notify-reload` does not take RELOADING as an answer."""
    return f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def extend_timeout(seconds: float) -> str:
    """What the manager's patience for the present state has to be, from now on."""
    return f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}"
