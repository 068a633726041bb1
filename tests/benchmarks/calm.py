"""Owns the question whether a figure was measured on a calm machine.

Two threads of llama.cpp that wait for each other at every layer lose far more than the share of a core that
another program takes, so a disturbed figure says nothing, and a median of disturbed ones neither. It must not
know what is measured. What the hypervisor takes away counts as another program.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter
from typing import TypeVar

import psutil

from tests.benchmarks.report import Plan

LIMIT = 0.06
"""Share of all cores that others may use: daemons of a resting machine stay well below."""
T = TypeVar("T")
W = TypeVar("W")


async def undisturbed(plan: Plan, measure: Callable[[int], Awaitable[T]]) -> T:
    """The first result of `measure(attempt)` while others used no more than `LIMIT` of the machine.

    Tried again until `plan.wait_s` have passed; then the least disturbed one counts, and the report says so.
    """
    deadline = perf_counter() + plan.wait_s
    tries: list[tuple[float, T]] = []
    while True:
        await wait(plan, deadline)
        before, begun = _foreign_s(), perf_counter()
        result = await measure(len(tries))
        share = (_foreign_s() - before) / (perf_counter() - begun) / (psutil.cpu_count() or 1)
        tries.append((share, result))
        if share <= LIMIT:
            return result
        print(f"  (others used {share:.0%} of the machine)", file=sys.stderr)
        if perf_counter() > deadline:
            share, result = min(tries, key=lambda pair: pair[0])
            _note(plan, share)
            return result


async def in_turns(
    plan: Plan, ways: tuple[W, W], rounds: int, measure: Callable[[W, int, int], Awaitable[T]]
) -> list[tuple[T, T]]:
    """What `measure(way, round, attempt)` found for both ways in each round, undisturbed.

    Who comes first changes from round to round.
    """

    async def both(number: int, attempt: int) -> tuple[T, T]:
        found = {}
        for at in (0, 1) if number % 2 else (1, 0):
            found[at] = await measure(ways[at], number, attempt)
        return found[0], found[1]

    return [await undisturbed(plan, partial(both, number)) for number in range(rounds)]


async def wait(plan: Plan, deadline: float | None = None) -> None:
    """Until the machine is quiet for a second, at most until `deadline` (of `plan.wait_s` from now)."""
    deadline = perf_counter() + plan.wait_s if deadline is None else deadline
    while perf_counter() < deadline:
        before = _foreign_s()
        await asyncio.sleep(1.0)
        if (_foreign_s() - before) / (psutil.cpu_count() or 1) <= LIMIT:
            return


def _note(plan: Plan, share: float) -> None:
    start = "The machine was not calm"
    plan.disturbances.append(share)
    worst = max(plan.disturbances)
    plan.notes[:] = [note for note in plan.notes if not note.startswith(start)]
    plan.notes.append(
        f"{start}: during {len(plan.disturbances)} measurements other programs used up to {worst:.0%} of it."
    )


def _foreign_s() -> float:
    """CPU seconds that others used so far: all, less this process and its children."""
    times = psutil.cpu_times()
    rest = sum(getattr(times, name, 0.0) for name in ("idle", "iowait", "guest", "guest_nice"))
    return sum(times) - rest - tree_s(psutil.Process())


def tree_s(process: psutil.Process) -> float:
    """CPU seconds of a process and all its descendants, those that ended included."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        try:
            used = one.cpu_times()
        except psutil.Error:
            continue
        total += used.user + used.system + used.children_user + used.children_system
    return total
