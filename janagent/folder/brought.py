"""What fetches wrote, remembered below `models`: a model that is deleted takes it along.

That is section 3 of the contract. Only what is still as the fetch left it (size, mtime and inode) counts as
written by it. Models that want the same file share it; the last of them takes it away. Neighbours: a fetcher
writes, file by file, `executor` asks before a removal, `records` holds the fetches that have not ended.
"""

import contextlib
import errno
import hashlib
import json
import os
import stat
from collections.abc import Collection, Container, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from janagent.folder.hidden import made_in
from janagent.folder.listing import join, parent
from janagent.folder.origin import is_file_name

FOLDER = ".janagent/fetched"
_LARGEST_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Brought:
    """One file that a fetch brought, as it was then. `is_written`: by that fetch, not found in place."""

    name: str
    size_bytes: int
    mtime_ns: int
    inode: int
    is_written: bool

    @classmethod
    def of(cls, name: str, path: Path, *, inode: int | None) -> "Brought":
        """The file at `path`; it was written by a fetch if it has this inode. Raises OSError."""
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(path))
        return cls(name, found.st_size, found.st_mtime_ns, found.st_ino, found.st_ino == inode)

    @property
    def identity(self) -> tuple[int, int, int]:
        """Another one means that it was changed or replaced."""
        return self.size_bytes, self.mtime_ns, self.inode

    def is_unchanged(self, path: Path) -> bool:
        """Whether `path` is still this very file."""
        try:
            return Brought.of(self.name, path, inode=None).identity == self.identity
        except OSError:
            return False


def memory_path(models: Path, key: str) -> Path:
    """Where it is remembered what was brought for the model `key`."""
    return models / FOLDER / f"{hashlib.sha256(os.fsencode(key)).hexdigest()[:24]}.json"


def remember(models: Path, key: str, files: Iterable[Brought]) -> None:
    """Add what a fetch for `key` brought to what earlier ones did. Raises OSError."""
    known = {file.name: file for file in _read(memory_path(models, key), key)}
    for file in files:
        old = known.get(file.name)
        was_written = old is not None and old.is_written and old.identity == file.identity
        known[file.name] = replace(file, is_written=file.is_written or was_written)
    _write(memory_path(models, key), key, known.values())


def written_for(models: Path, key: str, *, used: Container[str] = ()) -> list[Path]:
    """The files that go with `key`: what its fetches wrote and nobody changed since.

    Not those whose real path is in `used`, and not those that another model's fetch wanted too: such a one is
    from now on remembered as written for that model.
    """
    mine = [file for file in _read(memory_path(models, key), key) if file.is_written]
    if not mine:
        return []
    others = [(other, _read(path, other)) for path, other in _memories(models) if other != key]
    found = []
    for file in mine:
        path = models / parent(key) / file.name
        real = Path(os.path.realpath(path))
        if (
            not file.is_unchanged(path)
            or Path(os.path.realpath(models)) not in real.parents
            or str(real) in used
        ):
            continue
        if not _handed_over(file, join(parent(key), file.name), models=models, others=others):
            found.append(path)
    return found


def is_own(models: Path, key: str, name: str) -> bool:
    """Whether the file `name` is as a fetch for `key` wrote it, and wanted by no other model's fetch."""
    place = join(parent(key), name)
    for path, other in _memories(models):
        if other != key and any(join(parent(other), file.name) == place for file in _read(path, other)):
            return False
    mine = (file for file in _read(memory_path(models, key), key) if file.name == name)
    return any(file.is_written and file.is_unchanged(models / place) for file in mine)


def _handed_over(
    file: Brought, place: str, *, models: Path, others: Iterable[tuple[str, Collection[Brought]]]
) -> bool:
    for key, files in others:
        for theirs in files:
            if join(parent(key), theirs.name) == place and (models / key).exists():
                kept = [replace(file, name=theirs.name) if one is theirs else one for one in files]
                with contextlib.suppress(OSError):
                    _write(memory_path(models, key), key, kept)
                return True
    return False


def forget(models: Path, key: str) -> None:
    """The model is gone."""
    with contextlib.suppress(OSError):
        memory_path(models, key).unlink()
    for folder in (models / FOLDER, (models / FOLDER).parent):
        with contextlib.suppress(OSError):
            folder.rmdir()


def sweep(models: Path, known: Container[str]) -> None:
    """Forget models that left the folder while no daemon ran; their files stay, as a person wanted it."""
    for _, key in _memories(models):
        if key not in known:
            forget(models, key)


def _memories(models: Path) -> list[tuple[Path, str]]:
    found = []
    for path in (models / FOLDER).glob("*.json"):
        key = _key(path)
        if key is not None and memory_path(models, key) == path:
            found.append((path, key))
    return found


def _key(path: Path) -> str | None:
    try:
        key = json.loads(path.read_bytes())["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return key if isinstance(key, str) else None


def _read(path: Path, key: str) -> list[Brought]:
    """Nothing if it cannot be read, or came with somebody's folder."""
    try:
        with path.open("rb") as file:
            said = json.loads(file.read(_LARGEST_BYTES))
        files = [Brought(**one) for one in said["files"]]
        return files if said["key"] == key and all(is_file_name(one.name) for one in files) else []
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _write(path: Path, key: str, files: Iterable[Brought]) -> None:
    draft = path.with_suffix(".new")
    text = json.dumps({"key": key, "files": [asdict(file) for file in files]})
    made_in(path.parents[2], FOLDER, lambda: draft.write_text(text))
    os.replace(draft, path)
