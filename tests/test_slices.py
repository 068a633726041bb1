"""Short slices of processor time, as the kernel tells them."""

import platform
import sys
import threading
from pathlib import Path

from janagent.slices import ask_for_short_slices, ask_for_usual_slices


def slice_ns() -> int | None:
    """Of the calling thread; None where nobody tells."""
    try:
        lines = Path(f"/proc/self/task/{threading.get_native_id()}/sched").read_text().splitlines()
    except OSError:
        return None
    found = [line for line in lines if line.startswith("se.slice")]
    return int(found[0].rpartition(":")[2]) if found else None


def in_a_thread() -> tuple[list[int | None], bool]:
    """What a thread has (as it begins, asking for short ones, in a thread it starts, asking for the usual
    ones), and whether the kernel took it."""
    seen: list[int | None] = []
    taken: list[bool] = []

    def look() -> None:
        seen.append(slice_ns())
        taken.append(ask_for_short_slices())
        seen.append(slice_ns())
        inner = threading.Thread(target=lambda: seen.append(slice_ns()))
        inner.start()
        inner.join()
        taken.append(ask_for_usual_slices())
        seen.append(slice_ns())

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return seen, all(taken)


def test_a_thread_gets_the_slices_that_it_asks_for_and_hands_them_on() -> None:
    (begun, short, inherited, usual), is_taken = in_a_thread()
    is_known = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")
    assert is_taken or not is_known or is_forbidden()
    if is_taken and begun is not None and _release() >= (6, 12):
        assert short == inherited == 100_000
        assert usual == begun != short
    else:  # nothing to see, and nothing broken
        assert (short, usual) == (begun, begun)


def is_forbidden() -> bool:
    """Some containers forbid the system call."""
    return Path("/proc/self/status").read_text().partition("Seccomp:")[2].split()[0] != "0"


def _release() -> tuple[int, ...]:
    return tuple(int(part) for part in platform.release().split(".")[:2] if part.isdecimal())
