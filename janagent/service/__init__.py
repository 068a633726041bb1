"""janagent as a service: systemd units, launchd agents, log-in entries; put there, taken away, looked at.

Light, so that the tray may use it: `is_installed`, `start`, `stop`, `login_enabled`, `set_login`. What
`janagent service` runs is `installing`. Nothing here decides about models.
"""

from janagent.service.control import is_installed, login_enabled, set_login, start, stop
from janagent.service.systemctl import ServiceError

__all__ = ["ServiceError", "is_installed", "login_enabled", "set_login", "start", "stop"]
