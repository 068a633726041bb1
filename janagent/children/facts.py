"""What this machine has, measured now: memory, processors, the limits of our cgroup.

Leaf, for the daemon and its children alike. The neighbour is `machine`, which makes a budget of it.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path

import psutil

GB = 1_000_000_000
SPARED_BYTES = 1 * GB
"""Available memory that is left to everything else."""
_NO_LIMIT = 1 << 60
"""cgroup v1 says "no limit" with a number near 2^63."""


@dataclass(frozen=True, slots=True)
class CgroupMemory:
    """The tightest memory limit that this process is under, and what its group uses of it."""

    limit_bytes: int
    used_bytes: int
    reclaimable_bytes: int = 0
    """The part of `used_bytes` that is page cache which the kernel gives up when asked."""

    @property
    def available_bytes(self) -> int:
        """What the group may still take."""
        return max(self.limit_bytes - self.used_bytes + self.reclaimable_bytes, 0)


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """Measured now."""

    ram_bytes: int
    available_bytes: int
    """What can be had without swapping, page cache included, within the cgroup's limit."""
    cgroup: CgroupMemory | None
    physical_cores: int
    """Cores that this process may use, hyper-threads not counted; at least 1."""


def measure() -> MachineFacts:
    """Read everything anew; some tenths of a millisecond, no blocking on anything but /proc and /sys."""
    memory = psutil.virtual_memory()
    cgroup = cgroup_memory()
    available = memory.available if cgroup is None else min(memory.available, cgroup.available_bytes)
    return MachineFacts(memory.total, available, cgroup, usable_cores())


def usable_cores() -> int:
    """Physical cores, fewer when an affinity mask or a cgroup's CPU quota allows fewer."""
    limits = [psutil.cpu_count(logical=False) or psutil.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):
        limits.append(len(os.sched_getaffinity(0)))
    quota = cgroup_cpus()
    if quota is not None:
        limits.append(math.ceil(quota))
    return max(min(limits), 1)


# -- cgroups: https://docs.kernel.org/admin-guide/cgroup-v2.html, .../cgroup-v1/memory.html --------------


def cgroup_memory(
    *, membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> CgroupMemory | None:
    """The tightest limit from our cgroup upwards, of version 2 or 1; None without any, or not on Linux."""
    found = [_limit_v2(group) for group in _groups(membership, root, controller="")]
    found += [_limit_v1(group) for group in _groups(membership, root / "memory", controller="memory")]
    limits = [limit for limit in found if limit is not None]
    return min(limits, key=lambda limit: limit.available_bytes, default=None)


def cgroup_cpus(
    *, membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> float | None:
    """The tightest CPU quota from our cgroup upwards, in processors; None without any, or not on Linux."""
    quotas: list[float] = []
    for group in _groups(membership, root, controller=""):
        words = _read(group / "cpu.max").split()
        if len(words) == 2 and words[0].isdigit():
            quotas.append(int(words[0]) / int(words[1]))
    for group in _groups(membership, root / "cpu", controller="cpu"):
        quota, period = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
        if quota and period:
            quotas.append(quota / period)
    return min(quotas, default=None)


def _groups(membership: Path, mount: Path, *, controller: str) -> list[Path]:
    """Our group's folder and those above it, up to `mount`. Version 2 is the line without controllers."""
    for line in _read(membership).splitlines():
        _, controllers, path = ([*line.split(":", 2), "", ""])[:3]
        if controller in controllers.split(","):
            # A container may see the group's path on the host, which is not below its own mount: then
            # the mount itself is the container's group.
            inner = [part for part in path.split("/") if part not in ("", "..")]
            folders = [mount.joinpath(*inner[:depth]) for depth in range(len(inner), -1, -1)]
            return [folder for folder in folders if folder.is_dir()]
    return []


def _limit_v2(group: Path) -> CgroupMemory | None:
    return _limit(
        limit=_number(group / "memory.max"),
        used=_number(group / "memory.current"),
        reclaimable=_field(group / "memory.stat", "inactive_file"),
    )


def _limit_v1(group: Path) -> CgroupMemory | None:
    return _limit(
        limit=_number(group / "memory.limit_in_bytes"),
        used=_number(group / "memory.usage_in_bytes"),
        reclaimable=_field(group / "memory.stat", "total_inactive_file"),
    )


def _limit(*, limit: int | None, used: int | None, reclaimable: int) -> CgroupMemory | None:
    if limit is None or used is None or limit >= _NO_LIMIT:
        return None
    return CgroupMemory(limit, used, min(reclaimable, used))


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    """None for an absent file and for "max" or -1, which mean no limit."""
    text = _read(path).strip()
    return int(text) if text.isdigit() else None


def _field(path: Path, name: str) -> int:
    for line in _read(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdigit():
            return int(value)
    return 0
