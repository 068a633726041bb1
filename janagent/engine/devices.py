"""The GPUs that llama.cpp puts layers on, and what memory each has free at this moment.

Raw ggml calls of `ggml-backend.h` live here. Opening a GPU takes some of its memory for the process, so only
workers and the probe may ask. Which devices llama.cpp takes by default is decided in its
`llama_prepare_model_devices`; `chosen` decides alike.
"""

import ctypes
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import llama_cpp

from janagent.engine.llama_log import ggml_library
from janagent.engine.model import LoadError

_LACK = re.compile(r"out ?of ?(device|host)? ?memory|(failed|unable) to allocate", re.IGNORECASE)
_REMOTE = "RPC"
_METAL = "MTL"
_PROCESSOR_ONLY = frozenset({"CPU", "BLAS"})


class Type(IntEnum):
    """`ggml_backend_dev_type`: what a device is."""

    CPU = 0
    GPU = 1
    INTEGRATED_GPU = 2
    ACCELERATOR = 3


@dataclass(frozen=True, slots=True)
class Device:
    """One device as ggml describes it. Bytes; `free_bytes` at the moment it was asked."""

    name: str
    backend: str
    """CUDA, ROCm, Vulkan, MTL (Metal) ..."""
    type: Type
    free_bytes: int
    total_bytes: int
    bus_id: str | None = None
    """Of PCI devices: the same for one GPU that two backends see."""

    @property
    def shares_ram(self) -> bool:
        """Its memory is the main memory. Metal calls Apple's own chips GPUs, not integrated ones."""
        is_apple_chip = self.backend == _METAL and platform.machine() == "arm64"
        return self.type is Type.INTEGRATED_GPU or is_apple_chip


class TooLittleFree(LoadError):
    """A GPU has less memory free than the layers for it were planned to take."""


def is_lack_of_memory(words: str) -> bool:
    """Whether llama.cpp's words on a failure say that memory could not be had."""
    return _LACK.search(words) is not None


def taken_bytes(before: Sequence[int], after: Sequence[int], *, planned_bytes: int) -> int:
    """What a load took of GPUs' memory, by what was free on each before and after.

    Not more than it was planned to take: another engine may have loaded at the same time.
    """
    return min(max(sum(before) - sum(after), 0), planned_bytes)


def backends() -> tuple[str, ...]:
    """What this build of llama.cpp could compute on besides the processor, if it were there."""
    library = _library()
    if library is None:
        return ()
    count = library.ggml_backend_reg_count()
    names = [library.ggml_backend_reg_name(library.ggml_backend_reg_get(i)).decode() for i in range(count)]
    return tuple(name for name in names if name not in _PROCESSOR_ONLY)


def gpus() -> tuple[Device, ...]:
    """The GPUs that a model's layers go to, asked now; none where llama.cpp can use none."""
    library = _library()
    if library is None:
        return ()
    found = []
    for index in range(library.ggml_backend_dev_count()):
        device = library.ggml_backend_dev_get(index)
        if library.ggml_backend_dev_type(device) in (Type.GPU, Type.INTEGRATED_GPU):
            found.append(_described(library, device))
    return chosen(found)


def chosen(found: Iterable[Device]) -> tuple[Device, ...]:
    """Those of all GPUs that llama.cpp uses.

    Each real one once, and integrated ones (of the first one's backend) only where there is no other.
    """
    real: list[Device] = []
    integrated: list[Device] = []
    for device in found:
        if device.type is Type.INTEGRATED_GPU:
            if not integrated or device.backend == integrated[0].backend:
                integrated.append(device)
        elif device.backend != _REMOTE and not any(
            device.bus_id is not None and device.bus_id == other.bus_id for other in real
        ):
            real.append(device)
    return tuple(real or integrated)


class _Properties(ctypes.Structure):
    """`ggml_backend_dev_props`; the capabilities at its end are of no interest here, but need room."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("description", ctypes.c_char_p),
        ("memory_free", ctypes.c_size_t),
        ("memory_total", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("device_id", ctypes.c_char_p),
        ("capabilities", ctypes.c_uint8 * 128),
    )


def _described(library: Any, device: int) -> Device:
    properties = _Properties()
    library.ggml_backend_dev_get_props(device, ctypes.byref(properties))
    backend = library.ggml_backend_reg_name(library.ggml_backend_dev_backend_reg(device))
    return Device(
        name=(properties.description or b"").decode(errors="replace"),
        backend=backend.decode(errors="replace"),
        type=Type(properties.type),
        free_bytes=properties.memory_free,
        total_bytes=properties.memory_total,
        bus_id=properties.device_id.decode(errors="replace") if properties.device_id else None,
    )


def _library() -> Any:
    """ggml with its signatures told to ctypes and its backends there; None where it is laid out otherwise."""
    library = ggml_library()
    if library is None or not hasattr(library, "ggml_backend_dev_get_props"):
        return None
    llama_cpp.llama_backend_init()
    llama_cpp.llama_supports_gpu_offload()  # loads the backends of a build that has them in libraries apart
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    for name, arguments, result in (
        ("ggml_backend_reg_count", (), size),
        ("ggml_backend_reg_get", (size,), pointer),
        ("ggml_backend_reg_name", (pointer,), ctypes.c_char_p),
        ("ggml_backend_dev_count", (), size),
        ("ggml_backend_dev_get", (size,), pointer),
        ("ggml_backend_dev_type", (pointer,), ctypes.c_int),
        ("ggml_backend_dev_backend_reg", (pointer,), pointer),
        ("ggml_backend_dev_get_props", (pointer, ctypes.POINTER(_Properties)), None),
    ):
        function = getattr(library, name)
        function.argtypes, function.restype = list(arguments), result
    return library
