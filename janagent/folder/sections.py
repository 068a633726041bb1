"""Reads one section of a manifest: known fields into values, the wrong and the unknown into words.

Owns the words about fields: what a field allows, and which one was probably meant. Knows the shape of a
section (`parameters.Section`), not which sections a manifest has; that is `manifest`'s business.
"""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import ValidationError

from janagent.folder.parameters import Section, field_names, is_unset
from janagent.redact import HIDDEN, is_secret_name, redact

_LONGEST_SHOWN = 80
MAX_SENTENCES = 20
_SYNONYMS = {
    "apibase": "origin",
    "contextlength": "ctx_len",
    "contextsize": "ctx_len",
    "deployment": "DEPLOYMENT-NAME",
    "gpulayers": "ngl",
    "maxcompletiontokens": "max_tokens",
    "maxnewtokens": "max_tokens",
    "model": "MODEL-NAME",
    "nbatchsize": "n_batch",
    "nctx": "ctx_len",
    "ngpulayers": "ngl",
    "npredict": "max_tokens",
    "numctx": "ctx_len",
    "numpredict": "max_tokens",
    "numgpu": "ngl",
    "parallel": "n_parallel",
    "prompttemplate": "chat_template",
    "repetitionpenalty": "repeat_penalty",
    "stopsequences": "stop",
    "systemprompt": "pre_prompt",
    "threads": "n_threads",
}
"""What other programs call our fields, without punctuation."""

SectionT = TypeVar("SectionT", bound=Section)
Vocabulary = tuple[tuple[str, tuple[str, ...]], ...]
"""Dotted prefix (`parameters.init`, empty for the top level) and the names that may stand there."""


@dataclass(frozen=True, slots=True)
class Problem:
    """An impossible value: the field's dotted name, and a sentence that begins with it."""

    param: str
    message: str


_MOST_COMMON = 4096
_LONGEST_COMMON = 1000
_common: dict[tuple[type[Section], str], Section] = {}
"""Sections met before, by what they were made of."""


@dataclass(slots=True)
class Findings:
    """What was found wrong so far."""

    vocabulary: Vocabulary
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    further_warnings: int = 0
    """How many there were beyond the first MAX_SENTENCES: looking for what was meant is not cheap."""

    def impossible(self, param: str, value: Any, allowed: str) -> None:
        """Note a value that cannot be; a secret's value is left out."""
        self.problems.append(
            Problem(param, f"{param}: {_shown(param, value)} is not possible; allowed: {allowed}")
        )

    def unknown(self, prefix: str, name: str) -> None:
        """Note a field that does not exist."""
        if len(self.warnings) < MAX_SENTENCES:
            self.warnings.append(unknown_field(self.vocabulary, prefix, name))
        else:
            self.further_warnings += 1


def unknown_field(vocabulary: Vocabulary, prefix: str, name: str) -> str:
    """ "ctx_length: unknown, did you mean ctx_len?", with the full dotted name."""
    meant = _suggestion(vocabulary, prefix, name[:_LONGEST_SHOWN])
    hint = f", did you mean {meant}?" if meant else ""
    return f"{dotted(prefix, printable(name))}: unknown{hint}"


def read_section(
    section: type[SectionT],
    raw: Mapping[str, Any],
    prefix: str,
    findings: Findings,
    *,
    is_shared: bool = True,
) -> SectionT:
    """The section that `raw` describes, without the values that are impossible (those are in `findings`).

    `is_shared`: equal sections become the same object; worth it where few differ.
    """
    names = field_names(section)
    known: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    for name, value in raw.items():
        if (attribute := names.get(name)) is None:
            unknown[name] = value
            findings.unknown(prefix, name)
        elif not is_unset(value):
            known[attribute] = value
    if unknown:
        known["unknown"] = unknown
    try:
        return _validated(section, known, is_common=is_shared and not unknown)
    except ValidationError as error:
        written = {attribute: name for name, attribute in names.items()}
        for detail in error.errors(include_url=False, include_context=False):
            place, *inner = detail["loc"]
            field_name = str(place)
            if known.pop(field_name, None) is None:
                continue  # a field with several faults is named once
            item = "".join(f"[{index}]" for index in inner if isinstance(index, int))
            param = dotted(prefix, written[field_name]) + item
            findings.impossible(param, detail["input"], allowed(section, field_name))
        return section.model_validate(known)


def _validated(section: type[SectionT], known: dict[str, Any], *, is_common: bool) -> SectionT:
    """`known` as a section. Ten thousand manifests have few different ones: equal ones are the same object,
    which spares half of the memory and of the time."""
    text = repr(known) if is_common else ""
    if not text or len(text) > _LONGEST_COMMON:
        return section.model_validate(known)
    found = _common.get((section, text))
    if not isinstance(found, section):
        if len(_common) >= _MOST_COMMON:
            _common.clear()
        found = _common[section, text] = section.model_validate(known)
    return found


def over(below: SectionT, above: SectionT) -> SectionT:
    """`above`, and where it is silent `below`."""
    return below.model_copy(update={name: getattr(above, name) for name in above.model_fields_set})


def dotted(prefix: str, name: str) -> str:
    """`prefix.name`, or just the name at the top level."""
    return f"{prefix}.{name}" if prefix else name


def printable(text: str) -> str:
    """`text` on one line, of bearable length."""
    shown = "".join(character if character.isprintable() else "?" for character in text[:_LONGEST_SHOWN])
    return shown + "..." if len(text) > _LONGEST_SHOWN else shown


def _shown(param: str, value: Any) -> str:
    if any(is_secret_name(part) for part in param.replace("[", ".").split(".")):
        return HIDDEN
    return printable(json.dumps(redact(value), ensure_ascii=False, default=str))


def allowed(section: type[Section], attribute: str) -> str:
    """What a field takes, in words."""
    written = {name: written for written, name in field_names(section).items()}[attribute]
    form = forms(section)[written]
    return str(form["allowed"]) if "allowed" in form else _in_words(form)


@lru_cache(maxsize=16)
def forms(section: type[Section]) -> dict[str, dict[str, Any]]:
    """The JSON schema of each field of `section` under its written name; no null, titles, defaults."""
    schema = section.model_json_schema()
    found = {}
    for written in field_names(section):
        outer = schema["properties"][written]
        form = next((choice for choice in outer.get("anyOf", ()) if choice.get("type") != "null"), outer)
        if "$ref" in form:
            form = {**form, **schema["$defs"][form["$ref"].rpartition("/")[2]]}
        extra = {key: outer[key] for key in ("description", "allowed") if key in outer}
        found[written] = {
            key: value
            for key, value in {**form, **extra}.items()
            if key not in ("title", "default", "anyOf", "$ref") and (key != "description" or key in extra)
        }
    return found


def loose_forms(section: type[Section]) -> dict[str, dict[str, Any]]:
    """Like `forms`, for editors: numbers and booleans may be quoted, and a list may be a single text."""
    found = {}
    for written, strict in forms(section).items():
        form = {key: value for key, value in strict.items() if key != "allowed"}
        if form.get("type") in ("integer", "number", "boolean", "array"):
            form["type"] = [form["type"], "string"]
        if "allowed" in strict:
            form["description"] = f"{form.get('description', '')} Allowed: {strict['allowed']}.".strip()
        found[written] = form
    return found


def _in_words(form: Mapping[str, Any]) -> str:
    if "enum" in form:
        return " or ".join(form["enum"]) if len(form["enum"]) == 2 else "one of " + ", ".join(form["enum"])
    if "const" in form:
        return str(form["const"])
    match form.get("type"):
        case "boolean":
            return "true or false"
        case "integer" | "number" as kind:
            noun = "a whole number" if kind == "integer" else "a number"
            low = f"above {form['exclusiveMinimum']:g}" if "exclusiveMinimum" in form else ""
            low = low or (f"from {_figure(form['minimum'])}" if "minimum" in form else "")
            high = f"to {_figure(form['maximum'])}" if "maximum" in form else ""
            return " ".join(part for part in (noun, low, high) if part)
        case "array":
            return f"a text, or a list of at most {form.get('maxItems', 'any')} texts"
        case _:
            return "a text"


def _figure(number: float) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)


def _bare(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


@lru_cache(maxsize=4096)
def _suggestion(vocabulary: Vocabulary, prefix: str, name: str) -> str | None:
    """The field that was probably meant: by the same letters, else by another program's name, else by
    likeness; within the section, else (with its dotted name) in another one.
    """
    here = next((names for place, names in vocabulary if place == prefix), ())
    elsewhere = {
        written: dotted(place, written) for place, names in vocabulary if place != prefix for written in names
    }
    bare = _bare(name)
    exact = {_bare(written): written for written in (*elsewhere, *here)}
    meant = exact.get(bare) or _SYNONYMS.get(bare)
    if meant is None:
        near = difflib.get_close_matches(name, here, n=1, cutoff=0.7)
        near = near or difflib.get_close_matches(name, list(elsewhere), n=1, cutoff=0.8)
        meant = near[0] if near else None
    if meant is None or meant in here:
        return meant
    return elsewhere.get(meant)
