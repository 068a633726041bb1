"""Quantization tags in names (`Q4_K_M`), and which of several quantizations suits a machine.

Pure. The `thebloke` rule lives here, because the catalog (files on disk) and a fetch (files of a repo) must
choose alike.
"""

import re
from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

_TAG: Final = re.compile(
    r"(?<![A-Z0-9])(?:(?:IQ|TQ|Q)[1-8](?:_(?:[01]|K|NL|XXS|XS|XL|[SML]))*|MXFP4(?:_MOE)?|BF16|FP?16|FP?32)(?![A-Z0-9])"
)
_PREFERRED: Final = ("Q4_K_M", "Q4_K_S", "Q5_K_M", "Q4_0", "Q5_0")
OVERHEAD: Final = 1.15
"""KV cache and buffers of a small context, as a share of the weights."""


class Sized(Protocol):
    """Something that has a quantization and a size."""

    @property
    def tag(self) -> str | None:
        """`Q4_K_M`; None when unknown."""

    @property
    def size_bytes(self) -> int:
        """Of all its files."""


T = TypeVar("T", bound=Sized)


def tag_of(name: str) -> str | None:
    """The last quantization tag in a name, upper case; `fp16` counts as `F16`. None when there is none."""
    tags: list[str] = _TAG.findall(name.upper())
    return re.sub("^FP", "F", tags[-1]) if tags else None


def tags_match(wanted: str, tag: str | None) -> bool:
    """Whether `tag` is what `wanted` asks for: `Q2` is matched by `Q2` and by every `Q2_*`."""
    return tag is not None and (tag == wanted or tag.startswith(wanted + "_"))


def best_for(choices: Sequence[T], budget_bytes: int | None) -> T:
    """The `thebloke` rule: Q4_K_M, else the nearest to it, as far as it fits; the smallest when nothing fits.

    `budget_bytes` is the memory for weights, cache and buffers; None: no limit. `choices` must not be empty.
    """
    fitting = [c for c in choices if budget_bytes is None or c.size_bytes * OVERHEAD <= budget_bytes]
    if not fitting:
        return min(choices, key=lambda choice: choice.size_bytes)
    return min(fitting, key=lambda choice: (_rank(choice.tag), choice.size_bytes))


def _rank(tag: str | None) -> int:
    """Smaller is better: the preferred tags in order, then more bits than 4, then fewer."""
    if tag in _PREFERRED:
        return _PREFERRED.index(tag)
    bits = _bits(tag)
    return len(_PREFERRED) + (bits - 4 if bits >= 4 else 100 - bits)


def _bits(tag: str | None) -> int:
    digits = re.search(r"32|16|[1-8]", tag or "")
    return int(digits[0]) if digits else 16
