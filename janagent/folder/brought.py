"""What fetches wrote, remembered below `models`: a model that is deleted takes it along.

That is section 3 of the contract. Only what is still as the fetch left it (size, mtime and inode) counts as
written by it. Models that want the same file share it; the last of them takes it away.

A memory only ever grows, line by line, until its model is gone: the fetcher and the daemon, which hands over
what another model leaves, may both add to it. Neighbours: a fetcher writes, file by file, `executor` asks
before a removal, `records` holds the fetches that have not ended.
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
import stat
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from janagent.folder.hidden import made_in
from janagent.folder.listing import is_away, join, parent
from janagent.folder.origin import is_file_name
from janagent.folder.records import Want, wants_of_others

log = logging.getLogger(__name__)

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
    news = [file for file in files if _merged(known.get(file.name), file) != known.get(file.name)]
    if news:
        note(models, key, news)


def note(models: Path, key: str, files: Iterable[Brought]) -> None:
    """Add `files` without a look at what is known, as a fetch does for each of a thousand. Raises OSError."""
    path = memory_path(models, key)
    # One call, and a line of its own after whatever came before: nothing is torn by another process, and what
    # a full disk or a kill cuts short costs no other line.
    line = b"\n" + json.dumps({"key": key, "files": [asdict(file) for file in files]}).encode()
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = made_in(models, FOLDER, lambda: os.open(path, flags, 0o666))
    try:
        if os.write(fd, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(fd)


def written_for(models: Path, key: str, *, used: Container[str] = ()) -> list[Path]:
    """The files that go with `key`: what its fetches wrote and nobody changed since.

    Not those whose real path is in `used`, and not those that another model's fetch wanted too, or counts on
    while it runs: such a one is from now on remembered as written for that model.
    """
    mine = [file for file in _read(memory_path(models, key), key) if file.is_written]
    others = _wants_of_others(models, key) if mine else {}
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
        wants = others.get(join(parent(key), file.name), ())
        heirs = [want for want in wants if want.takes(file.size_bytes) and (models / want.key).exists()]
        if not heirs:
            found.append(path)
        elif not any(_is_handed_over(file, heir, models=models) for heir in heirs):
            log.warning("%s stays: it could not be noted that %s needs it", path, heirs[0].key)
    return found


def is_own(models: Path, key: str, name: str) -> bool:
    """Whether the file `name` is as a fetch for `key` wrote it, and wanted by no other model's fetch."""
    place = join(parent(key), name)
    mine = (file for file in _read(memory_path(models, key), key) if file.name == name)
    is_ours = any(file.is_written and file.is_unchanged(models / place) for file in mine)
    return is_ours and place not in _wants_of_others(models, key)


def _wants_of_others(models: Path, key: str) -> Mapping[str, Collection[Want]]:
    """By place: what fetches of other models brought or found, and what those that run are to."""
    found = {place: list(wants) for place, wants in wants_of_others(models, key).items()}
    for path, other in _memories(models):
        if other != key:
            for file in _read(path, other):
                found.setdefault(join(parent(other), file.name), []).append(Want(other, file.name))
    return found


def _is_handed_over(file: Brought, heir: Want, *, models: Path) -> bool:
    try:
        note(models, heir.key, [replace(file, name=heir.name)])
    except OSError:
        return False
    return True


def forget(models: Path, key: str) -> None:
    """The model is gone."""
    with contextlib.suppress(OSError):
        memory_path(models, key).unlink()
    for folder in (models / FOLDER, (models / FOLDER).parent):
        with contextlib.suppress(OSError):
            folder.rmdir()


def sweep(models: Path, known: Container[str]) -> None:
    """Forget models that left the folder while no daemon ran; their files stay, as a person wanted it. One
    whose disk is away may come back."""
    for _, key in _memories(models):
        if key not in known and not is_away(models, key):
            forget(models, key)


def _memories(models: Path) -> list[tuple[Path, str]]:
    found = []
    for path in (models / FOLDER).glob("*.json"):
        key = _key(path)
        if key is not None and memory_path(models, key) == path:
            found.append((path, key))
    return found


def _key(path: Path) -> str | None:
    return next((key for key, _ in _lines(path)), None)


def _read(path: Path, key: str) -> list[Brought]:
    """Nothing if it cannot be read, or came with somebody's folder."""
    found: dict[str, Brought] = {}
    for said, files in _lines(path):
        for file in files if said == key else ():
            found[file.name] = _merged(found.get(file.name), file)
    return list(found.values())


def _merged(old: Brought | None, new: Brought) -> Brought:
    """What is known of a file after `new` was noted: who wrote it stays who wrote it."""
    was_written = old is not None and old.is_written and old.identity == new.identity
    return replace(new, is_written=new.is_written or was_written)


def _lines(path: Path) -> Iterator[tuple[str, list[Brought]]]:
    """Key and files of each line that can be read."""
    try:
        with path.open("rb") as file:
            lines = file.read(_LARGEST_BYTES).splitlines()
    except OSError:
        return
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            said = json.loads(line)
            files = [Brought(**one) for one in said["files"]]
            if isinstance(said["key"], str) and all(is_file_name(one.name) for one in files):
                yield said["key"], files
