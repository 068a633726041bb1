"""Taking a model's files away: first out of sight in one rename each, then for good.

Only what lies below `models`, by its real path, is ever removed; a link that leads out is named and refused.
Neighbour: `core` decides when (`RemoveFiles`), `runtime` asks `obstacle` before anything is drained.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from janagent.folder.entry import Binary, ModelEntry
from janagent.folder.hidden import made_in
from janagent.folder.listing import parent
from janagent.folder.records import wants_of_others

TRASH = ".janagent"
REMOVED = "removed-"


def wanted_paths(entry: ModelEntry, *, models: Path) -> list[Path]:
    """The files that go with `entry`: its manifest, and the binaries that only it uses.

    Without a manifest its own link goes, whoever uses the file that it leads to.
    """
    names = [entry.path] if entry.has_manifest else []
    for binary in entry.binaries:
        is_own_link = binary.path == entry.path and (models.parent / binary.path).is_symlink()
        if is_own_link or not binary.shared:
            names.append(binary.path)
    return [models.parent / name for name in dict.fromkeys(names)]


def spared(entry: ModelEntry, *, models: Path) -> ModelEntry:
    """`entry`, those binaries called shared that another model's fetch, which has not ended, counts on."""
    others = wants_of_others(models, entry.key)

    def is_wanted(binary: Binary) -> bool:
        wants = others.get(binary.path.partition("/")[2], ())
        return any(want.takes(binary.size_bytes) and (models / want.key).exists() for want in wants)

    return replace(entry, binaries=tuple(replace(b, shared=b.shared or is_wanted(b)) for b in entry.binaries))


def concerned_folders(entry: ModelEntry) -> list[str]:
    """Folders below `models` whose manifests may use the entry's files: those they lie in, and all above."""
    found = {""}
    for path in (entry.key, *(binary.path.partition("/")[2] for binary in entry.binaries)):
        folder = parent(path)
        while folder:
            found.add(folder)
            folder = parent(folder)
    return sorted(found)


def obstacle(entry: ModelEntry, *, models: Path) -> str | None:
    """Why `entry` must not be removed: the link through which a file of it lies elsewhere, or that another
    model needs all it consists of. None if it may."""
    real_models = Path(os.path.realpath(models))
    paths = wanted_paths(entry, models=models)
    if not paths and entry.binaries:
        return f"another model uses {entry.path}, which is all there is to remove: remove that model first"
    for path in paths:
        if not os.path.lexists(path):
            continue
        real = Path(os.path.realpath(path))
        if real_models not in real.parents:
            link = _link_on(path, models) or path
            return (
                f"{link.relative_to(models.parent)} is a link to a place outside the models folder, where "
                "janagent removes nothing: remove the link, or the file it leads to, by hand"
            )
    return None


def _link_on(path: Path, models: Path) -> Path | None:
    """The first link on the way from `models` to `path`."""
    steps = [path, *path.parents]
    inside = [step for step in reversed(steps) if models in step.parents]
    return next((step for step in inside if step.is_symlink()), None)


def remove_files(entry: ModelEntry, *, models: Path, also: Iterable[Path] = ()) -> None:
    """Remove the files of `entry`, `also` those, and the folders they leave empty. Raises OSError; then all
    are back.

    The renames are quick, so that a scan sees either all of them or none; deleting gigabytes comes after.
    """
    if (reason := obstacle(entry, models=models)) is not None:
        raise OSError(0, reason, entry.path)
    wanted = dict.fromkeys([*wanted_paths(entry, models=models), *also])
    paths = [path for path in wanted if os.path.lexists(path)]
    if not paths:
        return
    trashes: dict[int, Path] = {}
    moved: list[tuple[Path, Path]] = []
    try:
        for number, path in enumerate(paths):
            device = path.lstat().st_dev
            if device not in trashes:
                trashes[device] = _make_trash(path.parent, models=models)
            path.rename(target := trashes[device] / f"{number}-{path.name}")
            moved.append((path, target))
    except BaseException:
        _put_back(moved)
        for trash in trashes.values():
            _remove_if_empty(trash)
            _remove_if_empty(trash.parent)
        raise
    for trash in trashes.values():
        shutil.rmtree(trash, ignore_errors=True)
        _remove_if_empty(trash.parent)
    for folder in {path.parent for path in paths}:
        remove_empty_folders(folder, models=models)


def _put_back(moved: list[tuple[Path, Path]]) -> None:
    """Undo the renames. What has no place any more stays where it is: nothing is overwritten or lost."""
    for path, target in moved:
        with contextlib.suppress(OSError):
            if not os.path.lexists(path):
                target.rename(path)


def _make_trash(folder: Path, *, models: Path) -> Path:
    """Below `models`, or in `folder` itself when that is another disk: a rename stays on its disk."""
    place = models if models.stat().st_dev == folder.stat().st_dev else folder
    return made_in(place, TRASH, lambda: Path(tempfile.mkdtemp(prefix=REMOVED, dir=place / TRASH)))


def remove_empty_folders(folder: Path, *, models: Path) -> None:
    """Remove `folder` and those above it that are empty then, never `models`."""
    while folder != models and models in folder.parents and _remove_if_empty(folder):
        folder = folder.parent


def _remove_if_empty(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


def sweep(models: Path) -> None:
    """Finish removals that an earlier daemon's end cut short: only what `remove_files` put out of sight."""
    shelf = models / TRASH
    for left in shelf.glob(REMOVED + "*"):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
    _remove_if_empty(shelf)
