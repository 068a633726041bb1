"""How much memory models may use, measured now. Owned by `runtime`; the rule is in `children.machine`.

Main memory is measured here, whenever somebody asks. GPUs are opened by a short probe at the start and by the
engines themselves, which tell what is free there: looking must cost no GPU memory.
"""

import threading
from collections.abc import Sequence
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
        self.explicit_gpu_bytes = settings.gpu_memory_budget
        self._gpus: list[machine.Gpu] = []
        self._gpu_free_bytes: list[int] = []
        self._gpu_ours_bytes = 0
        self._is_probed = threading.Event()
        self.used_bytes = 0

    async def probe(self) -> None:
        """Ask a short child process about GPUs, once."""
        try:
            self._gpus = await machine.probe_gpus()
            self._gpu_free_bytes = [gpu.free_bytes for gpu in self._gpus]
        finally:
            self._is_probed.set()

    def see_gpus(self, free_bytes: Sequence[int], *, ours_bytes: int) -> None:
        """An engine told what is free on each GPU, while the loaded ones were planned to take `ours_bytes`.

        What they took differs a little, but plans are what budgets are compared with.
        """
        self._gpu_free_bytes, self._gpu_ours_bytes = list(free_bytes), ours_bytes

    def capacity(self) -> Budget:
        """What engines may use in all when nothing else runs. Blocks until the probe has ended."""
        self._is_probed.wait(PROBE_WAIT_S)
        ram = machine.memory_capacity_bytes(explicit_bytes=self.explicit_bytes)
        return self._budget(ram, sum(machine.gpu_capacity_bytes(gpu) for gpu in self._gpus))

    def budget(self, used_bytes: int, held_bytes: int) -> Budget:
        """What engines may use in all, given the memory they have and the part that only their end frees."""
        self.used_bytes = used_bytes
        ram = machine.memory_budget_bytes(held_bytes=held_bytes, explicit_bytes=self.explicit_bytes)
        gpu = machine.gpu_budget_bytes(free_bytes=sum(self._gpu_free_bytes), held_bytes=self._gpu_ours_bytes)
        return self._budget(ram, gpu)

    def _budget(self, ram_bytes: int, gpu_bytes: int) -> Budget:
        if self.explicit_gpu_bytes is not None:
            gpu_bytes = min(gpu_bytes, self.explicit_gpu_bytes)
        is_in_ram = bool(self._gpus) and all(gpu.shares_ram for gpu in self._gpus)
        return Budget(ram_bytes, gpu_bytes, is_in_ram)

    def figures(self, budget: Budget) -> dict[str, Any]:
        """Memory in bytes, as the API shows it: main memory and GPUs together, and each GPU by itself."""
        gpus = [
            {"name": gpu.name, "total_bytes": gpu.total_bytes, "free_bytes": free_bytes}
            for gpu, free_bytes in zip(self._gpus, self._gpu_free_bytes, strict=False)
        ]
        figures: dict[str, Any] = {
            "memory_used_bytes": self.used_bytes,
            "memory_budget_bytes": budget.total_bytes,
        }
        return figures | ({"gpus": gpus} if gpus else {})

    def is_worth_telling(self, before: dict[str, Any], after: dict[str, Any]) -> bool:
        """The figures moved enough for a person to notice."""
        was, used = int(before["memory_used_bytes"]), int(after["memory_used_bytes"])
        budget_moved = abs(int(after["memory_budget_bytes"]) - int(before["memory_budget_bytes"]))
        scale = max(int(after["memory_budget_bytes"]), 1) * WORTH_TELLING
        of_use = max(LEAST_BYTES, max(was, used) * WORTH_TELLING_OF_USE)
        return budget_moved > scale or abs(used - was) > min(scale, of_use)
