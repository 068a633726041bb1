"""Goes on with what an interrupted fetch decided, though it might decide otherwise by now.

A choice among quantizations depends on the machine's memory and the manifest's context. A fetch that is taken
up again must not choose anew because one of them changed, or it would drop what came already. Neighbours:
`importers` makes the plan, `record` knows the old one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from janagent.children.wire import FetchSpec
from janagent.fetch.hub import Hub
from janagent.fetch.importers import make_plan
from janagent.fetch.plan import Plan, RemoteFile
from janagent.fetch.quantizations import is_gguf
from janagent.fetch.record import Entry, Record


async def plan_for(spec: FetchSpec, hub: Hub, record: Record) -> Plan:
    """What to fetch for `spec`: what `record` says was chosen, while the repo still has it; else what suits
    best now. Raises FetchError."""
    chosen = {entry.name: entry for entry in record.wanted() if entry.name.lower().endswith(".gguf")}
    if not chosen or spec.download_url or spec.files:
        return await make_plan(spec, hub)
    plan = await make_plan(spec, replace(hub, shown=lambda files: narrowed(files, chosen.values())))
    if {file.name for file in plan.files if is_gguf(file)} != chosen.keys():
        return plan
    return replace(plan, note=f"going on with what was chosen before: {', '.join(sorted(chosen))}")


def narrowed(files: Sequence[RemoteFile], chosen: Iterable[Entry]) -> tuple[RemoteFile, ...]:
    """`files` without the models that were not chosen; all of them if one that was is no longer there."""
    kept = [next((file for file in files if _is_same(file, entry)), None) for entry in chosen]
    if None in kept:
        return tuple(files)
    return tuple(file for file in files if file in kept or not is_gguf(file))


def _is_same(file: RemoteFile, entry: Entry) -> bool:
    """A file that was chosen may have been moved out of its folder; then its content tells which it was."""
    if entry.sha256 is None or file.sha256 is None or entry.name == file.name:
        return entry.name == file.name
    return entry.sha256 == file.sha256 and entry.name == file.name.rpartition("/")[2]
