"""What follows from one manifest and its binaries without looking at any file: hashes and names.

Pure. Neighbour: `entries`, which puts these into a `ModelEntry`.
"""

import hashlib
from collections.abc import Iterable

from janagent.folder.entry import Binary
from janagent.folder.ids import Names, normal, remote_alias
from janagent.folder.listing import join
from janagent.folder.manifest import Manifest
from janagent.folder.modelsets import stem_of
from janagent.folder.origin import is_repo

MODEL_JSON = "model.json"


def artifact_key(manifest: Manifest) -> str:
    """Hash of what decides which files are wanted."""
    wanted = (manifest.origin, manifest.effective_import_format.value, manifest.download_url, manifest.files)
    return _hash(repr(wanted))


def runtime_key(manifest: Manifest, binaries: Iterable[Binary]) -> str:
    """Hash of what forces a new worker: init parameters, engine, format, and every binary's identity."""
    # Fields come in the order of their declaration, so equal parameters give equal text.
    init = manifest.init.model_dump_json(exclude_none=True, exclude={"unknown"})
    files = [(str(binary.real_path), binary.role.value, binary.identity) for binary in binaries]
    where = manifest.origin if manifest.is_remote else None
    return _hash(repr((manifest.engine, manifest.effective_import_format.value, init, files, where)))


def _hash(text: str) -> str:
    # Half of it: ten thousand models have two each, and 128 bits never meet by chance.
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:32]


def source_of(manifest: Manifest) -> str:
    """The origin as it may be shown: without user, password and query. Empty without one."""
    origin = manifest.origin or ""
    return origin if is_repo(origin) else origin.partition("?")[0].rpartition("@")[2]


def reaches_below(manifest: Manifest | None) -> bool:
    """It names files in folders below its own."""
    if manifest is None or manifest.is_remote:
        return False
    return "/" in (manifest.download_name or "") or any("/" in pattern for pattern in manifest.files)


def names_of(*, folder: str, file_name: str, manifest: Manifest | None) -> Names:
    """Names of a manifest at `file_name` in `folder` (path below `models`), or of a bare binary.

    `model.json` and a bare `.gguf` are named after their folder.
    """
    folder_name = folder.rpartition("/")[2] or "models"
    if manifest is None:
        stem = stem_of(file_name)
        long = join(folder, stem) if stem else folder or "models"
        return Names(normal(stem or folder_name), normal(long))
    stem = file_name[: -len(".json")]
    plain = normal(folder_name if file_name.lower() == MODEL_JSON else stem)
    remote = ""
    if manifest.is_remote and manifest.origin:
        wanted = manifest.init.deployment_name or manifest.init.model_name or plain
        remote = remote_alias(manifest.origin, wanted)
    own = normal((manifest.id or "").strip().lstrip("/"))
    return Names(plain, normal(join(folder, stem)), own, remote)
