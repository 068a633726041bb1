"""Quantization tags in names (`Q4_K_M`), and which of several quantizations suits a machine.

Pure. The `thebloke` rule lives here, because the catalog (files on disk) and a fetch (files of a repo) must
choose alike. Neighbour: `estimate`, which says what fits.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from janagent.folder.estimate import GB, MEDIA_BYTES, Budget, Fitted, common_header, fitted
from janagent.folder.gguf import Header
from janagent.folder.parameters import InitParameters

_TAG: Final = re.compile(
    r"(?<![A-Z0-9])(?:(?:IQ|TQ|Q)[1-8](?:_(?:[01]|K|NL|XXS|XS|XL|[SML]))*|MXFP4(?:_MOE)?|BF16|FP?16|FP?32)(?![A-Z0-9])"
)
_PREFERRED: Final = ("Q4_K_M", "Q4_K_S", "Q5_K_M", "Q4_0", "Q5_0")
_ON_GPU: Final = ("Q8_0", "Q6_K", "Q5_K_M")
"""What is worth its size where all of it is on the GPU, best first."""
PROJECTOR_ORDER: Final = ("F16", "BF16", "Q8_0", "F32")
"""Which format of a projector is taken (contract, section 1)."""
_FEWEST_BITS: Final = 4
_FLAVOURS: Final = frozenset({"UD", "I1"})
"""Words for a way of quantizing that stand before the tag: Unsloth's dynamic ones, weighted ones."""


class Sized(Protocol):
    """Something that has a quantization and a size."""

    @property
    def tag(self) -> str | None:
        """`Q4_K_M`; None when unknown."""

    @property
    def size_bytes(self) -> int:
        """Of all its files."""


T = TypeVar("T", bound=Sized)
_NO_INIT: Final = InitParameters()


@dataclass(frozen=True, slots=True)
class Terms:
    """What a choice depends on, besides what there is to choose from."""

    budget: Budget
    init: InitParameters = _NO_INIT
    """The manifest's: its context and parallel conversations decide the size of the KV cache."""
    header: Header | None = None
    """Of any of the quantizations: those of one model share their dimensions. None: estimated by size."""
    projector_bytes: int = 0


def tag_of(name: str) -> str | None:
    """The last quantization tag in a name, upper case; `fp16` counts as `F16`. None when there is none."""
    tags: list[str] = _TAG.findall(name.upper())
    return re.sub("^FP", "F", tags[-1]) if tags else None


def family_of(name: str) -> str:
    """What a name says besides the quantization: equal for the quantizations of one model."""
    words = re.split(r"[^A-Z0-9]+", _TAG.sub(" ", name.upper()))
    return " ".join(word for word in words if word and word not in _FLAVOURS)


def tags_match(wanted: str, tag: str | None) -> bool:
    """Whether `tag` is what `wanted` asks for: `Q2` is matched by `Q2` and by every `Q2_*`."""
    return tag is not None and (tag == wanted or tag.startswith(wanted + "_"))


def best_for(choices: Sequence[T], terms: Terms) -> tuple[T, str]:
    """The `thebloke` rule: which of several quantizations of one model suits the machine, and why.

    1. Q8_0, Q6_K or Q5_K_M, where all of it (weights, KV cache, buffers) fits GPU memory.
    2. Q4_K_M, else the nearest of Q4_K_S, Q5_K_M, Q4_0, Q5_0, else another of 4 bits, else of more, else the
       largest of fewer: the first that fits the budget, with the settings that the manifest leaves open at
       their least.
    3. Nothing fits: the smallest.

    `choices` must not be empty.
    """
    if terms.header is None:
        terms = Terms(terms.budget, terms.init, common_header(_parameters(choices)), terms.projector_bytes)
    found = {id(choice): _fitted(choice, terms) for choice in choices}
    on_gpu = [c for c in choices if c.tag in _ON_GPU and _is_on_gpu(found[id(c)])]
    if on_gpu:  # 1
        best = min(on_gpu, key=lambda choice: _ON_GPU.index(choice.tag or ""))
        needed = found[id(best)].need.gpu / GB
        return best, f"all of it fits the GPU ({needed:.1f} of {terms.budget.gpu_bytes / GB:.1f} GB)"
    ordered = sorted(choices, key=_rank)
    fitting = [choice for choice in ordered if found[id(choice)].is_fitting]
    if not fitting:  # 3
        best = min(choices, key=lambda choice: choice.size_bytes)
        return best, f"the smallest, though it may not fit the {terms.budget} that models may use"
    best = fitting[0]  # 2
    if best is not ordered[0]:
        better = ordered[0]
        total = _total(found[id(better)])
        return best, f"{better.tag or 'a better one'} needs {total}, and models may use {terms.budget}"
    return best, f"the best balance; it needs {_total(found[id(best)])}, and models may use {terms.budget}"


def _fitted(choice: Sized, terms: Terms) -> Fitted:
    weights = choice.size_bytes + terms.projector_bytes
    media = MEDIA_BYTES if terms.projector_bytes else 0
    return fitted(weights, terms.header, terms.init, budget=terms.budget, media=media)


def _is_on_gpu(found: Fitted) -> bool:
    return found.ngl >= found.layers and found.is_fitting


def _total(found: Fitted) -> str:
    return f"{found.need.total / GB:.1f} GB with {found.n_parallel} x {found.ctx_len} tokens"


def _parameters(choices: Sequence[Sized]) -> float:
    """About how many parameters the model has, by the size of what is nearest to four bits."""
    middle = min(choices, key=_rank)
    return middle.size_bytes * 8 / (_bits(middle.tag) + 0.6)


def _rank(choice: Sized) -> tuple[int, bool, int]:
    """Smaller is better: the preferred tags in order, then 4 bits and more, then fewer; of as many bits the
    kind of the preferred ones first."""
    if choice.tag in _PREFERRED:
        return _PREFERRED.index(choice.tag), False, choice.size_bytes
    bits, is_other_kind = _bits(choice.tag), "_K" not in (choice.tag or "")
    if bits >= _FEWEST_BITS:
        return len(_PREFERRED) + bits, is_other_kind, choice.size_bytes
    return len(_PREFERRED) + 100 - bits, False, -choice.size_bytes


def _bits(tag: str | None) -> int:
    digits = re.search(r"32|16|[1-8]", tag or "")
    return int(digits[0]) if digits else 16
