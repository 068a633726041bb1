from pathlib import Path

import psutil
import pytest

from janagent.children import machine
from janagent.children.machine import GB, CgroupMemory, Gpu, MachineFacts, Probe
from tests.children.conftest import program, within


def facts(*, ram: float = 16, available: float = 12, cgroup: CgroupMemory | None = None) -> MachineFacts:
    return MachineFacts(int(ram * GB), int(available * GB), cgroup, 4)


# -- the budget rule -----------------------------------------------------------------------------


def test_an_idle_machine_gives_all_available_memory_less_a_gigabyte() -> None:
    assert machine.memory_budget_bytes(held_bytes=0, facts=facts(available=12)) == 11 * GB


def test_what_our_workers_hold_counts_as_ours() -> None:
    assert machine.memory_budget_bytes(held_bytes=4 * GB, facts=facts(available=6)) == 9 * GB


def test_no_more_than_four_fifths_of_the_memory_is_used() -> None:
    assert machine.memory_budget_bytes(held_bytes=8 * GB, facts=facts(ram=20, available=19)) == 16 * GB


def test_a_cgroup_limit_stands_for_the_memory_when_it_is_lower() -> None:
    limited = facts(ram=64, available=50, cgroup=CgroupMemory(10 * GB, 0))
    assert machine.memory_budget_bytes(held_bytes=0, facts=limited) == 8 * GB
    unlimited = facts(ram=10, available=10, cgroup=CgroupMemory(100 * GB, 0))
    assert machine.memory_budget_bytes(held_bytes=0, facts=unlimited) == 8 * GB


def test_a_full_machine_gives_nothing_rather_than_less() -> None:
    assert machine.memory_budget_bytes(held_bytes=0, facts=facts(available=0.2)) == 0


def test_the_setting_overrides_every_measurement() -> None:
    assert machine.memory_budget_bytes(held_bytes=0, explicit_bytes=7, facts=facts()) == 7


def test_a_gpu_gives_nine_tenths_of_what_is_free_or_ours() -> None:
    assert machine.gpu_budget_bytes(free_bytes=10 * GB) == 9 * GB
    assert machine.gpu_budget_bytes(free_bytes=10 * GB, held_bytes=10 * GB) == 18 * GB


# -- this machine --------------------------------------------------------------------------------


def test_this_machine_is_measured() -> None:
    found = machine.measure()
    assert found.ram_bytes == psutil.virtual_memory().total
    assert 0 < found.available_bytes <= found.ram_bytes
    assert 1 <= found.physical_cores <= (psutil.cpu_count() or 1)
    assert machine.memory_budget_bytes(held_bytes=0) <= 0.8 * found.ram_bytes


# -- cgroups, as files of the kernel's form ------------------------------------------------------


def write(root: Path, files: dict[str, object]) -> None:
    for name, value in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{value}\n")


def memory_of(tmp_path: Path, membership: str, files: dict[str, object]) -> CgroupMemory | None:
    write(tmp_path, {"membership": membership})
    write(tmp_path / "fs", files)
    return machine.cgroup_memory(membership=tmp_path / "membership", root=tmp_path / "fs")


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
    assert machine.cgroup_cpus(membership=tmp_path / "v2", root=tmp_path / "fs") == 1.5
    assert machine.cgroup_cpus(membership=tmp_path / "v1", root=tmp_path / "fs") == 0.5
    assert machine.cgroup_cpus(membership=tmp_path / "none", root=tmp_path / "fs") is None


# -- GPUs ----------------------------------------------------------------------------------------


async def test_a_probe_that_answers_is_believed_even_if_it_crashes_afterwards() -> None:
    found = await within(machine.probe(argv=program("probe", "good")))
    gpu = Gpu(name="Test GPU", free_bytes=20 * GB, total_bytes=24 * GB)
    assert found == Probe(gpus=(gpu,), supports_gpu=True, llama_cpp="0.3.36")
    assert await within(machine.probe_gpus(argv=program("probe", "good"))) == [gpu]


async def test_gpus_that_this_build_cannot_use_are_none() -> None:
    assert await within(machine.probe_gpus(argv=program("probe", "none"))) == []


@pytest.mark.parametrize("how", ["rubbish", "silent", "crash"])
async def test_a_probe_that_fails_means_no_gpu_and_a_word_in_the_log(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert await within(machine.probe_gpus(argv=program("probe", how))) == []
    assert "GPUs are not used" in caplog.text
    assert "looking for devices" in caplog.text


async def test_a_probe_that_hangs_is_ended_at_its_deadline(caplog: pytest.LogCaptureFixture) -> None:
    assert await within(machine.probe_gpus(argv=program("probe", "hang"), limit_s=0.3)) == []
    assert "no answer within 0.3 s" in caplog.text


async def test_a_probe_that_cannot_be_started_means_no_gpu(caplog: pytest.LogCaptureFixture) -> None:
    assert await within(machine.probe_gpus(argv=["/no/such/engine"])) == []
    assert "cannot be started" in caplog.text
