"""Builds the models of one folder: which JSON is a manifest, what it claims, what is left over.

Owns the sentences of faults about files. The rules themselves are in `pairing`, what a file holds in
`contents`, where files are in `tree`; ids are given later by `catalog`. One folder is built from scratch each
time.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from janagent.folder.adapters import misfits, unnamed
from janagent.folder.apis import api_doubts
from janagent.folder.contents import Look, inspection, is_open_to_others, read_json, wholeness
from janagent.folder.defaults import Defaults, merged
from janagent.folder.derived import MODEL_JSON, artifact_key, names_of, reaches_below, runtime_key, source_of
from janagent.folder.doubts import doubts
from janagent.folder.entry import PARTS_MISSING, Binary, Condition, ModelEntry, Role
from janagent.folder.estimate import Budget
from janagent.folder.fault import Fault
from janagent.folder.gguf import Header, Inspection, Kind
from janagent.folder.ids import Names
from janagent.folder.listing import join
from janagent.folder.manifest import DEFAULT, Manifest, Reading
from janagent.folder.modelsets import NOT_MODELS, Candidate, ModelSet, has_binary_suffix, stem_of
from janagent.folder.pairing import Choice, Claim, Offer, choose, fitting_projector
from janagent.folder.tree import SETTLE_S, File, Folder, Tree
from janagent.folder.verdict import Verdict

HOT_LOAD_AFTER_S: Final = 2.0
"""An unclaimed file may only wait for its manifest; so long it is not hot-loaded (contract, section 1)."""
_HIDDEN_KINDS: Final = frozenset({Kind.PROJECTOR, Kind.PART, Kind.ADAPTER, Kind.VOCAB_ONLY})


@dataclass(frozen=True, slots=True)
class Draft:
    """A model whose id and sharing are still open."""

    entry: ModelEntry
    names: Names
    is_settling: bool = False
    """It lacks nothing but that its files stand still for a moment."""


@dataclass(frozen=True, slots=True)
class Built:
    """What one folder amounts to."""

    drafts: tuple[Draft, ...] = ()
    again_in_s: float | None = None
    """Look again after this long: something may settle without an event."""
    problems: tuple[str, ...] = ()
    claims: frozenset[str] = frozenset()
    """Binaries that its manifests claim, as paths below `models`."""
    reaches_below: bool = False
    """A manifest names files in folders below this one."""


class Builder:
    """One run over one folder: what models it holds."""

    def __init__(
        self,
        tree: Tree,
        folder: Folder,
        *,
        now: float,
        budget: Callable[[], Budget],
        taken: Collection[str],
        defaults: Mapping[str, Defaults],
    ) -> None:
        """`taken`: paths below `models` that manifests in folders above have claimed. `defaults`: artifact
        key -> what repos propose."""
        self._tree = tree
        self._folder = folder
        self._now = now
        self._budget = budget
        self._taken = taken
        self._defaults = defaults
        self._files: dict[str, tuple[Folder, File]] = {}
        self._jsons: set[str] = set()
        """Named as `_files` are; no binaries, but `files` may ask for one."""
        self._found: dict[str, Inspection] = {}
        self._stems_here: dict[str, list[str]] = {}
        self._manifest_stems: set[str] = set()
        self._unnamed: Mapping[str, Header | None] = {}
        self._claims: set[str] = set()
        self._again_in_s: float | None = None

    def build(self) -> Built:
        """The models of the folder."""
        jsons: list[File] = []
        for file in self._folder.files.values():
            if file.name.lower().endswith(".json"):
                jsons.append(file)
            else:
                self._files[file.name] = (self._folder, file)
        manifests = list(self._manifests(jsons))
        self._manifest_stems = {stem_of(file.name).casefold() for file, _, _ in manifests}
        is_reaching = any(reaches_below(reading.manifest) for _, _, reading in manifests)
        if is_reaching:
            self._add_files_below()
        self._jsons.update(file.name for file in jsons)
        offer = Offer([self._candidate(name) for name in self._files], others=self._jsons)
        named = (pattern for _, _, reading in manifests for pattern in (reading.manifest or DEFAULT).files)
        self._unnamed = offer.adapters_but(named)
        drafts = [self._claimed_model(file, look, reading, offer) for file, look, reading in manifests]
        if not any(draft.entry.condition is Condition.INVALID for draft in drafts):
            drafts.extend(self._unclaimed_models(offer))
        return Built(
            drafts=tuple(drafts),
            again_in_s=self._again_in_s,
            problems=self._problems(drafts),
            claims=frozenset(self._claims),
            reaches_below=is_reaching,
        )

    # Files

    def _wait(self, again_in_s: float | None) -> None:
        if again_in_s is not None and (self._again_in_s is None or again_in_s < self._again_in_s):
            self._again_in_s = again_in_s

    def _add_files_below(self) -> None:
        start = join(self._folder.name, "")
        for name, folder in self._tree.folders.items():
            if name.startswith(start) and name != self._folder.name:
                for file in folder.files.values():
                    path = f"{name[len(start) :]}/{file.name}"
                    if file.name.lower().endswith(".json"):
                        self._jsons.add(path)
                    else:
                        self._files[path] = (folder, file)

    def _inspect(self, name: str) -> Inspection:
        found = self._found.get(name)
        if found is None:
            folder, file = self._files[name]
            found = self._found[name] = inspection(folder, file, now=self._now)
        return found

    def _candidate(self, name: str) -> Candidate:
        found = self._inspect(name)
        return Candidate(name, found.kind, self._files[name][1].size_bytes, found.header)

    def _key(self, name: str) -> str:
        return join(self._folder.name, name)

    # Manifests

    def _manifests(self, jsons: Iterable[File]) -> Iterable[tuple[File, Look, Reading]]:
        for file in jsons:
            look = read_json(self._folder, file, now=self._now)
            self._wait(look.again_in_s)
            if look.reading is not None and (look.reading.is_manifest_like or self._is_named_so(file)):
                yield file, look, look.reading

    def _is_named_so(self, file: File) -> bool:
        """Whether its name makes a JSON a manifest: `model.json`, or the stem of a binary beside it."""
        if file.name.lower() == MODEL_JSON:
            return True
        if not self._stems_here:
            for name in self._files:
                self._stems_here.setdefault(stem_of(name), []).append(name)
        return any(
            has_binary_suffix(name) or self._inspect(name).kind is not Kind.OTHER
            for name in self._stems_here.get(stem_of(file.name), ())
        )

    def _claimed_model(self, file: File, look: Look, reading: Reading, offer: Offer) -> Draft:
        manifest = reading.manifest or DEFAULT
        if self._defaults:
            manifest = merged(manifest, self._defaults, artifact_key(manifest))
        verdict = Verdict()
        if reading.fault is not None or reading.manifest is None:
            fault = reading.fault or Fault("invalid", "the file holds no JSON object")
            verdict.fail(Condition.INVALID, fault.code, fault.message)
        elif manifest.is_remote:
            is_open = is_open_to_others(self._folder, file)
            verdict.warnings.extend(api_doubts(manifest, self._folder.real_path(file), is_open=is_open))
        else:
            claim = Claim(self._stems(file), manifest.download_name, manifest.files, manifest.init)
            choice = choose(claim, offer, budget=self._budget)
            verdict = self._judge(choice, file.name, manifest)
            if choice.model is not None:
                verdict.warnings.extend(
                    doubts(choice.model, manifest, stems=self._stems(file), others=self._manifest_stems)
                )
        return self._draft(file, manifest, verdict, mtime_ns=look.mtime_ns, warnings=reading.warnings)

    def _stems(self, file: File) -> tuple[str, ...]:
        stem = stem_of(file.name)
        return (stem, self._folder_name()) if file.name.lower() == MODEL_JSON else (stem,)

    def _folder_name(self) -> str:
        return self._folder.name.rpartition("/")[2] or "models"

    def _judge(self, choice: Choice, json_name: str, manifest: Manifest) -> Verdict:
        verdict = Verdict(warnings=list(choice.warnings))
        if choice.model is not None:
            self._judge_files(verdict, choice.model, choice.projector, choice.adapters)
            headers = {name: self._inspect(name).header for name in choice.adapters}
            for message in misfits(headers, verdict.header, manifest.init.lora_scale):
                verdict.fail(Condition.INVALID, "invalid", message)
            for binary in verdict.binaries:
                self._claims.add(binary.path.partition("/")[2])
            for name in (*choice.model.names, *((choice.projector,) if choice.projector else ())):
                if name in self._files:
                    claimed = self._files[name][1]
                    claimed.claimed, claimed.unclaimed_since = claimed.identity[:2], None
        elif choice.absent:
            names = ", ".join(choice.absent)
            is_are, it = ("is", "it") if len(choice.absent) == 1 else ("are", "them")
            message = f"{names} {is_are} not there: put {it} beside {json_name}{_source(manifest)}"
            verdict.fail(Condition.MISSING, "missing", message)
        elif choice.rivals:
            verdict.fail(
                Condition.INVALID,
                "invalid",
                f"several models are beside {json_name}, and nothing says which one is meant: "
                f"{', '.join(choice.rivals)}. Name one in download_url or files, or give it the same stem",
            )
        elif choice.refused:
            name = choice.refused[0]
            verdict.fail(Condition.INVALID, "invalid", f"{name} {self._refusal(name)}")
        else:
            message = f"no model file: put a GGUF beside {json_name}{_source(manifest)}"
            verdict.fail(Condition.MISSING, "missing", message)
        return verdict

    # Binaries

    def _judge_files(
        self, verdict: Verdict, model: ModelSet, projector: str | None, adapters: Iterable[str] = ()
    ) -> None:
        """Fill in binaries, header and the first fault of a model's files."""
        verdict.header = model.header
        first, *_ = model.names
        roles = {
            name: Role.MODEL if name == first else Role.PART for name in model.names if name in self._files
        }
        if projector is not None:
            roles[projector] = Role.PROJECTOR
            verdict.projector = self._inspect(projector).header
        roles |= dict.fromkeys(adapters, Role.ADAPTER)
        verdict.binaries = tuple(self._binary(name, role) for name, role in roles.items())
        for name in roles:
            self._judge_kind(verdict, name)
        if model.is_misnamed and model.header is not None:
            count = model.header.split_count
            verdict.fail(
                Condition.INVALID,
                "invalid",
                f"{first} is the first of {count} parts, but only a name that ends in "
                f"-00001-of-{count:05d}.gguf leads to the others: rename it",
            )
        for name in roles:
            self._judge_size(verdict, name)
        if model.absent:  # after the sizes: while a person still copies parts, none are fetched
            names = ", ".join(model.absent)
            message = f"incomplete: {names} of a split set not there; put it beside the others"
            verdict.fail(Condition.MISSING, PARTS_MISSING, message)
        if model.header is not None:
            verdict.warnings.extend(f"{first}: {note}" for note in model.header.notes)
            verdict.warnings.extend(unnamed(self._unnamed, model.header))

    def _judge_kind(self, verdict: Verdict, name: str) -> None:
        found = self._inspect(name)
        if self._files[name][1].broken:
            message = f"{name} {found.message}: bring that file back, or replace the link"
            verdict.fail(Condition.MISSING, "missing", message)
        elif found.header is None and found.kind not in (Kind.EMPTY, Kind.INCOMPLETE_HEADER):
            verdict.fail(Condition.INVALID, "invalid", f"{name} {self._refusal(name)}")
        elif found.kind is Kind.VOCAB_ONLY:
            verdict.fail(Condition.INVALID, "invalid", f"{name} {found.message}: get the model itself")

    def _judge_size(self, verdict: Verdict, name: str) -> None:
        folder, file = self._files[name]
        whole = wholeness(folder, file, self._inspect(name), now=self._now)
        self._wait(whole.again_in_s)
        if whole.lack:
            message = f"incomplete: {whole.lack} ({name})"
            verdict.fail(Condition.MISSING, "incomplete", message, is_settling=whole.is_settling)

    def _refusal(self, name: str) -> str:
        found = self._inspect(name)
        if found.kind is Kind.UNREADABLE:
            return f"{found.message}: make it readable for janagent"
        return NOT_MODELS.get(found.kind) or found.message or "is no model"

    def _binary(self, name: str, role: Role) -> Binary:
        folder, file = self._files[name]
        return Binary(
            path=f"models/{join(folder.name, file.name)}",
            real_path=Path(folder.real_path(file)),
            size_bytes=file.size_bytes,
            role=role,
            shared=False,
            identity=file.identity,
        )

    # What no manifest claims

    def _unclaimed_models(self, offer: Offer) -> Iterable[Draft]:
        projectors = [projector for projector in offer.projectors if "/" not in projector.name]
        for model in offer.sets:
            if "/" in model.names[0] or not self._is_listed(model):
                continue
            file = self._files[model.names[0]][1]
            verdict = Verdict()
            self._judge_files(verdict, model, fitting_projector(model, projectors))
            if file.unclaimed_since is None:
                file.unclaimed_since = self._now
            yield self._draft(file, None, verdict, mtime_ns=file.mtime_ns)

    def _is_listed(self, model: ModelSet) -> bool:
        """A GGUF is, and a file that calls itself one in its name, so that its fault can be seen."""
        name = model.names[0]
        if model.kind in _HIDDEN_KINDS or name not in self._files:
            return False
        if any(self._key(part) in self._claims or self._key(part) in self._taken for part in model.names):
            return False
        if model.kind is Kind.MODEL:
            return True
        file = self._files[name][1]
        young_for_s = SETTLE_S - (self._now - file.since)
        if model.kind is Kind.EMPTY and young_for_s > 0:
            self._wait(young_for_s)
            return False
        return name.lower().endswith(".gguf")

    # Entries

    def _draft(
        self,
        file: File,
        manifest: Manifest | None,
        verdict: Verdict,
        *,
        mtime_ns: int,
        warnings: Iterable[str] = (),
    ) -> Draft:
        shown = manifest or DEFAULT
        is_invalid = verdict.condition is Condition.INVALID
        entry = ModelEntry(
            key=self._key(file.name),
            id="",
            aliases=(),
            path=f"models/{self._key(file.name)}",
            manifest=shown,
            has_manifest=manifest is not None,
            condition=verdict.condition,
            fault=verdict.fault,
            warnings=(*warnings, *verdict.warnings),
            binaries=verdict.binaries,
            header=verdict.header,
            projector=verdict.projector,
            created=mtime_ns // 1_000_000_000 if shown.created is None else shown.created,
            owned_by=shown.owned_by or shown.origin_owner or "local",
            artifact_key="" if is_invalid else artifact_key(shown),
            runtime_key="" if is_invalid else runtime_key(shown, verdict.binaries),
        )
        names = names_of(folder=self._folder.name, file_name=file.name, manifest=manifest)
        shown_entry = entry if manifest is not None else _waiting(entry, file)
        return Draft(shown_entry, names, verdict.is_settling)

    def _problems(self, drafts: Iterable[Draft]) -> tuple[str, ...]:
        """What is wrong in the folder and not already the fault of one of its models."""
        shown = tuple(f"{draft.entry.key}: " for draft in drafts)
        return tuple(problem for problem in self._folder.problems if not problem.startswith(shown))


def _waiting(entry: ModelEntry, file: File) -> ModelEntry:
    """A bare model: its manifest may be about to come, or was just removed."""
    return replace(
        entry,
        hot_load_after_s=(file.unclaimed_since or 0.0) + HOT_LOAD_AFTER_S,
        may_hot_load=file.claimed != file.identity[:2],
    )


def _source(manifest: Manifest) -> str:
    source = source_of(manifest)
    return f" (it comes from {source})" if source else ""
