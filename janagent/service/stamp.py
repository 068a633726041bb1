"""Files that janagent writes for others to read, each with a stamp that tells whether it is still as written.

The stamp is the last line, a comment with a hash of all before it. What carries none is somebody else's; what
does not fit its own was changed by a person. Neither is overwritten or removed here.
"""

import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_STAMP = re.compile(r"^(?:#|<!--) written by janagent service install; sha256 ([0-9a-f]{64})(?: -->)?$")


class FileState(StrEnum):
    """How a file lies there, against what would be written now."""

    ABSENT = "absent"
    CURRENT = "current"
    OUTDATED = "outdated"
    """As an earlier install wrote it."""
    CHANGED = "changed"
    """Written by janagent, then changed by a person."""
    FOREIGN = "foreign"
    """Not written by janagent."""

    @property
    def is_ours(self) -> bool:
        """It may be replaced and removed."""
        return self in (FileState.CURRENT, FileState.OUTDATED)

    @property
    def is_in_the_way(self) -> bool:
        """Somebody else has to decide about it."""
        return self in (FileState.CHANGED, FileState.FOREIGN)


@dataclass(frozen=True, slots=True)
class StampedFile:
    """A file to write: where, and its text without the stamp."""

    path: Path
    body: str

    @property
    def text(self) -> str:
        """What is written, stamp included."""
        stamp = f"written by janagent service install; sha256 {_digest(self.body)}"
        return f"{self.body}{f'<!-- {stamp} -->' if self.path.suffix == '.plist' else f'# {stamp}'}\n"

    def state(self) -> FileState:
        """How it lies there now. Raises OSError when that cannot be read."""
        if self.path.is_symlink():
            return FileState.FOREIGN  # whoever keeps such files elsewhere looks after them
        try:
            text = self.path.read_text("utf-8", errors="replace")
        except FileNotFoundError:
            return FileState.ABSENT
        body, _, last = text.removesuffix("\n").rpartition("\n")
        stamp = _STAMP.match(last)
        if stamp is None:
            return FileState.CHANGED if "written by janagent service install" in text else FileState.FOREIGN
        if stamp[1] != _digest(body + "\n"):
            return FileState.CHANGED
        return FileState.CURRENT if text == self.text else FileState.OUTDATED

    def write(self) -> None:
        """Put it there whole or not at all, readable by everybody. Raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, making = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(self.text)
            os.chmod(making, 0o644)
            os.replace(making, self.path)
        except BaseException:
            os.unlink(making)
            raise


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()
