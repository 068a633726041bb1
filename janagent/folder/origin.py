"""What an `origin` and a `download_url` say by themselves: which kind, whose, on which host, which file.

Pure string work, offline. Neighbour: `manifest`, whose fields these are.
"""

import re
from enum import StrEnum
from functools import lru_cache
from urllib.parse import SplitResult, unquote, urlsplit

_OWNER_REPO = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9_-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*(?:@[A-Za-z0-9_][A-Za-z0-9_./-]*)?", re.ASCII
)
_BARE_HOST = re.compile(r"(?:localhost|[\w-]+(?:\.[\w-]+)+)(?::[0-9]{1,5})?(?:[/?#]\S*)?", re.ASCII)
_URL = re.compile(r"https?://[^\s/?#]+\S*", re.ASCII | re.IGNORECASE)
_HUB_FILE = re.compile(r"/[^/]+/[^/]+/(?:resolve|blob|raw)/[^/]+/(.+)")
HUB_HOSTS = frozenset({"huggingface.co", "hf.co", "www.huggingface.co"})
_AZURE_DOMAINS = (
    ".openai.azure.com",
    ".openai.azure.us",
    ".cognitiveservices.azure.com",
    ".services.ai.azure.com",
)
_OWNERS = {"thebloke": "thebloke", "janhq": "janhq", "jan-hq": "janhq"}
_ALTERNATIVES = "-gguf"
"""What the name of a repo ends in that offers one model in several quantizations, whoever owns it."""

ORIGIN_ALLOWED = (
    "owner/repo, owner/repo@revision, or a URL of a repo, of a file or of an API that starts with "
    "https:// or http://"
)
FILE_ALLOWED = "the name of a file within the origin, or a URL that starts with https:// or http://"
FILES_ALLOWED = "at most 256 names or globs of files within the origin"


class ImportFormat(StrEnum):
    """Who knows how to get the model, or to talk to it."""

    DEFAULT = "default"
    THEBLOKE = "thebloke"
    JANHQ = "janhq"
    OPENAI = "openai"
    AZURE_OPENAI = "azure_openai"


REMOTE = frozenset({ImportFormat.OPENAI, ImportFormat.AZURE_OPENAI})


def is_repo(origin: str) -> bool:
    """Whether it is `owner/repo`, perhaps with `@revision`."""
    return _OWNER_REPO.fullmatch(origin) is not None


def is_url(text: str | None) -> bool:
    """Whether it is a full address, and not a name or a host alone."""
    return text is not None and "://" in text


def is_origin(text: str) -> bool:
    """Whether it can be an origin at all: `owner/repo`, a URL, or a host with or without a path."""
    if is_repo(text):
        return True
    return (_URL.fullmatch(text) or _BARE_HOST.fullmatch(text)) is not None and bool(host(text))


def is_source(origin: str, *, is_file_named: bool = False) -> bool:
    """Whether files can be had there: a repo, or a URL that names more than a host. With `is_file_named`,
    something else says which files, and a host is enough."""
    parts = _split(origin)
    return is_repo(origin) or (parts is not None and (is_file_named or bool(parts.path.strip("/"))))


def is_file_name(text: str) -> bool:
    """Whether it can be a path within a repo: relative, and never out of it."""
    parts = text.split("/")
    is_plain = text.isprintable() and "\\" not in text and not is_url(text)
    return is_plain and not any(part in ("", ".", "..") for part in parts)


def is_download(text: str) -> bool:
    """Whether it can be a `download_url`."""
    if is_url(text):
        return _URL.fullmatch(text) is not None and is_file_name(download_name(text) or "")
    return is_file_name(text.partition("?")[0])


def _split(origin: str) -> SplitResult | None:
    """The parts of a URL, or of a host without a scheme; None for `owner/repo` and for nonsense."""
    if not is_url(origin):
        if is_repo(origin) or _BARE_HOST.fullmatch(origin) is None:
            return None
        origin = f"https://{origin}"
    try:
        parts = urlsplit(origin)
        _ = parts.port  # raises for one that is out of range
    except ValueError:
        return None
    return parts


@lru_cache(maxsize=4096)
def host(origin: str) -> str | None:
    """The host of a URL or bare host, lower case, without port."""
    return parts.hostname if (parts := _split(origin)) is not None else None


@lru_cache(maxsize=4096)
def owner(origin: str) -> str | None:
    """Whose it is: the owner of a repo, named or in a hub's URL; of another URL its host."""
    if (found := _owner_and_repo(origin)) is not None:
        return found[0]
    return host(origin)


def _owner_and_repo(origin: str) -> tuple[str, str] | None:
    """What a repo, named or in a hub's URL, is called; of a hub's page of an owner the repo is empty."""
    parts = _split(origin)
    if parts is None:
        path = origin if is_repo(origin) else ""
    else:
        path = parts.path.strip("/") if parts.hostname in HUB_HOSTS else ""
    names = path.split("/")
    return (names[0], names[1].partition("@")[0] if len(names) > 1 else "") if path else None


@lru_cache(maxsize=4096)
def recognise(origin: str) -> ImportFormat | None:
    """The import format that an origin gives away; None where it could be any."""
    if (name := host(origin)) is not None:
        if name == "api.openai.com" or name.endswith(".api.openai.com"):
            return ImportFormat.OPENAI
        if name.endswith(_AZURE_DOMAINS):
            return ImportFormat.AZURE_OPENAI
    owner_name, repo = _owner_and_repo(origin) or ("", "")
    if (known := _OWNERS.get(owner_name.lower())) is not None:
        return ImportFormat(known)
    return ImportFormat.THEBLOKE if repo.lower().endswith(_ALTERNATIVES) else None


def download_name(download: str) -> str | None:
    """The file that a `download_url` names: its path within the repo; of another URL the last part."""
    if not is_url(download):
        return download.partition("?")[0] or None
    if (parts := _split(download)) is None:
        return None
    if parts.hostname in HUB_HOSTS and (match := _HUB_FILE.fullmatch(parts.path)) is not None:
        return unquote(match[1])
    return unquote(parts.path.rpartition("/")[2]) or None
