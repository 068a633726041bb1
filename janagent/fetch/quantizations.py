"""The quantizations that a repo offers, and which of them suits this machine: the `thebloke` rule.

Pure: names and sizes in, files and a reason out. Neighbour: `folder.quantization`, whose order is used, so
that what is fetched is what the catalog would choose.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from janagent.fetch.plan import RemoteFile
from janagent.folder.quantization import OVERHEAD, best_for, tag_of

_SPLIT = re.compile(r"(.+)-\d{5}-of-(\d{5})\.gguf", re.IGNORECASE)
_GPU_ORDER = ("Q8_0", "Q6_K", "Q5_K_M")
_PROJECTOR_ORDER = ("F16", "BF16", "Q8_0", "F32")
_GB = 1e9


@dataclass(frozen=True, slots=True)
class Quantization:
    """One alternative: a file, or all parts of a split one."""

    name: str
    tag: str | None
    files: tuple[RemoteFile, ...]

    @property
    def size_bytes(self) -> int:
        """Of all its files; those nobody told the size of count as 0."""
        return sum(file.size_bytes or 0 for file in self.files)


def is_gguf(file: RemoteFile) -> bool:
    """Whether the name says it is one."""
    return file.name.lower().endswith(".gguf")


def is_projector(file: RemoteFile) -> bool:
    """Whether the name says it is one."""
    return is_gguf(file) and "mmproj" in file.name.lower()


def offered(files: Sequence[RemoteFile]) -> list[Quantization]:
    """The alternatives among `files`, split ones put together."""
    sets: dict[tuple[str, str], list[RemoteFile]] = {}
    for file in files:
        if is_gguf(file) and not is_projector(file):
            split = _SPLIT.fullmatch(file.name)
            sets.setdefault((split[1], split[2]) if split else (file.name, ""), []).append(file)
    return [Quantization(key[0], tag_of(key[0]), tuple(found)) for key, found in sorted(sets.items())]


def choose(choices: Sequence[Quantization], *, ram_bytes: int, gpu_bytes: int) -> tuple[Quantization, str]:
    """The one for this machine, and why. `choices` must not be empty."""
    on_gpu = [c for c in choices if c.tag in _GPU_ORDER and c.size_bytes * OVERHEAD <= gpu_bytes]
    if on_gpu:
        best = min(on_gpu, key=lambda choice: _GPU_ORDER.index(choice.tag or ""))
        return best, _words(best, f"all of it fits the GPU's {gpu_bytes / _GB:.1f} GB")
    budget_bytes = ram_bytes + gpu_bytes
    best = best_for(choices, budget_bytes)
    if best.size_bytes * OVERHEAD <= budget_bytes:
        return best, _words(best, f"the best balance that fits {budget_bytes / _GB:.1f} GB of memory")
    return best, _words(best, f"the smallest, though it may not fit {budget_bytes / _GB:.1f} GB of memory")


def projector(files: Sequence[RemoteFile]) -> RemoteFile | None:
    """The projector to take along, the best format first."""

    def preference(file: RemoteFile) -> tuple[int, str]:
        tag = tag_of(file.name)
        return (_PROJECTOR_ORDER.index(tag) if tag in _PROJECTOR_ORDER else len(_PROJECTOR_ORDER)), file.name

    return min((file for file in files if is_projector(file)), key=preference, default=None)


def _words(choice: Quantization, reason: str) -> str:
    return f"{choice.tag or choice.name} ({choice.size_bytes / _GB:.1f} GB) was chosen: {reason}"
