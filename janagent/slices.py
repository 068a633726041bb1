"""How soon a thread that wakes up gets a processor. Leaf; does something on Linux only.

llama.cpp keeps every core busy, and since Linux 6.6 (EEVDF) who wakes up waits until the one that runs has
had its slice of some milliseconds: so does each token, once in the worker's loop and once in the daemon. A
thread that asks for short slices of its own is let in at once (6.12 and later; sched_setattr(2),
`sched_runtime` of SCHED_OTHER). It gets no more time than before, only sooner.
"""

import ctypes
import os
import platform
import struct
import sys

_SYSCALL = {"x86_64": 314, "aarch64": 274, "arm64": 274, "riscv64": 274}
_SHORTEST_NS = 100_000
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
"""size, policy, flags, nice, priority, runtime, deadline, period: the first version of struct sched_attr."""


def ask_for_short_slices() -> bool:
    """For the calling thread and those it starts from now on: they do little at a time, and people wait.

    Returns whether the kernel took it; nothing depends on that.
    """
    return _set(_SHORTEST_NS)


def ask_for_usual_slices() -> bool:
    """For the calling thread and those it starts from now on: they compute. Returns as the other does."""
    return _set(0)


def _set(runtime_ns: int) -> bool:
    number = _SYSCALL.get(platform.machine())
    if sys.platform != "linux" or number is None:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    data = _ATTRIBUTES.pack(_ATTRIBUTES.size, 0, 0, nice, 0, runtime_ns, 0, 0)
    buffer = ctypes.create_string_buffer(data, len(data))
    return bool(ctypes.CDLL(None, use_errno=True).syscall(number, 0, buffer, 0) == 0)
