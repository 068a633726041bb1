import pytest

from janagent.children import machine
from janagent.children.facts import GB, CgroupMemory, MachineFacts
from janagent.children.machine import Gpu, Probe
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
