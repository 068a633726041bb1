"""What a fetch is to bring: the files with their addresses, sizes and hashes, and why these.

Knows nothing of how files are transferred. Neighbours: `importers` and `direct` make plans, `hub` tells what
a repo holds, `transfer` carries a plan out.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from janagent.folder.defaults import NO_DEFAULTS, Defaults
from janagent.folder.records import part_name


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file to fetch. `name` is its path below the target folder, checked to stay in there.

    `size_bytes` is None until the server says. Of a large file the hub knows the `sha256`, of a small one the
    git blob id. With `is_hub` the hub's token may go to the host of `url`, never on to a redirect's target.
    `cached` is where this machine may have it already.
    """

    name: str
    url: str
    size_bytes: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None
    is_hub: bool = False
    cached: Path | None = None

    @property
    def source(self) -> str:
        """Tells URLs apart without keeping the secrets that one may carry."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:16]

    @property
    def part(self) -> str:
        """The path of the unfinished file, below the same folder."""
        return part_name(self.name, self.sha256 or self.git_sha1 or self.source)


@dataclass(frozen=True, slots=True)
class Plan:
    """The files of one fetch; `note` is the choice and its reason, for people. `defaults` are the repo's."""

    files: tuple[RemoteFile, ...]
    note: str = ""
    defaults: Defaults = NO_DEFAULTS
