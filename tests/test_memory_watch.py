"""How much models may use on this very machine."""

import asyncio
from pathlib import Path
from typing import Any

import psutil

from janagent.children.facts import GB
from janagent.children.machine import Gpu
from janagent.config import Settings
from janagent.memory_watch import MemoryWatch


def settings(tmp_path: Path, **flags: Any) -> Settings:
    return Settings.load({"root": tmp_path, **flags})


def test_an_explicit_budget_is_the_budget(tmp_path: Path) -> None:
    watch = MemoryWatch(settings(tmp_path, memory_budget="2GB"))
    assert watch.budget(0, 0).ram_bytes == 2_000_000_000


def test_without_one_it_is_below_what_this_machine_has(tmp_path: Path) -> None:
    watch = MemoryWatch(settings(tmp_path))
    budget = watch.budget(123, 0).ram_bytes
    assert 0 < budget <= psutil.virtual_memory().total * 0.8
    assert watch.used_bytes == 123


def test_what_our_engines_hold_counts_as_ours(tmp_path: Path) -> None:
    watch = MemoryWatch(settings(tmp_path))
    assert watch.budget(0, 10**15).ram_bytes >= watch.budget(0, 0).ram_bytes


async def test_the_probe_asks_the_real_engine_program(tmp_path: Path) -> None:
    watch = MemoryWatch(settings(tmp_path))
    await watch.probe()
    assert watch.budget(0, 0).gpu_bytes >= 0


async def test_what_a_download_is_chosen_by_is_the_machine_not_the_moment(tmp_path: Path) -> None:
    watch = MemoryWatch(settings(tmp_path))
    # It waits for the probe, since GPUs count.
    capacity, _ = await asyncio.gather(asyncio.to_thread(watch.capacity), watch.probe())
    assert capacity == watch.capacity()
    assert capacity.ram_bytes >= watch.budget(0, 0).ram_bytes


# -- GPUs, by figures as engines tell them ---------------------------------------------------------


def with_gpus(tmp_path: Path, *gpus: Gpu, **flags: Any) -> MemoryWatch:
    """As after a probe that found these."""
    watch = MemoryWatch(settings(tmp_path, memory_budget="32GB", **flags))
    watch._gpus, watch._gpu_free_bytes = list(gpus), [gpu.free_bytes for gpu in gpus]
    return watch


CARD = Gpu(name="NVIDIA GeForce RTX 4070", backend="CUDA", free_bytes=10 * GB, total_bytes=12 * GB)
APPLE = Gpu(name="Apple M2", backend="MTL", free_bytes=20 * GB, total_bytes=20 * GB, shares_ram=True)


def test_nine_tenths_of_what_is_free_on_all_gpus_are_the_budget(tmp_path: Path) -> None:
    assert with_gpus(tmp_path, CARD, CARD).budget(0, 0).gpu_bytes == 18 * GB


def test_what_another_program_takes_of_a_gpu_leaves_the_budget(tmp_path: Path) -> None:
    watch = with_gpus(tmp_path, CARD)
    watch.see_gpus([2 * GB], ours_bytes=3 * GB)
    assert watch.budget(0, 0).gpu_bytes == 4.5 * GB


def test_the_setting_caps_what_models_take_of_gpus_and_zero_leaves_them_alone(tmp_path: Path) -> None:
    assert with_gpus(tmp_path, CARD, gpu_memory_budget="4GB").budget(0, 0).gpu_bytes == 4 * GB
    assert with_gpus(tmp_path, CARD, gpu_memory_budget="40GB").budget(0, 0).gpu_bytes == 9 * GB
    none = with_gpus(tmp_path, CARD, gpu_memory_budget="0")
    none._is_probed.set()
    assert (none.budget(0, 0).gpu_bytes, none.capacity().gpu_bytes) == (0, 0)


def test_a_gpu_without_memory_of_its_own_adds_none(tmp_path: Path) -> None:
    budget = with_gpus(tmp_path, APPLE).budget(0, 0)
    assert (budget.ram_bytes, budget.gpu_bytes, budget.total_bytes) == (32 * GB, 18 * GB, 32 * GB)
    assert with_gpus(tmp_path, CARD).budget(0, 0).total_bytes == 41 * GB


def test_each_gpu_is_shown_with_what_is_free_now(tmp_path: Path) -> None:
    watch = with_gpus(tmp_path, CARD)
    watch.see_gpus([7 * GB], ours_bytes=2 * GB)
    figures = watch.figures(watch.budget(5 * GB, 0))
    assert figures == {
        "memory_used_bytes": 5 * GB,
        "memory_budget_bytes": 32 * GB + 8.1 * GB,
        "gpus": [{"name": CARD.name, "total_bytes": 12 * GB, "free_bytes": 7 * GB}],
    }


def test_only_a_real_move_is_told(tmp_path: Path) -> None:
    watch = MemoryWatch(settings(tmp_path))
    before = {"memory_used_bytes": 0, "memory_budget_bytes": 1000}
    assert not watch.is_worth_telling(before, {"memory_used_bytes": 10, "memory_budget_bytes": 1000})
    assert watch.is_worth_telling(before, {"memory_used_bytes": 100, "memory_budget_bytes": 1000})
    assert watch.is_worth_telling(before, {"memory_used_bytes": 0, "memory_budget_bytes": 900})


def test_a_small_model_on_a_large_machine_is_told_too(tmp_path: Path) -> None:
    watch = MemoryWatch(settings(tmp_path))
    idle, one, about_one, two = (
        {"memory_used_bytes": used, "memory_budget_bytes": 10**12}
        for used in (0, 200_000_000, 210_000_000, 400_000_000)
    )
    assert watch.is_worth_telling(idle, one)
    assert not watch.is_worth_telling(one, about_one)
    assert watch.is_worth_telling(one, two)
    assert watch.is_worth_telling(two, idle)
