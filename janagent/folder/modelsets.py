"""Files of a folder as models: names without suffix, the parts of a split set put together.

Pure. Neighbour: `pairing`, which decides whose they are. Names are paths relative to the manifest's folder.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from janagent.folder.gguf import Header, Kind
from janagent.folder.quantization import tag_of

BINARY_SUFFIXES: Final = (".gguf", ".ggml", ".bin", ".proj")
_SUFFIXES: Final = (*BINARY_SUFFIXES, ".json")
SPLIT: Final = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.[^./]*)?", re.DOTALL)
"""The name of a part: stem, number, how many there are, suffix."""
_MOST_NAMED: Final = 10
_STARTED: Final = frozenset({Kind.INCOMPLETE_HEADER, Kind.EMPTY})
"""Kinds of a file that may still become a model."""
FOREIGN: Final = frozenset({Kind.PROJECTOR, Kind.ADAPTER, Kind.VOCAB_ONLY})
"""Kinds of a GGUF that is no model of its own."""
NOT_MODELS: Final = {
    Kind.PROJECTOR: "is a projector, not a model: name the model's own file",
    Kind.ADAPTER: "is a LoRA adapter, not a model: name the model's own file too",
    Kind.PART: "is a later part of a split set: name its first part",
}
"""What a manifest is told that names such a file for its model."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One file of the folder that is no JSON."""

    name: str
    kind: Kind
    size_bytes: int
    header: Header | None = None


@dataclass(frozen=True, slots=True)
class ModelSet:
    """One model as files: a single one, or the parts of a split set in order."""

    names: tuple[str, ...]
    """The parts that are there; the first name stands for the set, there or not."""
    kind: Kind
    size_bytes: int
    header: Header | None
    """Of the first part."""
    stem: str
    """Name without suffix and part number."""
    absent: tuple[str, ...] = ()
    """Parts that should be there (the first few of them)."""
    is_misnamed: bool = False
    """A split set whose name llama.cpp cannot take the other parts' names from."""

    @property
    def tag(self) -> str | None:
        """Quantization by the name, else by the header."""
        return self.named_tag or (tag_of(self.header.quantization or "") if self.header else None)

    @property
    def named_tag(self) -> str | None:
        """Quantization by the name alone."""
        return tag_of(base_name(self.stem))


def stem_of(name: str) -> str:
    """File name without folder, `.json` or a binary's suffix, and part number; `""` for a bare `.gguf`."""
    name = base_name(name)
    if "-of-" in name and (split := SPLIT.fullmatch(name)) is not None:
        return split[1]
    return _without(name, _SUFFIXES)


def has_binary_suffix(name: str) -> bool:
    """Whether a name claims to be a binary, whatever the content."""
    return name.lower().endswith(BINARY_SUFFIXES)


def model_sets(candidates: Iterable[Candidate]) -> list[ModelSet]:
    """The models among `candidates`, parts put together, in path order.

    A file is part of a set when its header says so, or its name while it has no header. Parts without their
    first part make a set too: part 1 is then the first of `absent`.
    """
    singles: list[ModelSet] = []
    parts: dict[tuple[str, int, str], dict[int, Candidate]] = {}
    for candidate in candidates:
        if candidate.kind in FOREIGN:
            continue
        split = SPLIT.fullmatch(candidate.name) if "-of-" in candidate.name else None
        header = candidate.header
        is_split = header.split_count > 1 if header else candidate.kind in _STARTED
        if split is not None and is_split and int(split[3]) > 1:
            key = (split[1], int(split[3]), split[4] or "")
            parts.setdefault(key, {})[int(split[2])] = candidate
        elif candidate.kind is not Kind.PART:
            singles.append(_single(candidate))
    sets = [_put_together(key, found) for key, found in parts.items()]
    return sorted(singles + sets, key=lambda model: model.names[0])


def _single(candidate: Candidate) -> ModelSet:
    header = candidate.header
    return ModelSet(
        names=(candidate.name,),
        kind=candidate.kind,
        size_bytes=candidate.size_bytes,
        header=header,
        stem=_whole_stem(candidate.name),
        is_misnamed=header is not None and header.split_count > 1,
    )


def _whole_stem(name: str) -> str:
    """As `stem_of`, but a part number stays: a single file that is named like a part."""
    return _without(base_name(name), BINARY_SUFFIXES)


def _without(name: str, suffixes: tuple[str, ...]) -> str:
    lower = name.lower()
    if lower.endswith(suffixes):
        return name[: lower.rindex(".")]
    return name


def _put_together(key: tuple[str, int, str], found: dict[int, Candidate]) -> ModelSet:
    prefix, count, suffix = key

    def part_name(number: int) -> str:
        return f"{prefix}-{number:05d}-of-{count:05d}{suffix}"

    absent: list[str] = []
    for number in range(1, count + 1):
        if number not in found and len(absent) < _MOST_NAMED:
            absent.append(part_name(number))
    first = found.get(1)
    names = [found[number].name for number in sorted(found) if number != 1]
    return ModelSet(
        names=(part_name(1), *names),
        kind=first.kind if first is not None else Kind.PART,
        size_bytes=sum(candidate.size_bytes for candidate in found.values()),
        header=first.header if first is not None else None,
        stem=base_name(prefix),
        absent=tuple(absent),
    )


def base_name(name: str) -> str:
    """The name without its folder."""
    return name.rpartition("/")[2]
