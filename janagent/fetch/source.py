"""Which repo, revision and file an origin or a `download_url` means, or that it is a plain address.

Pure string work; nothing is asked. Neighbours: `folder.origin` says what can be an origin, importers
act on it.
"""

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from janagent.folder.modelsets import has_binary_suffix
from janagent.folder.origin import HUB_HOSTS, is_origin, is_repo, is_url

_REPO_PATH = re.compile(
    r"/([^/]+/[^/@]+)(?:@([^/]+))?(?:/tree/([^/]+)(?:/.*)?|/(?:blob|resolve|raw)/([^/]+)(?:/(.+?))?)?/?"
)


@dataclass(frozen=True, slots=True)
class Source:
    """A repo, perhaps at a revision and with one file named; or the `url` of a file or folder elsewhere."""

    repo: str | None = None
    revision: str | None = None
    file: str | None = None
    url: str | None = None


def parse(text: str, *, endpoint: str) -> Source | None:
    """What `text` means, with `endpoint` as the hub; None when it names no place."""
    repo, _, revision = text.partition("@")
    if is_repo(repo):
        return Source(repo=repo, revision=revision or None)
    if not is_url(text):
        if not is_origin(text):
            return None
        text = f"https://{text}"
    parts = urlsplit(text)
    if parts.hostname in HUB_HOSTS or parts.netloc == urlsplit(endpoint).netloc:
        match = _REPO_PATH.fullmatch(parts.path)
        if match is not None and is_repo(match[1]):
            revision = match[2] or match[3] or match[4] or ""
            file = unquote(match[5]) if match[5] else None
            return Source(repo=match[1], revision=unquote(revision) or None, file=file)
    return Source(url=text)


def within(url: str, name: str) -> str:
    """The address of the file `name` at a plain `url`: that of a folder, or of a file beside it.

    What the URL has behind `?` stays: a signature may be for the whole folder.
    """
    parts = urlsplit(url)
    folder, _, last = parts.path.rpartition("/")
    if has_binary_suffix(last):
        if unquote(last) == name:
            return url
    elif last:
        folder = parts.path
    return parts._replace(path=f"{folder}/{quote(name)}", fragment="").geturl()
