"""SIGHUP: the settings are read again, and those that can change while the daemon runs do.

Owns which these are. Knows nothing of signals; `daemon` does. A setting that cannot change is named in the
log and keeps its value; settings that cannot be used change nothing at all.
"""

import logging
import os
import signal
from collections.abc import Callable

from aiohttp import web

from janagent.config import ConfigError, Settings
from janagent.core.events import LimitsChanged
from janagent.core.limits import Limits
from janagent.http.app import admit_by
from janagent.runtime import Runtime

log = logging.getLogger(__name__)

RELOADABLE = (
    "api_key",
    "allowed_hosts",
    "cors_origins",
    "hot_load",
    "memory_budget",
    "gpu_memory_budget",
    "idle_unload_s",
    "drain_s",
    "load_wait_s",
    "stall_s",
    "offline",
    "log_level",
)
OTHERS_READ = ("notifications",)
"""The tray reads these itself; the daemon has no use for them."""


def reload(reread: Callable[[], Settings], *, runtime: Runtime, app: web.Application) -> None:
    """Let the settings that `reread` gives hold from now on, as far as they can. Raises nothing: it logs."""
    try:
        wanted = reread()
        settings = merge(runtime.settings, wanted)
    except (ConfigError, OSError) as error:
        log.error("the settings stay as they are: %s", error)
        return
    changed = [name for name in RELOADABLE if getattr(settings, name) != getattr(runtime.settings, name)]
    if fixed := unchangeable(settings, wanted):
        log.warning("these settings change only with a restart: %s", ", ".join(fixed))
    runtime.settings = settings
    runtime.memory.explicit_bytes = settings.memory_budget
    runtime.memory.explicit_gpu_bytes = settings.gpu_memory_budget
    runtime.dispatch(LimitsChanged(Limits.of(settings)))
    admit_by(app, settings)
    logging.getLogger().setLevel(settings.log_level.value.upper())
    log.info("read the settings again; changed: %s", ", ".join(changed) or "nothing")


def merge(current: Settings, wanted: Settings) -> Settings:
    """`current` with what may change taken from `wanted`. Raises ConfigError: that would open the door."""
    if not current.is_loopback and wanted.api_key is None:
        raise ConfigError(f'other machines may call ("{current.host}"), so api_key must stay set')
    return current.model_copy(update={name: getattr(wanted, name) for name in RELOADABLE})


def unchangeable(current: Settings, wanted: Settings) -> list[str]:
    """Settings that `wanted` has otherwise and that only a restart can change."""
    free = {*RELOADABLE, *OTHERS_READ}
    names = [name for name in Settings.model_fields if name not in free]
    return [name for name in names if getattr(current, name) != getattr(wanted, name)]


class Terminal:
    """The terminal that the daemon was started from, if any: it sends SIGHUP too, when it is closed."""

    def __init__(self) -> None:
        # Started by nohup(1) it has to outlive the terminal.
        self._was_there = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _has_terminal()

    @property
    def is_gone(self) -> bool:
        """It was there and was closed."""
        return self._was_there and not _has_terminal()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
