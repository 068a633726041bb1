"""How much memory models may use, measured now. Owned by `runtime`; the rule is in `children.machine`."""

import threading
from typing import Any

from janagent.children import machine
from janagent.config import Settings
from janagent.core.memory import Budget

WORTH_TELLING = 0.02
"""Share of the budget by which use or budget must move before listeners are told."""
WORTH_TELLING_OF_USE = 0.1
"""Or share of the use itself by which it must move: a small model on a large machine is seen too."""
LEAST_BYTES = 10_000_000
PROBE_WAIT_S = 30.0
"""Longer than the probe may take; it ends in any case."""


class MemoryWatch:
    """Measures on demand; keeps the last figures."""

    interval_s = 5.0

    def __init__(self, settings: Settings) -> None:
        self.explicit_bytes = settings.memory_budget
        self._gpus: list[machine.Gpu] = []
        self._is_probed = threading.Event()
        self.used_bytes = 0

    async def probe(self) -> None:
        """Ask a short child process about GPUs, once."""
        try:
            self._gpus = await machine.probe_gpus()
        finally:
            self._is_probed.set()

    def capacity(self) -> Budget:
        """What engines may use in all when nothing else runs. Blocks until the probe has ended."""
        self._is_probed.wait(PROBE_WAIT_S)
        ram = machine.memory_capacity_bytes(explicit_bytes=self.explicit_bytes)
        return Budget(ram, sum(machine.gpu_capacity_bytes(gpu) for gpu in self._gpus))

    def budget(self, used_bytes: int, held_bytes: int) -> Budget:
        """What engines may use in all, given their resident memory and the part that only their end frees."""
        self.used_bytes = used_bytes
        ram = machine.memory_budget_bytes(held_bytes=held_bytes, explicit_bytes=self.explicit_bytes)
        return Budget(ram, sum(machine.gpu_budget_bytes(gpu) for gpu in self._gpus))

    def is_worth_telling(self, before: dict[str, Any], after: dict[str, Any]) -> bool:
        """The figures moved enough for a person to notice."""
        used, budget = (
            (int(before[name]), int(after[name])) for name in ("memory_used_bytes", "memory_budget_bytes")
        )
        scale = max(budget[1], 1) * WORTH_TELLING
        scale_of_use = min(scale, max(LEAST_BYTES, max(used) * WORTH_TELLING_OF_USE))
        return abs(used[1] - used[0]) > scale_of_use or abs(budget[1] - budget[0]) > scale
