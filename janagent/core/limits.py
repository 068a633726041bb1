"""The settings that decisions depend on, as the pure side sees them."""

from dataclasses import dataclass
from typing import Literal, Self

from janagent.config import Settings


@dataclass(frozen=True, slots=True)
class Limits:
    """Settings the policy obeys; seconds."""

    hot_load: Literal["dropped", "all", "never"] = "dropped"
    idle_unload_s: float = 900.0
    drain_s: float = 30.0
    load_wait_s: float = 300.0
    stall_s: float = 120.0
    stop_grace_s: float = 5.0
    max_fetches: int = 2
    may_fetch: bool = True

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those that a person may set."""
        return cls(
            hot_load=settings.hot_load.value,
            idle_unload_s=settings.idle_unload_s,
            drain_s=settings.drain_s,
            load_wait_s=settings.load_wait_s,
            stall_s=settings.stall_s,
            max_fetches=settings.max_downloads,
            may_fetch=not settings.offline,
        )
