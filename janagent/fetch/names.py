"""Which names of a repo may become files below a folder.

Owns the refusal of names that would leave the folder, or touch what is janagent's, git's or the system's.
Pure. Neighbours: `hub` and the importers, which check every name before anything is fetched.
"""

import re

from janagent.fetch.faults import Code, FetchError

_MOST_BYTES = 255
_PRIVATE = frozenset({".janagent", ".git"})
_RESERVED = re.compile(r"(?i)(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?")


def is_safe(name: str) -> bool:
    """Whether `name`, a path with "/", stays below the folder on every system."""
    return (
        name.isprintable()
        and not any(character in name for character in '\\:*?"<>|')
        and all(_is_safe_part(part) for part in name.split("/"))
    )


def checked(name: str) -> str:
    """`name` itself. Raises FetchError where it is not safe."""
    if is_safe(name):
        return name
    raise FetchError(
        Code.UNSAFE_NAME,
        f"the origin names a file {name!r}, which must not be written below the models folder; "
        "nothing was fetched. Name the wanted files in `files` or `download_url`, or use another origin",
        is_permanent=True,
    )


def _is_safe_part(part: str) -> bool:
    return (
        part not in ("", ".", "..")
        and part == part.rstrip(". ")
        and part.casefold() not in _PRIVATE
        and len(part.encode()) <= _MOST_BYTES
        and _RESERVED.fullmatch(part) is None
    )
