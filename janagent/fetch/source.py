"""Which repo, revision and file an origin or a `download_url` means, or that it is a plain address of a file.

Pure string work; nothing is asked. Neighbours: `folder.origin` says what can be an origin, importers
act on it.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from janagent.folder.origin import is_repo

_HUGGING_FACE = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
_REPO_PATH = re.compile(r"/([^/]+/[^/@]+)(?:@([^/]+))?(?:/(?:tree|blob|resolve|raw)/([^/]+)(?:/(.+?))?)?/?")


@dataclass(frozen=True, slots=True)
class Source:
    """A repo, perhaps at a revision and with one file named; or the `url` of a file anywhere else."""

    repo: str | None = None
    revision: str | None = None
    file: str | None = None
    url: str | None = None


def parse(text: str, *, endpoint: str) -> Source | None:
    """What `text` means, with `endpoint` as the hub; None when it names no repo and no file."""
    repo, _, revision = text.partition("@")
    if is_repo(repo):
        return Source(repo=repo, revision=revision or None)
    if "://" not in text:
        return None
    parts = urlsplit(text)
    if parts.hostname in _HUGGING_FACE or parts.netloc == urlsplit(endpoint).netloc:
        match = _REPO_PATH.fullmatch(parts.path)
        if match is not None and is_repo(match[1]):
            found = [unquote(part) if part else None for part in (match[2] or match[3], match[4])]
            return Source(repo=match[1], revision=found[0], file=found[1])
    return Source(url=text) if parts.path.strip("/") else None
