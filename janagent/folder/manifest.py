"""Reads a manifest: bytes of a JSON file in, a typed `Manifest` with its fault and warnings out.

Owns the meaning of the top-level fields (contract, section 2). Knows nothing of folders or binaries: what a
manifest claims is `catalog`'s business. Neighbours: `jsonish` (syntax), `parameters` (the other sections),
`sections` (reading one), `origin` (what an origin says).
"""

import codecs
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from janagent.folder import origin as origins
from janagent.folder.fault import Fault
from janagent.folder.jsonish import JsonishError, parse_document
from janagent.folder.origin import ImportFormat
from janagent.folder.parameters import (
    TEXTS,
    WHOLE,
    WORD,
    InitParameters,
    Metadata,
    RuntimeParameters,
    Section,
    Text,
    field_names,
    is_unset,
)
from janagent.folder.sections import (
    MAX_SENTENCES,
    Findings,
    Problem,
    Vocabulary,
    dotted,
    over,
    printable,
    read_section,
    unknown_field,
)

__all__ = [
    "DEFAULT",
    "ImportFormat",
    "Manifest",
    "ManifestError",
    "Reading",
    "apply_start_parameters",
    "over",
]

MAX_MANIFEST_BYTES = 1 << 20
_LAST_SECOND = 253_402_300_799  # of the year 9999
NOTHING: Mapping[str, Any] = MappingProxyType({})
NO_INIT, NO_RUNTIME, NO_METADATA = InitParameters(), RuntimeParameters(), Metadata()


class ManifestError(ValueError):
    """A value that cannot be. `param` is the field's dotted name; the message never shows a secret."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


def _import_format(value: Any) -> Any:
    word = value.strip().lower() if isinstance(value, str) else value
    return ImportFormat(word) if word in ImportFormat._value2member_map_ else value


def _checked(is_fine: Any) -> AfterValidator:
    """A validator that strips a text and refuses what `is_fine` denies."""

    def check(text: str) -> str:
        if not is_fine(text := text.strip()):
            raise ValueError
        return text

    return AfterValidator(check)


def _are_file_names(names: tuple[str, ...]) -> tuple[str, ...]:
    if not all(origins.is_file_name(name) for name in names):
        raise ValueError
    return names


class TopLevel(Section):
    """The fields beside `parameters` and `metadata`, as a file has them."""

    origin: Annotated[str, _checked(origins.is_origin)] | None = Field(
        default=None,
        description="Where the model comes from: a repo, a file, or a remote API's base URL.",
        json_schema_extra={"allowed": origins.ORIGIN_ALLOWED},
    )
    import_format: Annotated[ImportFormat, BeforeValidator(_import_format)] | None = Field(
        default=None,
        description="How to get it, or talk to it. Absent: recognised from origin, else default.",
    )
    download_url: Annotated[str, _checked(origins.is_download)] | None = Field(
        default=None,
        description="The one file to fetch. Absent: the import format chooses.",
        json_schema_extra={"allowed": origins.FILE_ALLOWED},
    )
    files: Annotated[tuple[str, ...], Field(max_length=256), TEXTS, AfterValidator(_are_file_names)] = Field(
        default=(),
        description="Narrows what is fetched and used: names or globs.",
        json_schema_extra={"allowed": origins.FILES_ALLOWED},
    )
    id: Text | None = Field(default=None, description="Another name that the model answers to.")
    object: Annotated[Literal["model"], WORD] | None = None
    created: Annotated[int, Field(ge=0, le=_LAST_SECOND), WHOLE] | None = Field(
        default=None, description="Unix seconds. Absent: when the manifest was last changed."
    )
    owned_by: Text | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a manifest says. None (or empty) means not set. Compared by value.

    Not a pydantic model: ten thousand of those would take 12 MB more.
    """

    origin: str | None = None
    import_format: ImportFormat | None = None
    download_url: str | None = None
    files: tuple[str, ...] = ()
    id: str | None = None
    created: int | None = None
    """Unix seconds."""
    owned_by: str | None = None
    init: InitParameters = NO_INIT
    runtime: RuntimeParameters = NO_RUNTIME
    metadata: Metadata = NO_METADATA
    unknown: Mapping[str, Any] = field(default_factory=lambda: NOTHING, repr=False)
    """Top-level fields that we do not know, as they were written."""
    unknown_parameters: Mapping[str, Any] = field(default_factory=lambda: NOTHING, repr=False)
    """Fields beside `init` and `runtime` within `parameters`."""

    @property
    def is_remote(self) -> bool:
        """Served by another machine's API."""
        return self.engine == "api"

    @property
    def engine(self) -> str:
        """`llamacpp` or `api`; when not set, as the import format implies."""
        if self.metadata.engine is not None:
            return self.metadata.engine
        return "api" if self.effective_import_format in origins.REMOTE else "llamacpp"

    @property
    def effective_import_format(self) -> ImportFormat:
        """The one that is set, else the one recognised from `origin`; of an API that is neither, OPENAI."""
        recognised = origins.recognise(self.origin) if self.origin else None
        found = self.import_format or recognised or ImportFormat.DEFAULT
        if self.metadata.engine != "api" or found in origins.REMOTE:
            return found
        return recognised if recognised in origins.REMOTE else ImportFormat.OPENAI

    @property
    def has_source(self) -> bool:
        """It says where the model's files can be had."""
        if self.is_remote or self.effective_import_format in origins.REMOTE:  # an API gives no files
            return False
        is_url = self.download_url is not None and "://" in self.download_url
        is_file_named = self.download_url is not None or bool(self.files)
        return is_url or (
            self.origin is not None and origins.is_source(self.origin, is_file_named=is_file_named)
        )

    @property
    def download_name(self) -> str | None:
        """The file that `download_url` names: path within the repo, or a URL's last part. No query."""
        return origins.download_name(self.download_url) if self.download_url else None

    @property
    def origin_owner(self) -> str | None:
        """Owner of the repo that `origin` names, else its host."""
        return origins.owner(self.origin) if self.origin else None

    @property
    def origin_host(self) -> str | None:
        """Host of an `origin` that is a URL, lower case, without port."""
        return origins.host(self.origin) if self.origin else None

    def shown(self) -> dict[str, Any]:
        """What the model object shows of it: origin, import_format, download_url, files where set,
        parameters {init, runtime}, metadata, then unknown fields. Coerced, unset ones omitted, NOT redacted.

        A caller that merges it with fields of its own puts its own last: a manifest must not spoof them.
        """
        top = {
            "origin": self.origin,
            "import_format": self.import_format and self.import_format.value,
            "download_url": self.download_url,
            "files": list(self.files),
        }
        parameters = {"init": self.init.shown(), "runtime": self.runtime.shown(), **self.unknown_parameters}
        return {
            **{name: value for name, value in top.items() if value},
            "parameters": parameters,
            "metadata": self.metadata.shown(),
            **self.unknown,
        }


DEFAULT = Manifest()
"""What a bare binary has."""

_VOCABULARY: Vocabulary = (
    ("", (*field_names(TopLevel), "parameters", "metadata", "$schema")),
    ("parameters", ("init", "runtime")),
    ("parameters.init", tuple(field_names(InitParameters))),
    ("parameters.runtime", tuple(field_names(RuntimeParameters))),
    ("metadata", tuple(field_names(Metadata))),
)


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of reading a manifest. `fault` set means invalid, whatever `manifest` holds."""

    manifest: Manifest | None
    """None when nothing could be read. With a fault: what could be read, the impossible values left out."""
    fault: Fault | None = None
    """Code `invalid`."""
    warnings: tuple[str, ...] = ()
    is_manifest_like: bool = True
    """The content makes it a manifest, whatever its name. A file that cannot be parsed counts as one, unless
    it is too large; an object with none of our fields, or another JSON value, does not."""


def read_manifest(data: bytes) -> Reading:
    """Read the bytes of a JSON file. Never raises for what is in them."""
    if len(data) > MAX_MANIFEST_BYTES:
        message = "this file is larger than 1 MiB, which no manifest needs to be"
        return Reading(None, Fault("invalid", message), is_manifest_like=False)
    try:
        document = parse_document(_decode(data))
    except ManifestError as error:
        return Reading(None, Fault("invalid", str(error)))
    except JsonishError as error:
        return Reading(None, Fault("invalid", f"this file is no JSON: {error}"))
    if not isinstance(document.value, dict):
        message = "a manifest is one object in braces: {...}"
        return Reading(None, Fault("invalid", message), is_manifest_like=False)
    return _read(document.value, document.duplicates)


def _decode(data: bytes) -> str:
    """UTF-8, with or without a byte order mark. Raises ManifestError that says what it is instead."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or (
        data[:2].count(0),
        data[2:4].count(0),
    ) == (1, 1):
        raise ManifestError("this file is UTF-16 or UTF-32 text: save it as UTF-8", "")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"this file is not UTF-8 text (at byte {error.start + 1}): save it as UTF-8", ""
        ) from None
    if "\0" in text:
        raise ManifestError("this file holds NUL characters, so it is no text: write it again", "")
    return text


def _read(top: dict[str, Any], duplicates: tuple[str, ...]) -> Reading:
    repeated = [
        f"{printable(name)}: occurs twice; the last one counts" for name in duplicates[:MAX_SENTENCES]
    ]
    findings = Findings(_VOCABULARY, warnings=repeated, further_warnings=len(duplicates) - len(repeated))
    parameters = _object(top, "parameters", "", findings)
    init = read_section(
        InitParameters, _object(parameters, "init", "parameters", findings), "parameters.init", findings
    )
    runtime = read_section(
        RuntimeParameters,
        _object(parameters, "runtime", "parameters", findings),
        "parameters.runtime",
        findings,
    )
    metadata = read_section(Metadata, _object(top, "metadata", "", findings), "metadata", findings)
    unknown = {name: parameters[name] for name in parameters if name not in ("init", "runtime")}
    for name in unknown:
        findings.unknown("parameters", name)
    rest = {name: value for name, value in top.items() if name not in ("parameters", "metadata", "$schema")}
    said = read_section(TopLevel, rest, "", findings, is_shared=False)
    manifest = Manifest(
        origin=said.origin,
        import_format=said.import_format,
        download_url=said.download_url,
        files=said.files,
        id=said.id,
        created=said.created,
        owned_by=said.owned_by,
        init=init,
        runtime=runtime,
        metadata=metadata,
        unknown=said.unknown or NOTHING,
        unknown_parameters=unknown or NOTHING,
    )
    if not findings.problems:
        _contradictions(manifest, findings)
    return Reading(manifest, _fault(findings), _warnings(findings), _is_manifest_like(top))


def _object(parent: Mapping[str, Any], name: str, prefix: str, findings: Findings) -> dict[str, Any]:
    """The object under `name`; an empty one where it is not set, or is something else (which is noted)."""
    value = parent.get(name)
    if isinstance(value, dict):
        return value
    if not is_unset(value):
        findings.impossible(dotted(prefix, name), value, "an object in braces: {...}")
    return {}


def _is_manifest_like(top: Mapping[str, Any]) -> bool:
    parameters, metadata = top.get("parameters"), top.get("metadata")
    return (
        not top.keys().isdisjoint(("origin", "import_format", "download_url"))
        or (isinstance(parameters, dict) and not parameters.keys().isdisjoint(("init", "runtime")))
        or (isinstance(metadata, dict) and "engine" in metadata)
    )


def _contradictions(manifest: Manifest, findings: Findings) -> None:
    """Values that are possible alone, but not together."""
    import_format, engine, runtime = manifest.import_format, manifest.metadata.engine, manifest.runtime
    if engine == "llamacpp" and import_format in origins.REMOTE:
        findings.impossible("metadata.engine", engine, f"api, because import_format is {import_format}")
    elif engine == "api" and import_format in (ImportFormat.THEBLOKE, ImportFormat.JANHQ):
        findings.impossible("metadata.engine", engine, f"llamacpp, because import_format is {import_format}")
    elif manifest.is_remote and manifest.origin_host is None:
        written = "not set" if manifest.origin is None else f'"{manifest.origin}" is no API'
        message = f"origin: {written}; a remote model needs the base URL of its API"
        findings.problems.append(Problem("origin", message))
    if None not in (limits := {runtime.max_tokens, runtime.token_limit}) and len(limits) == 2:
        findings.warnings.append("parameters.runtime.token_limit: max_tokens is set too, and counts")


def _fault(findings: Findings) -> Fault | None:
    sentences = [problem.message for problem in findings.problems]
    return Fault("invalid", "; ".join(sentences)) if sentences else None


def _warnings(findings: Findings) -> tuple[str, ...]:
    further = findings.further_warnings
    return (*findings.warnings, *([f"and {further} more"] if further else []))


def apply_start_parameters(
    init: InitParameters, runtime: RuntimeParameters, model_parameters: Mapping[str, Any]
) -> tuple[InitParameters, RuntimeParameters]:
    """`init` and `runtime` with `model_parameters` (flat, or nested under `init` and `runtime`) on top.

    Values that mean "not set" change nothing. Raises ManifestError for a field that does not exist or an
    impossible value.
    """
    findings = Findings(_START_VOCABULARY)
    flat = {name: value for name, value in model_parameters.items() if name not in ("init", "runtime")}
    runtime_names = field_names(RuntimeParameters)
    for name in flat:
        if name not in runtime_names and name not in field_names(InitParameters):
            raise ManifestError(unknown_field(_START_VOCABULARY, "", name), printable(name))
    new_init = read_section(
        InitParameters,
        {name: value for name, value in flat.items() if name not in runtime_names},
        "",
        findings,
    )
    new_runtime = read_section(
        RuntimeParameters,
        {name: value for name, value in flat.items() if name in runtime_names},
        "",
        findings,
    )
    nested_init = read_section(
        InitParameters, _object(model_parameters, "init", "", findings), "init", findings
    )
    nested_runtime = read_section(
        RuntimeParameters, _object(model_parameters, "runtime", "", findings), "runtime", findings
    )
    if findings.problems:
        raise ManifestError(findings.problems[0].message, findings.problems[0].param)
    if findings.warnings:
        raise ManifestError(findings.warnings[0], findings.warnings[0].partition(":")[0])
    return over(over(init, new_init), nested_init), over(over(runtime, new_runtime), nested_runtime)


_START_VOCABULARY: Vocabulary = (
    ("", (*field_names(InitParameters), *field_names(RuntimeParameters), "init", "runtime")),
    ("init", tuple(field_names(InitParameters))),
    ("runtime", tuple(field_names(RuntimeParameters))),
)
