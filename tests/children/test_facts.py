"""What is read of this machine: its memory, its processors, and the limits of a cgroup."""

from pathlib import Path

import psutil
import pytest

from janagent.children import facts
from janagent.children.facts import CgroupMemory


def test_this_machine_is_measured() -> None:
    found = facts.measure()
    assert found.ram_bytes == psutil.virtual_memory().total
    assert 0 < found.available_bytes <= found.ram_bytes
    assert 1 <= found.physical_cores <= (psutil.cpu_count() or 1)


# -- cgroups, as files of the kernel's form ------------------------------------------------------


def write(root: Path, files: dict[str, object]) -> None:
    for name, value in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{value}\n")


def memory_of(tmp_path: Path, membership: str, files: dict[str, object]) -> CgroupMemory | None:
    write(tmp_path, {"membership": membership})
    write(tmp_path / "fs", files)
    return facts.cgroup_memory(membership=tmp_path / "membership", root=tmp_path / "fs")


def test_a_version_2_limit_counts_page_cache_as_available(tmp_path: Path) -> None:
    found = memory_of(
        tmp_path,
        "0::/app.slice/janagent.service",
        {
            "app.slice/janagent.service/memory.max": 4000,
            "app.slice/janagent.service/memory.current": 3000,
            "app.slice/janagent.service/memory.stat": "anon 1000\ninactive_file 1500\nactive_file 500",
        },
    )
    assert found == CgroupMemory(4000, 3000, 1500)
    assert found.available_bytes == 2500


def test_the_tightest_group_on_the_way_up_decides(tmp_path: Path) -> None:
    found = memory_of(
        tmp_path,
        "0::/a/b",
        {
            "a/b/memory.max": "max",
            "a/b/memory.current": 10,
            "a/memory.max": 500,
            "a/memory.current": 100,
            "memory.max": 900,
            "memory.current": 800,
        },
    )
    assert found == CgroupMemory(900, 800)


def test_a_container_that_cannot_see_its_own_path_is_limited_by_the_mount(tmp_path: Path) -> None:
    found = memory_of(tmp_path, "0::/../docker/0123", {"memory.max": 700, "memory.current": 50})
    assert found == CgroupMemory(700, 50)


def test_a_version_1_limit_is_found_among_other_controllers(tmp_path: Path) -> None:
    found = memory_of(
        tmp_path,
        "9:name=systemd:/\n4:cpu,memory:/docker/x\n0::/",
        {
            "memory/docker/x/memory.limit_in_bytes": 2000,
            "memory/docker/x/memory.usage_in_bytes": 700,
            "memory/docker/x/memory.stat": "inactive_file 1\ntotal_inactive_file 300",
            "memory/memory.limit_in_bytes": 9223372036854771712,
            "memory/memory.usage_in_bytes": 1,
        },
    )
    assert found == CgroupMemory(2000, 700, 300)


@pytest.mark.parametrize(
    ("membership", "files"),
    [
        ("0::/", {"memory.max": "max", "memory.current": 5}),
        (
            "4:memory:/",
            {"memory/memory.limit_in_bytes": 9223372036854771712, "memory/memory.usage_in_bytes": 5},
        ),
        ("", {}),
        ("rubbish", {"memory.max": "rubbish"}),
    ],
)
def test_without_a_limit_there_is_none(tmp_path: Path, membership: str, files: dict[str, object]) -> None:
    assert memory_of(tmp_path, membership, files) is None


def test_a_cpu_quota_of_either_version_is_read_in_processors(tmp_path: Path) -> None:
    write(tmp_path, {"v2": "0::/a", "v1": "3:cpu,cpuacct:/b"})
    write(tmp_path, {"fs/a/cpu.max": "150000 100000", "fs/cpu.max": "max 100000"})
    write(tmp_path, {"fs/cpu/b/cpu.cfs_quota_us": 50000, "fs/cpu/b/cpu.cfs_period_us": 100000})
    assert facts.cgroup_cpus(membership=tmp_path / "v2", root=tmp_path / "fs") == 1.5
    assert facts.cgroup_cpus(membership=tmp_path / "v1", root=tmp_path / "fs") == 0.5
    assert facts.cgroup_cpus(membership=tmp_path / "none", root=tmp_path / "fs") is None
