"""LoRA adapters over the weights of a model: read at load, applied to every context that is made.

Raw llama_cpp calls. Which adapters, and how strong, the daemon says (`children.wire`).
"""

import ctypes
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import llama_cpp

from janagent.children.wire import Adapter
from janagent.engine.model import LoadError, Model


class AdapterError(LoadError):
    """An adapter cannot be applied to this model; the message begins with its name."""


def load_adapters(model: Model, adapters: Iterable[Adapter]) -> None:
    """Read `adapters` for `model`, whose contexts get them from then on. Raises AdapterError."""
    for adapter in adapters:
        name = Path(adapter.path).name
        handle = llama_cpp.llama_adapter_lora_init(model.handle, adapter.path.encode())
        if not handle:
            raise AdapterError(f"the adapter {name} cannot be applied to this model")
        if llama_cpp.llama_adapter_get_alora_n_invocation_tokens(handle):
            raise AdapterError(
                f"the adapter {name} is an activated LoRA, which works only behind certain tokens; that is "
                "not supported"
            )
        model.adapters.append((handle, adapter.scale))


def apply_adapters(model: Model, context: Any) -> None:
    """Let the llama_context `context` compute with the adapters of `model`. Raises AdapterError."""
    count = len(model.adapters)
    if not count:
        return
    handles = (llama_cpp.llama_adapter_lora_p_ctypes * count)()
    for at, (handle, _) in enumerate(model.adapters):
        handles[at] = ctypes.cast(handle, llama_cpp.llama_adapter_lora_p_ctypes)
    scales = (ctypes.c_float * count)(*(scale for _, scale in model.adapters))
    if llama_cpp.llama_set_adapters_lora(context, handles, count, scales):
        raise AdapterError("llama.cpp could not apply the adapters")
