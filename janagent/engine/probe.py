"""What llama.cpp can use on this machine: one JSON line for the daemon's memory estimate and `doctor`."""

import ctypes
import json
import sys
from typing import Any

import llama_cpp

from janagent.engine.llama_log import EngineLog, ggml_library

_GPU_KINDS = (1, 2)  # ggml-backend.h: GGML_BACKEND_DEVICE_TYPE_GPU, _IGPU


def print_probe() -> None:
    """Write the line to stdout."""
    EngineLog().install()
    probe = {
        "gpus": _gpus(),
        "llama_cpp": llama_cpp.__version__,
        "supports_gpu": bool(llama_cpp.llama_supports_gpu_offload()),
    }
    sys.stdout.write(json.dumps(probe) + "\n")
    sys.stdout.flush()


def _gpus() -> list[dict[str, Any]]:
    library = ggml_library()
    if library is None or not hasattr(library, "ggml_backend_dev_count"):
        return []
    llama_cpp.llama_backend_init()
    library.ggml_backend_dev_count.restype = ctypes.c_size_t
    library.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    library.ggml_backend_dev_get.restype = ctypes.c_void_p
    for name in ("ggml_backend_dev_type", "ggml_backend_dev_description"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    library.ggml_backend_dev_type.restype = ctypes.c_int
    library.ggml_backend_dev_description.restype = ctypes.c_char_p
    size_p = ctypes.POINTER(ctypes.c_size_t)
    library.ggml_backend_dev_memory.argtypes = [ctypes.c_void_p, size_p, size_p]
    library.ggml_backend_dev_memory.restype = None
    devices = [library.ggml_backend_dev_get(i) for i in range(library.ggml_backend_dev_count())]
    return [
        _described(library, device)
        for device in devices
        if library.ggml_backend_dev_type(device) in _GPU_KINDS
    ]


def _described(library: Any, device: int) -> dict[str, Any]:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    library.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
    name = library.ggml_backend_dev_description(device).decode(errors="replace")
    return {"name": name, "free_bytes": free.value, "total_bytes": total.value}
