"""From a spec to a plan: `default` takes the repo, `thebloke` (and `janhq`) one quantization of it.

`default` leaves out JSON files of the repo: beside the person's manifest, a repo's `model.json` would be a
second one. Whoever wants such a file names it in `files`. All else comes, README and .gitattributes too.
A file named by an address outside the hub comes from there, without a token.
Neighbours: `source` reads the addresses, `hub` lists the repo, `quantizations` chooses.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from janagent.children.wire import MEMORY_SETTINGS, FetchSpec
from janagent.fetch.client import Auth
from janagent.fetch.faults import Code, FetchError
from janagent.fetch.hub import Hub
from janagent.fetch.names import checked
from janagent.fetch.peek import header_of
from janagent.fetch.plan import Plan, RemoteFile
from janagent.fetch.quantizations import choose, is_gguf, offered, projector
from janagent.fetch.source import Source, parse
from janagent.folder.estimate import Budget
from janagent.folder.gguf import Header
from janagent.folder.origin import download_name
from janagent.folder.parameters import InitParameters
from janagent.folder.quantization import Terms


async def make_plan(spec: FetchSpec, hub: Hub) -> Plan:
    """What to fetch for `spec`. Raises FetchError."""
    address = spec.download_url if _is_url(spec.download_url) else None
    source = parse(address or spec.origin or "", endpoint=hub.endpoint)
    if source is None:
        words = f"the origin {spec.origin!r} names no repo and no file; write owner/repo or a file's URL"
        raise FetchError(Code.BAD_ORIGIN, words, is_permanent=True)
    if source.url is not None:
        name = checked(download_name(source.url) or "")
        return Plan((RemoteFile(name, source.url),), f"{name} comes from its own address")
    files = await hub.repo_files(source.repo or "", revision=source.revision)
    header = None
    if is_choice(spec, source) and len(choices := offered(files)) > 1:
        smallest = min(choices, key=lambda choice: choice.size_bytes)
        header = await header_of(smallest.files[0], auth=Auth(hub.token, hub.endpoint))
    plan = plan_of(spec, source, files, header=header)
    for file in plan.files:
        checked(file.name)
    return plan


def is_choice(spec: FetchSpec, source: Source) -> bool:
    """Whether nothing names the files, so that one of several quantizations is to be chosen."""
    is_named = source.file is not None or spec.download_url is not None or spec.files
    return not is_named and spec.import_format != "default"


def plan_of(
    spec: FetchSpec, source: Source, files: Sequence[RemoteFile], *, header: Header | None = None
) -> Plan:
    """What to take of a repo's `files`. `header` is that of one of its models, if it is known."""
    if not any(is_gguf(file) for file in files):
        words = (
            f"{source.repo} holds no GGUF file, so there is nothing to run; look for a repo ending in -GGUF"
        )
        raise FetchError(Code.NO_GGUF, words, is_permanent=True)
    wanted = source.file
    if wanted is None and spec.download_url and not _is_url(spec.download_url):
        wanted = download_name(spec.download_url)
    if wanted is not None:
        return _with_projector(_named(wanted, files), files, f"{wanted} is what the manifest names")
    if spec.files:
        return Plan(_listed(spec.files, files), "the files that the manifest lists")
    choices = offered(files)
    if spec.import_format == "default" or not choices:
        kept = tuple(file for file in files if not file.name.lower().endswith(".json"))
        return Plan(kept, f"the whole of {source.repo}, without its JSON files")
    best, note = choose(choices, _terms(spec, files, header))
    return _with_projector(best.files, files, note)


def _terms(spec: FetchSpec, files: Sequence[RemoteFile], header: Header | None) -> Terms:
    init = InitParameters.model_validate({name: getattr(spec, name) for name in MEMORY_SETTINGS})
    along = projector(files)
    projector_bytes = (along.size_bytes or 0) if along is not None else 0
    return Terms(Budget(spec.ram_bytes, spec.gpu_bytes), init, header, projector_bytes)


def _named(name: str, files: Sequence[RemoteFile]) -> tuple[RemoteFile, ...]:
    """The file of this name; of a split quantization all parts."""
    for choice in offered(files):
        if any(file.name == name for file in choice.files):
            return choice.files
    found = tuple(file for file in files if file.name == name)
    if not found:
        _refuse(name, files)
    return found


def _listed(patterns: Sequence[str], files: Sequence[RemoteFile]) -> tuple[RemoteFile, ...]:
    for pattern in patterns:
        if not any(fnmatchcase(file.name, pattern) for file in files):
            _refuse(pattern, files)
    return tuple(file for file in files if any(fnmatchcase(file.name, pattern) for pattern in patterns))


def _refuse(name: str, files: Sequence[RemoteFile]) -> None:
    names = [file.name for file in files]
    near = get_close_matches(name, names, n=3, cutoff=0.3) or names[:3]
    words = f"the repo holds no {name}; the nearest names are {', '.join(near)}"
    raise FetchError(Code.FILE_NOT_FOUND, words, is_permanent=True)


def _with_projector(chosen: tuple[RemoteFile, ...], files: Sequence[RemoteFile], note: str) -> Plan:
    along = projector(files)
    if along is None or along in chosen:
        return Plan(chosen, note)
    return Plan((*chosen, along), f"{note}; with the projector {along.name}")


def _is_url(text: str | None) -> bool:
    return text is not None and "://" in text
