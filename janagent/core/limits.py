"""The settings that decisions depend on, as the pure side sees them."""

from dataclasses import dataclass
from typing import Literal


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
