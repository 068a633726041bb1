"""What llama.cpp can use on this machine: one JSON line for the daemon's memory estimate and `doctor`."""

import json
import sys

import llama_cpp

from janagent.engine import devices
from janagent.engine.llama_log import EngineLog


def print_probe() -> None:
    """Write the line to stdout."""
    log = EngineLog()  # kept as long as llama.cpp may call it
    log.install()
    gpus = devices.gpus()
    probe = {
        "gpus": [
            {
                "name": gpu.name,
                "backend": gpu.backend,
                "free_bytes": gpu.free_bytes,
                "total_bytes": gpu.total_bytes,
                "shares_ram": gpu.shares_ram,
            }
            for gpu in gpus
        ],
        "backends": devices.backends(),
        "llama_cpp": llama_cpp.__version__,
        "supports_gpu": bool(llama_cpp.llama_supports_gpu_offload()),
    }
    sys.stdout.write(json.dumps(probe) + "\n")
    sys.stdout.flush()
