"""Defaults that a repo has for its model, for what the manifest leaves open.

A fetch with the import format `janhq` finds them in the repo. They may only be numbers and pieces of the
prompt, whoever wrote the file. Kept in `.janagent/defaults`, one file for each artifact key (see `derived`):
another origin has other defaults, or none. Neighbours: `fetch` saves, `catalog` merges, `scanning` sweeps.
"""

import contextlib
import json
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from janagent.folder.estimate import Budget, common_header, fitted
from janagent.folder.gguf import Header
from janagent.folder.hidden import made_in
from janagent.folder.manifest import NO_INIT, NO_RUNTIME, Manifest
from janagent.folder.origin import ImportFormat
from janagent.folder.parameters import InitParameters, RuntimeParameters
from janagent.folder.sections import Findings, SectionT, over, read_section

FOLDER = ".janagent/defaults"
INIT_FIELDS = ("ctx_len", "n_parallel", "ngl", "n_batch", "pre_prompt", "user_prompt", "ai_prompt")
RUNTIME_FIELDS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "max_tokens",
    "token_limit",
    "presence_penalty",
    "frequency_penalty",
    "repeat_penalty",
    "seed",
    "stop",
)
LARGEST_BYTES = 64 << 10
_BITS_OF_A_WEIGHT = 4.6
_NAME = re.compile(r"([0-9a-f]{32})\.json")
_MOST_ITEMS = 16
_LONGEST_TEXT = 8192


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a repo proposes; fields that are not set propose nothing."""

    init: InitParameters = NO_INIT
    runtime: RuntimeParameters = NO_RUNTIME

    @property
    def is_empty(self) -> bool:
        """Nothing is proposed."""
        return not (self.init.model_fields_set or self.runtime.model_fields_set)


NO_DEFAULTS = Defaults()


def defaults_of(init: Mapping[str, Any], runtime: Mapping[str, Any]) -> tuple[Defaults, tuple[str, ...]]:
    """What of `init` and `runtime` may be a default; and sentences about values that cannot be."""
    findings = Findings(())
    found = Defaults(
        _section(InitParameters, init, INIT_FIELDS, findings),
        _section(RuntimeParameters, runtime, RUNTIME_FIELDS, findings),
    )
    return found, tuple(problem.message for problem in findings.problems)


def _section(
    section: type[SectionT], raw: Mapping[str, Any], names: Collection[str], findings: Findings
) -> SectionT:
    known = {name: raw[name] for name in names if name in raw and _is_plain(raw[name])}
    return read_section(section, known, "", findings)


def _is_plain(value: Any) -> bool:
    """A number or a bearable text, or a short list of them. Whatever else a file holds is not looked at."""
    if isinstance(value, list):
        return len(value) <= _MOST_ITEMS and all(isinstance(item, str) and _is_plain(item) for item in value)
    if isinstance(value, str):
        return len(value) <= _LONGEST_TEXT
    return isinstance(value, int | float) and not isinstance(value, bool)


def merged(manifest: Manifest, defaults: Mapping[str, Defaults], artifact_key: str) -> Manifest:
    """`manifest` with the defaults of its repo below its own values.

    The prompt's pieces belong together: whoever writes one of them gets none of the repo's.
    """
    found = defaults.get(artifact_key)
    if found is None or manifest.effective_import_format is not ImportFormat.JANHQ:
        return manifest
    init, runtime = found.init, found.runtime
    own = manifest.init
    if own.user_prompt is not None or own.ai_prompt is not None or own.chat_template is not None:
        init = _without(init, ("pre_prompt", "user_prompt", "ai_prompt"))
    if manifest.runtime.token_limit is not None or manifest.runtime.max_tokens is not None:
        runtime = _without(runtime, ("max_tokens", "token_limit"))
    return replace(manifest, init=over(init, own), runtime=over(runtime, manifest.runtime))


def _without(section: SectionT, names: Collection[str]) -> SectionT:
    kept = {name: getattr(section, name) for name in section.model_fields_set if name not in names}
    return type(section).model_construct(**kept)


def affordable(
    defaults: Defaults, *, weights: int, header: Header | None, init: InitParameters, budget: Budget
) -> Defaults:
    """`defaults` without the context and the number of conversations where the model would not fit with them.

    What a person writes is refused when it cannot fit; what a repo proposes must never make a model unusable.
    `init` is the manifest's.
    """
    header = header or common_header(weights * 8 / _BITS_OF_A_WEIGHT)
    if fitted(weights, header, over(defaults.init, init), budget=budget).is_fitting:
        return defaults
    return replace(defaults, init=_without(defaults.init, ("ctx_len", "n_parallel")))


def defaults_path(models: Path, artifact_key: str) -> Path:
    """Where the defaults of the models with this artifact key are, if there are any."""
    return models / FOLDER / f"{artifact_key}.json"


def save(path: Path, defaults: Defaults) -> None:
    """Write them to `path`; empty ones take away what was there. Raises OSError."""
    if defaults.is_empty:
        path.unlink(missing_ok=True)
        return
    body = {"init": defaults.init.shown(), "runtime": defaults.runtime.shown()}
    draft, place = path.with_suffix(".new"), path.parents[2]
    folder = str(path.parent.relative_to(place))
    made_in(place, folder, lambda: draft.write_text(json.dumps(body), encoding="utf-8"))
    os.replace(draft, path)


def read_all(models: Path) -> Mapping[str, Defaults]:
    """Artifact key -> defaults. A file that cannot be read, or was not written by us, says nothing."""
    try:
        names = os.listdir(models / FOLDER)
    except OSError:
        return {}
    found: dict[str, Defaults] = {}
    for name in names:
        if match := _NAME.fullmatch(name):
            with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
                found[match[1]] = _read(models / FOLDER / name)
    return found


def _read(path: Path) -> Defaults:
    with path.open("rb") as file:
        said = json.loads(file.read(LARGEST_BYTES))
    init, runtime = said.get("init"), said.get("runtime")
    is_ours = isinstance(init, dict) and isinstance(runtime, dict)
    return defaults_of(init, runtime)[0] if is_ours else NO_DEFAULTS


def sweep(models: Path, wanted: Callable[[], Collection[str] | None]) -> None:
    """Take away those that belong to no artifact key of `wanted`, which is asked only if there are any; None:
    nobody knows at the moment."""
    folder = models / FOLDER
    with contextlib.suppress(OSError):
        names = os.listdir(folder)
        keys = wanted()
        for name in names:
            if keys is not None and name.partition(".")[0] not in keys:
                (folder / name).unlink(missing_ok=True)
        folder.rmdir()  # where it is empty
        folder.parent.rmdir()
