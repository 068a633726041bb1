"""What the folder says, as values: one `ModelEntry` per model. Made by `folder.catalog`, read by `core`.

Frozen dataclasses only; no I/O. An entry is compared by value: an unchanged model gives an equal entry.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from janagent.folder.fault import Fault
from janagent.folder.gguf import Header
from janagent.folder.manifest import Manifest

__all__ = ["Binary", "CatalogChange", "Condition", "Fault", "ModelEntry", "Role"]


INTERRUPTED = "interrupted"
"""Fault code of a model whose fetch began and has not ended."""
PARTS_MISSING = "parts_missing"
"""Fault code of a split set that lacks parts, while those that are there are whole."""


class Condition(StrEnum):
    """What the files on disk amount to."""

    COMPLETE = "complete"
    """A local model whose binaries are all there, or a remote model with a valid manifest."""
    MISSING = "missing"
    """The manifest is fine, but a binary is absent or incomplete; or the root is offline."""
    INVALID = "invalid"
    """The manifest, or what it points at, cannot be used; a person must change something."""


class Role(StrEnum):
    """What a binary is for."""

    MODEL = "model"
    PART = "part"
    PROJECTOR = "projector"
    ADAPTER = "adapter"


@dataclass(frozen=True, slots=True)
class Binary:
    """One binary that a model uses."""

    path: str
    """Relative to the root, `/` between parts (`models/x/y.gguf`)."""
    real_path: Path
    size_bytes: int
    role: Role
    shared: bool
    """Another model uses it too."""
    identity: tuple[int, int, int, int]
    """Device, inode, size, mtime in ns: another value means another file."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model, as the folder describes it at one moment."""

    key: str
    """Path below `models` of the manifest, or of the binary that no manifest claims. Names the model inside
    the daemon."""
    id: str
    aliases: tuple[str, ...]
    """Every other name it answers to: long id, the manifest's `id`, remote alias. No leading slash."""
    path: str
    """Relative to the root: the manifest, or the bare binary."""
    manifest: Manifest
    """Of a bare or invalid model: all defaults, or what could be read."""
    has_manifest: bool
    condition: Condition
    fault: Fault | None = None
    """Set exactly when the condition is not COMPLETE."""
    warnings: tuple[str, ...] = ()
    binaries: tuple[Binary, ...] = ()
    """The main model (its first part) comes first; complete ones and incomplete ones alike."""
    header: Header | None = None
    """Of the main model; None for a remote model or an absent file."""
    projector: Header | None = None
    """Of the projector among the binaries."""
    created: int = 0
    """Unix seconds."""
    owned_by: str = "local"
    artifact_key: str = ""
    """Hash of what decides which files are wanted (origin, import_format, download_url, files)."""
    runtime_key: str = ""
    """Hash of what forces a new worker: the init parameters and the identity of every binary."""
    hot_load_after_s: float = 0.0
    """Earliest moment (time.monotonic) at which a hot load may begin; unclaimed files wait."""
    may_hot_load: bool = True
    """False for a file that became unclaimed because its manifest was just removed."""

    @property
    def is_remote(self) -> bool:
        """Served by another machine's API; there is nothing to load here."""
        return self.manifest.is_remote

    @property
    def is_interrupted(self) -> bool:
        """A fetch of its files began and has not ended."""
        return self.fault is not None and self.fault.code == INTERRUPTED

    @property
    def is_fetchable(self) -> bool:
        """Its files are not there, nothing stands in their way, and it is known where to get them."""
        if self.condition is not Condition.MISSING or self.fault is None or not self.manifest.has_source:
            return False
        lacks_all = self.fault.code == "missing" and not self.binaries
        return lacks_all or self.is_interrupted or self.fault.code == PARTS_MISSING

    @property
    def needs(self) -> tuple[str, ...]:
        """Real paths that the removal of another model has to spare.

        A file without a manifest stands for itself alone, and may go with the fetch that wrote it; what such
        a link leads to may not.
        """
        real_paths = [(str(binary.real_path), binary.path) for binary in self.binaries]
        return tuple(real for real, path in real_paths if self.has_manifest or not real.endswith(f"/{path}"))

    @property
    def size_bytes(self) -> int:
        """Bytes of all its binaries."""
        return sum(binary.size_bytes for binary in self.binaries)


@dataclass(frozen=True, slots=True)
class CatalogChange:
    """What one scan found different from the scan before."""

    changed: tuple[ModelEntry, ...] = ()
    """New or different entries."""
    removed: tuple[str, ...] = ()
    """Keys that are gone (settling over)."""
    offline: bool = False
    """The models folder is absent, unreadable or on another device than before."""
    recheck_in_s: float | None = None
    """Scan again after this long, even without an event: something is settling."""
    recheck_folders: frozenset[str] = field(default_factory=frozenset)
    """Below `models`; the folders such a scan has to read. Empty with a recheck time: all."""
    problems: tuple[str, ...] = ()
    """Sentences about folders (loops, broken links, unreadable) that belong to no single model."""
