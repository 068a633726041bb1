"""From a spec to a plan: `default` takes the repo, `thebloke` (and `janhq`) one quantization of it.

`default` leaves out JSON files of the repo: beside the person's manifest, a repo's `model.json` would be a
second one. Whoever wants such a file names it in `files`. All else comes, README and .gitattributes too.
What could not end up as a model is refused before anything is fetched.
A file keeps its path within the repo, except one that was chosen: it lies beside the manifest, where the
catalog looks for it. What an address outside the hub names comes from there, without a token.
Neighbours: `source` reads the addresses, `hub` lists the repo, `quantizations` chooses.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from janagent.children.wire import MEMORY_SETTINGS, FetchSpec
from janagent.fetch import jan
from janagent.fetch.client import Auth
from janagent.fetch.faults import Code, FetchError
from janagent.fetch.hub import Hub
from janagent.fetch.names import checked
from janagent.fetch.nearest import nearest
from janagent.fetch.peek import beginning, header_of
from janagent.fetch.plan import Plan, RemoteFile
from janagent.fetch.quantizations import (
    Quantization,
    choose,
    gguf_sets,
    is_gguf,
    is_projector,
    likeliest,
    offered,
    projector,
)
from janagent.fetch.source import Source, parse, within
from janagent.folder.defaults import LARGEST_BYTES, affordable
from janagent.folder.estimate import Budget
from janagent.folder.gguf import Header
from janagent.folder.origin import download_name, is_url
from janagent.folder.parameters import InitParameters
from janagent.folder.quantization import Terms

log = logging.getLogger(__name__)


async def make_plan(spec: FetchSpec, hub: Hub) -> Plan:
    """What to fetch for `spec`: the file that an absolute `download_url` names, and what the origin has to
    give. Raises FetchError."""
    if not is_url(spec.download_url):
        return _checked(await _plan_from(spec.origin, spec, hub))
    plan = await _plan_from(spec.download_url, spec.model_copy(update={"files": ()}), hub)
    if spec.files:
        rest = await _plan_from(spec.origin, spec.model_copy(update={"download_url": None}), hub)
        main = [file for file in plan.files if not is_projector(file)]  # `files` says which one is used
        plan = replace(plan, files=_united(main, rest.files), note=f"{plan.note}; and {rest.note}")
    return _checked(plan)


async def _plan_from(address: str | None, spec: FetchSpec, hub: Hub) -> Plan:
    source = parse(address or "", endpoint=hub.endpoint)
    if source is None:
        words = f"the origin {address!r} names no repo and no file; write owner/repo or a file's URL"
        raise FetchError(Code.BAD_ORIGIN, words, is_permanent=True)
    if source.url is not None:
        return _direct(source.url, spec)
    files = await hub.repo_files(source.repo or "", revision=source.revision)
    auth, is_janhq = Auth(hub.token, hub.endpoint), spec.import_format == "janhq"
    header, choices = None, offered(files)
    if choices and (is_janhq or (len(choices) > 1 and is_choice(spec, source, files))):
        header = await header_of(likeliest(choices).files[0], auth=auth)
    plan = plan_of(spec, source, files, header=header)
    return await _with_defaults(plan, files, _terms(spec, files, header), auth) if is_janhq else plan


async def _with_defaults(plan: Plan, files: Sequence[RemoteFile], terms: Terms, auth: Auth) -> Plan:
    """`plan` with what the repo's `model.json` or `model.yml` proposes. A file that cannot be used is a
    warning in the log; one that cannot be had at this moment is worth another try of the whole fetch."""
    by_name = {file.name: file for file in files}
    file = next((by_name[name] for name in jan.NAMES if name in by_name), None)
    if file is None:
        return plan
    try:
        data = await beginning(file, auth=auth, limit_bytes=LARGEST_BYTES + 1) if file.size_bytes else b""
        found, warnings = jan.read(file.name, data)
    except (jan.Unreadable, FetchError) as error:
        if isinstance(error, FetchError) and not error.is_permanent:
            raise
        log.warning("%s gives no defaults: it %s", file.name, error)
        return plan
    for warning in warnings:
        log.warning("%s: %s", file.name, warning)
    weights = sum(file.size_bytes or 0 for file in plan.files if is_gguf(file))
    kept = affordable(found, weights=weights, header=terms.header, init=terms.init, budget=terms.budget)
    if kept != found:
        log.warning("%s: ctx_len and n_parallel are left out, the model would not fit with them", file.name)
    return replace(plan, note=f"{plan.note}; defaults from {file.name}", defaults=kept)


def _direct(url: str, spec: FetchSpec) -> Plan:
    """Files at a plain address, which nobody can list: each has to be named."""
    for pattern in spec.files:
        if any(character in pattern for character in "*?["):
            words = f"files: {pattern!r} is a pattern, but only a hub's repo can be searched: name the files"
            raise FetchError(Code.BAD_ORIGIN, words, is_permanent=True)
    names = [*spec.files]
    if spec.download_url and not is_url(spec.download_url):
        names.insert(0, download_name(spec.download_url) or "")
    if names:
        wanted = [RemoteFile(name, within(url, name)) for name in dict.fromkeys(names)]
    else:
        name = download_name(url)
        if not name:
            words = "the origin is the address of a folder: name its files in `download_url` or `files`"
            raise FetchError(Code.BAD_ORIGIN, words, is_permanent=True)
        wanted = [RemoteFile(name, url)]
    host = url.partition("://")[2].partition("/")[0].rpartition("@")[2]
    return Plan(tuple(wanted), f"{', '.join(file.name for file in wanted)} from {host}")


def is_choice(spec: FetchSpec, source: Source, files: Sequence[RemoteFile]) -> bool:
    """Whether nothing names the files, so that one of several quantizations is to be chosen.

    Where all lie in folders of the repo, no manifest beside those would find one (contract, section 1): then
    `default` chooses too, and what was chosen comes to lie beside the manifest.
    """
    if source.file is not None or spec.download_url is not None or spec.files:
        return False
    return spec.import_format != "default" or all("/" in one.name for one in gguf_sets(files) if one.is_whole)


def plan_of(
    spec: FetchSpec, source: Source, files: Sequence[RemoteFile], *, header: Header | None = None
) -> Plan:
    """What to take of a repo's `files`. `header` is that of one of its models, if it is known."""
    if not any(is_gguf(file) for file in files):
        words = (
            f"{source.repo} holds no GGUF file, so there is nothing to run; look for a repo ending in -GGUF"
        )
        raise FetchError(Code.NO_GGUF, words, is_permanent=True)
    named = _wanted(spec, source, files)
    if spec.files:
        return Plan(_united(named, _listed(spec.files, files)), "the files that the manifest names")
    if named:
        return _with_projector(named, files, f"{named[0].name} is what the manifest names")
    choices = offered(files)
    if not choices:
        raise _no_model(source, files)
    if not is_choice(spec, source, files):
        kept = tuple(file for file in files if not file.name.lower().endswith(".json"))
        return Plan(kept, f"the whole of {source.repo}, without its JSON files")
    best, note = choose(choices, _terms(spec, files, header))
    plan = _with_projector(best.files, files, note)
    return replace(plan, files=tuple(_moved(file, "") for file in plan.files))


def _wanted(spec: FetchSpec, source: Source, files: Sequence[RemoteFile]) -> tuple[RemoteFile, ...]:
    """The one file that `download_url` or the address itself names, with its parts; under the name by which
    the catalog will look for it."""
    if spec.download_url:
        name = download_name(spec.download_url) or ""
        found = _named(source.file if is_url(spec.download_url) and source.file else name, files)
        return tuple(_moved(file, name.rpartition("/")[0]) for file in found)
    if source.file is None or spec.files:
        return ()
    return tuple(_moved(file, "") for file in _named(source.file, files))


def _named(name: str, files: Sequence[RemoteFile]) -> tuple[RemoteFile, ...]:
    """The file of this name; of a split quantization all parts."""
    for choice in gguf_sets(files):
        if any(file.name == name for file in choice.files):
            return _whole(choice)
    found = tuple(file for file in files if file.name == name)
    if not found:
        _refuse(name, files)
    return found


def _listed(patterns: Sequence[str], files: Sequence[RemoteFile]) -> tuple[RemoteFile, ...]:
    """What `files` selects: as in the catalog, a pattern without a slash stays at the top of the repo."""

    def is_meant(file: RemoteFile, pattern: str) -> bool:
        return fnmatchcase(file.name, pattern) and ("/" in pattern or "/" not in file.name)

    for pattern in patterns:
        if not any(is_meant(file, pattern) for file in files):
            _refuse(pattern, files)
    meant = {file.name: file for file in files if any(is_meant(file, pattern) for pattern in patterns)}
    for choice in gguf_sets(files):  # a part stands for its set, as in the catalog
        if any(file.name in meant for file in choice.files):
            meant.update((file.name, file) for file in _whole(choice))
    return tuple(meant.values())


def _whole(choice: Quantization) -> tuple[RemoteFile, ...]:
    """Its files. Raises FetchError where the repo lacks some of a split set's parts."""
    if choice.is_whole:
        return choice.files
    words = f"the repo has {len(choice.files)} of the {choice.parts} parts of {choice.name}; name another"
    raise FetchError(Code.NO_GGUF, words, is_permanent=True)


def _no_model(source: Source, files: Sequence[RemoteFile]) -> FetchError:
    """There are GGUF files, but by their names no whole model among them."""
    names = [file.name for file in files if is_gguf(file)]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    words = (
        f"{source.repo} holds no whole model, only {', '.join(names[:3])}{more}; if one of them is a model, "
        "name it in download_url"
    )
    return FetchError(Code.NO_GGUF, words, is_permanent=True)


def _refuse(name: str, files: Sequence[RemoteFile]) -> None:
    words = f"the repo holds no {name}; {nearest(name, [file.name for file in files])}"
    raise FetchError(Code.FILE_NOT_FOUND, words, is_permanent=True)


def _terms(spec: FetchSpec, files: Sequence[RemoteFile], header: Header | None) -> Terms:
    said = {name: value for name in MEMORY_SETTINGS if (value := getattr(spec, name)) is not None}
    init = InitParameters.model_validate(said)
    along = projector(files)
    projector_bytes = (along.size_bytes or 0) if along is not None else 0
    return Terms(Budget(spec.ram_bytes, spec.gpu_bytes, spec.is_gpu_in_ram), init, header, projector_bytes)


def _with_projector(chosen: tuple[RemoteFile, ...], files: Sequence[RemoteFile], note: str) -> Plan:
    along = projector(files)
    if along is None or any(file.url == along.url and file.name == along.name for file in chosen):
        return Plan(chosen, note)
    return Plan((*chosen, _moved(along, "")), f"{note}; with the projector {along.name}")


def _moved(file: RemoteFile, folder: str) -> RemoteFile:
    """The same file, to lie in `folder` below the manifest's."""
    base = file.name.rpartition("/")[2]
    return replace(file, name=f"{folder}/{base}" if folder else base)


def _united(*groups: Iterable[RemoteFile]) -> tuple[RemoteFile, ...]:
    """All of them, each name once."""
    return tuple({file.name: file for group in groups for file in group}.values())


def _checked(plan: Plan) -> Plan:
    """Raises FetchError where a name must not be written."""
    for file in plan.files:
        checked(file.name)
    return plan
