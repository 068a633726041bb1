"""Which binary belongs to which manifest: rules 1 to 5 of the contract, and projectors.

Pure: names, kinds and headers in, a `Choice` out; no file is touched and no sentence about content is made
here (`entries` does both). Neighbours: `modelsets` (what is offered), `quantization` (rule 5).
"""

import fnmatch
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from janagent.folder.estimate import Budget
from janagent.folder.gguf import Header, Kind
from janagent.folder.listing import is_ignored
from janagent.folder.modelsets import FOREIGN, Candidate, ModelSet, base_name, has_binary_suffix, model_sets
from janagent.folder.parameters import InitParameters
from janagent.folder.quantization import PROJECTOR_ORDER, Terms, best_for, tag_of, tags_match

_NO_INIT: Final = InitParameters()


class Offer:
    """The files of one folder as a manifest may claim them; made once for all its manifests."""

    __slots__ = ("_by_folded_name", "_by_stem", "_others", "candidates", "names", "projectors", "sets")

    def __init__(self, candidates: Sequence[Candidate], *, others: Collection[str] = ()) -> None:
        """`others` are names of files that are there and can be no binary: JSON."""
        self.candidates = candidates
        self._others = frozenset(others)
        self.sets = model_sets(candidates)
        self.projectors = [candidate for candidate in candidates if candidate.kind is Kind.PROJECTOR]
        self.names = {candidate.name for candidate in candidates}
        self._by_folded_name: dict[str, list[str]] = {}
        for name in self.names:
            self._by_folded_name.setdefault(name.casefold(), []).append(name)
        self._by_stem: dict[str, list[ModelSet]] = {}
        for model in self.sets:
            self._by_stem.setdefault(model.stem.casefold(), []).append(model)

    def find(self, name: str) -> str | None:
        """The candidate of this name: exactly, else as a name beside the manifest, else but for case."""
        for wanted in (name, base_name(name)):
            if wanted in self.names:
                return wanted
        for wanted in (name, base_name(name)):
            matches = self._by_folded_name.get(wanted.casefold(), [])
            if len(matches) == 1:
                return matches[0]
        return None

    def matching(self, pattern: str) -> set[str]:
        """The candidates that an entry of `files` names: a name, or a glob, which without a slash stays in
        this folder."""
        if is_glob(pattern):
            return {name for name in self.names if _matches(name, pattern)}
        name = self.find(pattern)
        return {name} if name is not None else set()

    def lacks(self, pattern: str) -> bool:
        """Whether nothing at all of that name is there. Of a hidden file nobody can tell, and no model
        depends on one."""
        if any(is_ignored(part) for part in pattern.split("/")):
            return False
        if is_glob(pattern):
            return not any(_matches(name, pattern) for name in self._others)
        return pattern not in self._others

    def adapters_but(self, patterns: Iterable[str]) -> dict[str, Header | None]:
        """The adapters in the manifests' own folder that none of `patterns` selects, with their headers."""
        named = {name for pattern in patterns for name in self.matching(pattern)}
        free = (c for c in self.candidates if c.kind is Kind.ADAPTER and "/" not in c.name)
        return {c.name: c.header for c in sorted(free, key=lambda c: c.name) if c.name not in named}

    def with_stem(self, stem: str) -> list[ModelSet]:
        """The models of this stem, upper and lower case alike."""
        return self._by_stem.get(stem.casefold(), [])


@dataclass(frozen=True, slots=True)
class Claim:
    """What a manifest says about its binaries."""

    stems: tuple[str, ...]
    """Its own stem; for `model.json` the folder's name too."""
    download_name: str | None = None
    files: tuple[str, ...] = ()
    init: InitParameters = _NO_INIT
    """Decides, with the memory, which of several quantizations is meant."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the rules say. No model and nothing else set: there is none."""

    model: ModelSet | None = None
    projector: str | None = None
    adapters: tuple[str, ...] = ()
    """LoRA adapters that `files` names, in its order."""
    absent: tuple[str, ...] = ()
    """Names that the manifest wants and that are not there."""
    rivals: tuple[str, ...] = ()
    """Models between which no rule decides."""
    refused: tuple[str, ...] = ()
    """Names that the manifest claims, none of which is a model."""
    warnings: tuple[str, ...] = ()


def choose(claim: Claim, offer: Offer, *, budget: Callable[[], Budget]) -> Choice:
    """Apply the rules in their order. `budget` is asked for the memory of rule 5 alone: it may have to wait
    for a measurement.

    1. the file named by `download_url`; 2. `files`, names or globs; both are final. 3. the same stem; else a
    name that starts with it; else the only one whose quantization tag equals the stem's. 4. the only model in
    the folder, unless its name carries another tag. 5. several quantizations of one model: the best for the
    machine.
    """
    listed, absent = _listed(claim.files, offer)
    named = offer.find(claim.download_name) if claim.download_name else None
    if claim.download_name and named is None:
        absent = (claim.download_name, *absent)
    if absent:
        return Choice(absent=absent)
    if named is not None:  # rule 1
        choice = _named(named, offer.sets)
    elif claim.files:  # rule 2
        choice = _by_rules(claim, offer, lambda model: not listed.isdisjoint(model.names), budget)
        if choice == Choice():
            choice = Choice(refused=tuple(sorted(listed)))
    elif offer.sets:
        choice = _by_rules(claim, offer, lambda model: "/" not in model.names[0], budget)
    else:
        return Choice()
    return _with_adapters(_with_projector(choice, offer, listed if claim.files else None), claim, offer)


# Rules 1 and 2


def _listed(patterns: Iterable[str], offer: Offer) -> tuple[frozenset[str], tuple[str, ...]]:
    """Names that `files` selects, and those of its entries that select nothing."""
    found: set[str] = set()
    absent: list[str] = []
    for pattern in patterns:
        names = offer.matching(pattern)
        found |= names
        if not names and offer.lacks(pattern):
            absent.append(pattern)
    return frozenset(found), tuple(absent)


def is_glob(pattern: str) -> bool:
    """Whether an entry of `files` stands for any number of names."""
    return any(character in pattern for character in "*?[")


def _matches(name: str, pattern: str) -> bool:
    return ("/" in pattern or "/" not in name) and fnmatch.fnmatchcase(name, pattern)


def _named(name: str, sets: Iterable[ModelSet]) -> Choice:
    for model in sets:
        if name in model.names:
            return Choice(model=model)
    return Choice(refused=(name,))


# Rules 3 to 5


def _by_rules(
    claim: Claim, offer: Offer, is_offered: Callable[[ModelSet], bool], budget: Callable[[], Budget]
) -> Choice:
    pool = _same_stem(claim.stems, offer, is_offered)
    if len(pool) == 1:
        return Choice(model=pool[0])
    sets = [s for s in offer.sets if is_offered(s)]
    pool = pool or _starting_with(claim.stems, sets)
    if len(pool) == 1:
        return Choice(model=pool[0])
    pool = pool or [s for s in sets if _may_be_model(s)]
    wanted = next((tag for stem in claim.stems if (tag := tag_of(stem))), None)
    if wanted is not None:
        matching = [s for s in pool if tags_match(wanted, s.tag)]
        pool = matching or [s for s in pool if s.named_tag is None]
    return _only_or_best(pool, claim, offer, budget)


def _same_stem(stems: Iterable[str], offer: Offer, is_offered: Callable[[ModelSet], bool]) -> list[ModelSet]:
    for stem in stems:
        same = [s for s in offer.with_stem(stem) if is_offered(s) and _claims_to_be_model(s)]
        if same:
            exact = [s for s in same if s.stem == stem]
            good = [s for s in exact or same if s.kind is Kind.MODEL]
            return good or exact or same
    return []


def _starting_with(stems: Iterable[str], sets: Iterable[ModelSet]) -> list[ModelSet]:
    sets = [s for s in sets if _may_be_model(s)]
    for stem in filter(None, stems):
        begins = [s for s in sets if s.stem.casefold().startswith(stem.casefold())]
        # `phi-2` means phi-2.Q4_0 rather than phi-25, where both are there.
        at_a_word = [s for s in begins if not s.stem[len(stem) : len(stem) + 1].isalnum()]
        if begins:
            return at_a_word or begins
    return []


def _only_or_best(
    pool: Sequence[ModelSet], claim: Claim, offer: Offer, budget: Callable[[], Budget]
) -> Choice:
    good = [s for s in pool if s.kind in (Kind.MODEL, Kind.PART)] or pool
    if len(good) == 1:  # rule 4
        return Choice(model=good[0])
    rivals = [s for s in good if s.header is not None]
    if not rivals:
        return Choice(model=good[0]) if good else Choice()
    if len({_dimensions(s.header) for s in rivals}) > 1:
        return Choice(rivals=tuple(s.names[0] for s in rivals))
    whole = [s for s in rivals if not s.absent and _is_long_enough(s)] or rivals
    if len(whole) == 1:
        best, reason = whole[0], "the only one that is all there"
    else:  # rule 5
        terms = Terms(budget(), claim.init, whole[0].header, _projector_bytes(whole[0], offer))
        best, reason = best_for(whole, terms)
    rest = ", ".join(s.names[0] for s in good if s is not best)
    words = f"{best.names[0]} was chosen among several quantizations ({reason}); the others are {rest}"
    return Choice(model=best, warnings=(words,))


def _projector_bytes(model: ModelSet, offer: Offer) -> int:
    name = fitting_projector(model, offer.projectors)
    return next((p.size_bytes for p in offer.projectors if p.name == name), 0)


def _may_be_model(model: ModelSet) -> bool:
    """Whether it can be taken for a model without being named: by content, else by the name's suffix."""
    if model.kind in (Kind.MODEL, Kind.PART):
        return True
    name = base_name(model.names[0]).lower()
    if model.kind in FOREIGN or "mmproj" in name or name.endswith(".proj"):
        return False
    return model.kind is not Kind.SAFETENSORS and has_binary_suffix(name)


def _claims_to_be_model(model: ModelSet) -> bool:
    return model.kind not in (Kind.OTHER, Kind.EMPTY, Kind.UNREADABLE) or has_binary_suffix(model.names[0])


def _dimensions(header: Header | None) -> tuple[object, ...]:
    if header is None:
        return ()
    return (
        header.architecture,
        header.block_count,
        header.embedding_length,
        header.head_count,
        header.head_count_kv,
        header.expert_count,
    )


def _is_long_enough(model: ModelSet) -> bool:
    return len(model.names) > 1 or (
        model.header is not None and model.size_bytes >= model.header.required_bytes
    )


# Projectors


def _with_projector(choice: Choice, offer: Offer, listed: frozenset[str] | None) -> Choice:
    model = choice.model
    if model is None or model.header is None or not offer.projectors:
        return choice
    here = [p for p in offer.projectors if (p.name in listed if listed is not None else "/" not in p.name)]
    projector = fitting_projector(model, here)
    warnings = choice.warnings
    if listed is not None and here and projector is None:
        names = ", ".join(candidate.name for candidate in here)
        warnings = (*warnings, f"{names} does not fit {model.names[0]} and is not used")
    return Choice(model=model, projector=projector, warnings=warnings)


def fitting_projector(model: ModelSet, projectors: Sequence[Candidate]) -> str | None:
    """The name of the projector that goes with `model`: one whose header fits, the best format first."""
    if model.header is None:
        return None
    width = model.header.embedding_length
    fitting = [p for p in projectors if p.header and p.header.projector_embedding_length == width]
    if not fitting and len(projectors) == 1:
        header = projectors[0].header
        # An old projector does not say what it fits; alone in the folder there is nothing to confuse it with.
        fitting = list(projectors) if header and header.projector_embedding_length is None else []
    words = _words(model.stem)

    def preference(candidate: Candidate) -> tuple[int, int, str]:
        tag = (candidate.header.quantization if candidate.header else None) or tag_of(candidate.name) or ""
        order = PROJECTOR_ORDER.index(tag) if tag in PROJECTOR_ORDER else len(PROJECTOR_ORDER)
        return order, -len(words & _words(candidate.name)), candidate.name

    return min(fitting, key=preference).name if fitting else None


# Adapters


def _with_adapters(choice: Choice, claim: Claim, offer: Offer) -> Choice:
    if choice.model is None:
        return choice
    kinds = {candidate.name: candidate.kind for candidate in offer.candidates}
    named = [name for pattern in claim.files for name in sorted(offer.matching(pattern))]
    adapters = dict.fromkeys(name for name in named if kinds[name] is Kind.ADAPTER)
    return replace(choice, adapters=tuple(adapters))


def _words(name: str) -> frozenset[str]:
    return frozenset(re.split(r"[^a-z0-9]+", name.lower()))
