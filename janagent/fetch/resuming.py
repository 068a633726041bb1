"""Goes on with what an interrupted fetch decided, though it might decide otherwise by now.

A choice among quantizations depends on the machine's memory and the manifest's context. A fetch that is taken
up again must not choose anew because one of them changed, or it would drop what came already. Neighbours:
`importers` makes the plan, `record` knows the old one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from janagent.children.wire import FetchSpec
from janagent.fetch.hub import Hub
from janagent.fetch.importers import make_plan
from janagent.fetch.plan import Plan, RemoteFile
from janagent.fetch.quantizations import is_gguf
from janagent.fetch.record import Record


async def plan_for(spec: FetchSpec, hub: Hub, record: Record) -> Plan:
    """What to fetch for `spec`: what `record` says was chosen, while the repo still has it; else what suits
    best now. Raises FetchError."""
    chosen = frozenset(name for name in record.wanted() if name.lower().endswith(".gguf"))
    if not chosen or spec.download_url or spec.files:
        return await make_plan(spec, hub)
    of_hub = {field.name: getattr(hub, field.name) for field in fields(hub)}
    plan = await make_plan(spec, _Narrowed(**of_hub, chosen=chosen))
    if {file.name for file in plan.files if is_gguf(file)} != chosen:
        return plan
    return replace(plan, note=f"going on with what was chosen before: {', '.join(sorted(chosen))}")


def narrowed(files: Sequence[RemoteFile], chosen: frozenset[str]) -> tuple[RemoteFile, ...]:
    """`files` without the models that were not chosen; all of them if one that was is no longer there."""
    if not chosen <= {file.name for file in files}:
        return tuple(files)
    return tuple(file for file in files if file.name in chosen or not is_gguf(file))


@dataclass(frozen=True, slots=True)
class _Narrowed(Hub):
    """A hub that shows no alternatives to what was chosen."""

    chosen: frozenset[str] = frozenset()

    async def repo_files(self, repo: str, *, revision: str | None = None) -> tuple[RemoteFile, ...]:
        return narrowed(await Hub.repo_files(self, repo, revision=revision), self.chosen)
