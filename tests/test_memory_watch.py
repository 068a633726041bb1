"""How much models may use on this very machine."""

import asyncio
from pathlib import Path
from typing import Any

import psutil

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
