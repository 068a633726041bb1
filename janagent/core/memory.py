"""Which settings a model is started with on this machine, and the refusal where none fit.

The arithmetic is `folder.estimate`'s; here it becomes an engine's `Plan`, with warnings and figures for
people.
"""

from dataclasses import dataclass, field

from janagent.core.faults import Refusal
from janagent.folder.entry import ModelEntry
from janagent.folder.estimate import GB, Budget, Fitted, fitted, media_bytes
from janagent.folder.parameters import InitParameters

__all__ = ["GB", "Budget", "Plan", "fit", "too_large"]


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings an engine is started with and what they cost."""

    key: str
    """Effective runtime key: two plans with one key would make the same engine."""
    init: InitParameters
    ctx_len: int
    n_parallel: int
    ngl: int
    ram_bytes: int
    gpu_bytes: int = 0
    """Of it on GPUs. Counted in `ram_bytes` too where they have no memory of their own."""
    warnings: tuple[str, ...] = field(default=())


def fit(entry: ModelEntry, init: InitParameters, *, key: str, budget: Budget) -> Plan:
    """Settings for this machine; what the manifest leaves open gives way: ngl, then n_parallel, then ctx_len.

    Raises Refusal `insufficient_memory` with the figures when it cannot fit even alone.
    """
    media = media_bytes(entry.projector)
    found = fitted(entry.size_bytes, entry.header, init, budget=budget, media=media)
    if not found.is_fitting:
        raise too_large(entry, found, budget)
    warnings: list[str] = []
    trained = entry.header.context_length if entry.header else None
    if trained and found.ctx_len > trained:
        warnings.append(f"ctx_len {found.ctx_len} is beyond the {trained} tokens the model was trained for")
    if init.ngl is not None and min(init.ngl, found.layers) > found.ngl:
        there = f"{budget.gpu_bytes / GB:.1f} GB of GPU memory" if budget.gpu_bytes else "no usable GPU"
        warnings.append(f"ngl {init.ngl} lowered to {found.ngl}: {there}")
    return Plan(
        key=key,
        init=init,
        ctx_len=found.ctx_len,
        n_parallel=found.n_parallel,
        ngl=found.ngl,
        ram_bytes=found.ram,
        gpu_bytes=found.need.gpu,
        warnings=tuple(warnings),
    )


def remote_plan(key: str, init: InitParameters) -> Plan:
    """Of a model that somebody else has in memory."""
    return Plan(key=key, init=init, ctx_len=0, n_parallel=0, ngl=0, ram_bytes=0)


def too_large(entry: ModelEntry, found: Fitted, budget: Budget) -> Refusal:
    """The refusal of a model that cannot fit, with the figures and what can be done."""
    return Refusal(
        "insufficient_memory",
        f"{entry.id} needs {found.ram / GB:.2f} GB ({found.need.words()}), but models may use {budget}; "
        "lower ctx_len or n_parallel in the manifest, take a smaller quantization, or raise memory_budget",
    )
