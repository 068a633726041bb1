"""The quantizations that a repo offers: its GGUF files by name, split ones put together, and its projectors.

Pure: names and sizes in, files and a reason out. Neighbour: `folder.quantization`, whose rule is used, so
that what is fetched is what the catalog would choose.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from janagent.fetch.plan import RemoteFile
from janagent.folder.estimate import Budget
from janagent.folder.modelsets import SPLIT, stem_of
from janagent.folder.quantization import PROJECTOR_ORDER, Terms, best_for, family_of, tag_of

_NO_MODEL = re.compile(r"imatrix|(?:^|[^a-z])(?:lora|vocab)(?:[^a-z]|$)")
"""Words in the name of a GGUF that is something else."""
_GB = 1e9
_PLENTY = 1 << 60


@dataclass(frozen=True, slots=True)
class Quantization:
    """One alternative: a file, or all parts of a split one."""

    name: str
    tag: str | None
    files: tuple[RemoteFile, ...]
    parts: int = 1
    """How many there should be."""

    @property
    def is_whole(self) -> bool:
        """All parts are there."""
        return len(self.files) == self.parts

    @property
    def size_bytes(self) -> int:
        """Of all its files; those nobody told the size of count as 0."""
        return sum(file.size_bytes or 0 for file in self.files)


def is_gguf(file: RemoteFile) -> bool:
    """Whether the name says it is one."""
    return file.name.lower().endswith(".gguf")


def is_projector(file: RemoteFile) -> bool:
    """Whether the name says it is one."""
    return is_gguf(file) and "mmproj" in _base(file.name)


def offered(files: Sequence[RemoteFile]) -> list[Quantization]:
    """The quantizations of the model that a repo is about: whole ones, and of several models the largest.
    What else a repo may hold are draft models for speculation, and variants that no llama.cpp reads any more.
    """
    families: dict[str, list[Quantization]] = {}
    for choice in gguf_sets(files):
        if choice.is_whole:
            families.setdefault(family_of(stem_of(choice.name)), []).append(choice)
    return max(families.values(), key=lambda family: sum(one.size_bytes for one in family), default=[])


def gguf_sets(files: Sequence[RemoteFile]) -> list[Quantization]:
    """All models among `files`, split ones put together, whole or not."""
    sets: dict[tuple[str, str], list[RemoteFile]] = {}
    for file in files:
        if is_gguf(file) and not is_projector(file) and not _NO_MODEL.search(_base(file.name)):
            split = SPLIT.fullmatch(file.name)
            sets.setdefault((split[1], split[3]) if split else (file.name, ""), []).append(file)
    return [
        Quantization(
            key[0], tag_of(key[0]), tuple(sorted(found, key=lambda file: file.name)), int(key[1] or 1)
        )
        for key, found in sorted(sets.items())
    ]


def choose(choices: Sequence[Quantization], terms: Terms) -> tuple[Quantization, str]:
    """The one for this machine, and why. `choices` must not be empty."""
    if len(choices) == 1:
        return choices[0], f"{_called(choices[0])} is the only one there"
    best, reason = best_for(choices, terms)
    return best, f"{_called(best)} was chosen among {len(choices)}: {reason}"


def likeliest(choices: Sequence[Quantization]) -> Quantization:
    """What most machines take. `choices` must not be empty."""
    return best_for(choices, Terms(Budget(_PLENTY)))[0]


def projector(files: Sequence[RemoteFile]) -> RemoteFile | None:
    """The projector to take along, the best format first."""

    def preference(file: RemoteFile) -> tuple[int, str]:
        tag = tag_of(file.name)
        return (PROJECTOR_ORDER.index(tag) if tag in PROJECTOR_ORDER else len(PROJECTOR_ORDER)), file.name

    return min((file for file in files if is_projector(file)), key=preference, default=None)


def _called(choice: Quantization) -> str:
    return f"{choice.tag or choice.name} ({choice.size_bytes / _GB:.1f} GB)"


def _base(name: str) -> str:
    return name.rpartition("/")[2].lower()
