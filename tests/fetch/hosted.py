"""What the hub of the tests holds: repos, their revisions and files, and how each file is to misbehave.

Knows nothing of HTTP. Neighbour: `hub` serves it.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

BLOCK_BYTES = 1 << 20


class HostedFile:
    """One file of a repo. All attributes but the content's may be set at any time.

    A `*_times` of None means every time; a count goes down with each use. Misbehaviour applies to answers
    that carry the file's bytes, and so to the second host for a large file.
    """

    def __init__(self, name: str, content: Path | bytes, *, is_lfs: bool | None = None) -> None:
        self.name = name
        self.set_content(content)
        self.is_lfs = name.endswith((".gguf", ".bin", ".safetensors")) if is_lfs is None else is_lfs
        self.redirect_status = 302
        # Closes the connection after this many bytes of an answer.
        self.cut_after_bytes: int | None = None
        self.cut_times: int | None = None
        self.ignore_range = False
        self.fail_status: int | None = None
        self.fail_times: int | None = None
        self.retry_after_s: int | None = None
        # Says the same as a date; that has whole seconds.
        self.is_retry_a_date = False
        # Lets `fail_status` answer on the hub itself, before the redirect.
        self.fail_on_hub = False
        self.stall_after_bytes: int | None = None
        self.stall_times: int | None = None
        # Added to the announced length, and so to what the client waits for.
        self.lie_length = 0
        # Once so many bytes were sent in all, running answers are cut and `new_content` takes the place.
        self.change_after_bytes: int | None = None
        self.new_content: Path | bytes | None = None
        self.slow_bytes_per_s: float | None = None
        self.sent_bytes = 0

    def set_content(self, content: Path | bytes) -> None:
        """Give the file other bytes, and with them other hashes and another ETag."""
        size_bytes = len(content) if isinstance(content, bytes) else content.stat().st_size
        sha256 = hashlib.sha256()
        git_sha1 = hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)
        for start in range(0, size_bytes, BLOCK_BYTES):
            block = _read(content, start, min(BLOCK_BYTES, size_bytes - start))
            sha256.update(block)
            git_sha1.update(block)
        self.content = content
        self.size_bytes = size_bytes
        self.sha256 = sha256.hexdigest()
        self.git_sha1 = git_sha1.hexdigest()

    @property
    def hub_etag(self) -> str:
        """The ETag that the hub itself gives: a content hash, as the real one's."""
        return f'"{self.sha256 if self.is_lfs else self.git_sha1}"'

    @property
    def storage_etag(self) -> str:
        """The ETag of the second host, which is not the hub's."""
        return f'"{self.sha256[:32]}"'

    @property
    def lfs_pointer(self) -> bytes:
        """The text that git holds in place of a large file."""
        text = (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size_bytes}\n"
        )
        return text.encode()

    @property
    def blob_id(self) -> str:
        """Git's name for what the repo holds: of a large file, for its pointer."""
        if not self.is_lfs:
            return self.git_sha1
        pointer = self.lfs_pointer
        return hashlib.sha1(b"blob %d\0" % len(pointer) + pointer, usedforsecurity=False).hexdigest()

    def read(self, start: int, count: int) -> bytes:
        """Some bytes of the content, never more than asked for in memory."""
        return _read(self.content, start, count)

    def takes_one(self, attribute: str) -> bool:
        """Count one use of a `*_times`; False when they are used up."""
        left = getattr(self, attribute)
        if left is None:
            return True
        if left <= 0:
            return False
        setattr(self, attribute, left - 1)
        return True

    def count_sent(self, count: int) -> None:
        """Note bytes that went out, and change the content when it is time for that."""
        self.sent_bytes += count
        if self.change_after_bytes is not None and self.sent_bytes >= self.change_after_bytes:
            self.change_after_bytes = None
            assert self.new_content is not None, "change_after_bytes without new_content"
            self.set_content(self.new_content)


@dataclass(slots=True)
class Revision:
    """The files of a repo at one commit."""

    commit: str
    files: dict[str, HostedFile]


@dataclass(slots=True)
class Repo:
    """A repo with its revisions by name.

    `private_token` is the one token that may read it. A gated repo shows its file list to everybody, any
    other repo with a token shows nothing without it.
    """

    repo_id: str
    is_gated: bool = False
    private_token: str | None = None
    revisions: dict[str, Revision] = field(default_factory=dict)

    def add(self, revision: str, contents: Mapping[str, Path | bytes]) -> None:
        """Add or replace a revision; it is found by its name and by its commit."""
        files = {name: HostedFile(name, content) for name, content in contents.items()}
        told = "\n".join([self.repo_id, revision, *(f"{name} {file.sha256}" for name, file in files.items())])
        commit = hashlib.sha1(told.encode(), usedforsecurity=False).hexdigest()
        self.revisions[revision] = self.revisions[commit] = Revision(commit, files)


def _read(content: Path | bytes, start: int, count: int) -> bytes:
    if isinstance(content, bytes):
        return content[start : start + count]
    with content.open("rb", buffering=0) as file:
        return os.pread(file.fileno(), count, start)
