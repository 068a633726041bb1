"""Reads a manifest: bytes of a JSON file in, a typed `Manifest` with its fault and warnings out.

Owns the meaning of the top-level fields (contract, section 2). Knows nothing of folders or binaries: what a
manifest claims is `catalog`'s business. Neighbours: `jsonish` (syntax), `parameters` (the sections).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from janagent.folder.fault import Fault
from janagent.folder.parameters import (
    InitParameters,
    Metadata,
    RuntimeParameters,
    Section,
)

MAX_MANIFEST_BYTES = 1 << 20


class ImportFormat(StrEnum):
    """Who knows how to get the model, or to talk to it."""

    DEFAULT = "default"
    THEBLOKE = "thebloke"
    JANHQ = "janhq"
    OPENAI = "openai"
    AZURE_OPENAI = "azure_openai"


class ManifestError(ValueError):
    """A value that cannot be. `param` is the field's dotted name; the message never shows a secret."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


class Manifest(Section):
    """What a manifest says. None (or empty) means not set. Frozen, compared by value."""

    origin: str | None = None
    import_format: ImportFormat | None = None
    """As written; `effective_import_format` is what counts."""
    download_url: str | None = None
    files: tuple[str, ...] = ()
    id: str | None = None
    object: str | None = None
    created: int | None = None
    owned_by: str | None = None
    init: InitParameters = InitParameters()
    runtime: RuntimeParameters = RuntimeParameters()
    metadata: Metadata = Metadata()
    unknown_parameters: Mapping[str, Any] = {}
    """Fields beside `init` and `runtime` within `parameters`."""

    @property
    def is_remote(self) -> bool:
        """Served by another machine's API."""
        return self.engine == "api"

    @property
    def engine(self) -> str:
        """`llamacpp` or `api`; when not set, as the import format implies."""
        raise NotImplementedError

    @property
    def effective_import_format(self) -> ImportFormat:
        """The one that is set, else the one recognised from `origin`, else DEFAULT."""
        raise NotImplementedError

    @property
    def download_name(self) -> str | None:
        """The file that `download_url` names: path within the repo, or a URL's last part. No query."""
        raise NotImplementedError

    def shown(self) -> dict[str, Any]:
        """What the model object shows of it: origin, import_format, download_url, files where set,
        parameters {init, runtime}, metadata, then unknown fields. Coerced, unset ones omitted, NOT redacted.

        A caller that merges it with fields of its own puts its own last: a manifest must not spoof them.
        """
        raise NotImplementedError


DEFAULT = Manifest()
"""What a bare binary has."""


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
    raise NotImplementedError


def apply_start_parameters(
    init: InitParameters, runtime: RuntimeParameters, model_parameters: Mapping[str, Any]
) -> tuple[InitParameters, RuntimeParameters]:
    """`init` and `runtime` with `model_parameters` (flat, or nested under `init` and `runtime`) on top.

    Values that mean "not set" change nothing. Raises ManifestError for a field that does not exist or an
    impossible value.
    """
    raise NotImplementedError


def json_schema() -> dict[str, Any]:
    """The JSON schema of a manifest, for editors (`janagent schema`)."""
    raise NotImplementedError
