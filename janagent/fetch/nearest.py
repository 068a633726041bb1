"""A file that is not there: which others the repo holds instead.

Neighbours: `importers` refuses names that the list of a repo lacks; `with_nearest` is for a file that its
server lacks although the list had it, or that changed since.
"""

from collections.abc import Sequence
from difflib import get_close_matches

from janagent.children.wire import FetchSpec
from janagent.fetch.faults import Code, FetchError
from janagent.fetch.hub import Hub
from janagent.fetch.source import parse
from janagent.folder.origin import is_url

MOST = 3


def nearest(name: str, names: Sequence[str]) -> str:
    """Which of `names` may have been meant, as the end of a sentence."""
    near = get_close_matches(name, names, n=MOST, cutoff=0.3) or names[:MOST]
    return f"the nearest names are {', '.join(near)}" if near else "the repo holds nothing else"


async def with_nearest(error: FetchError, *, spec: FetchSpec, hub: Hub) -> FetchError:
    """`error`; with the names nearest to it where it says that a file is missing."""
    if error.code is not Code.FILE_NOT_FOUND or not error.name:
        return error
    source = parse(
        (spec.download_url if is_url(spec.download_url) else spec.origin) or "", endpoint=hub.endpoint
    )
    hint = "check the address"
    if source is not None and source.repo is not None:
        try:
            files = await hub.repo_files(source.repo, revision=source.revision)
        except FetchError:
            return error
        hint = nearest(error.name, [file.name for file in files if file.name != error.name])
    return FetchError(error.code, f"{error.message}; {hint}", is_permanent=error.is_permanent)
