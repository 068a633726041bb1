"""`check` and `schema`: what is wrong in a models folder, with no daemon; what a manifest may say.

Asks `folder.catalog` the same questions as the daemon does, so that both give the same answers.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from janagent import paths
from janagent.cli import output
from janagent.cli.options import Config, Json, Root
from janagent.cli.output import Exit, Failure
from janagent.redact import redact_text

if TYPE_CHECKING:
    from janagent.folder.catalog import Catalog
    from janagent.folder.entry import ModelEntry

SETTLE_LIMIT_S = 5.0
"""Files that keep changing for so long are judged as they are."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the result. `path` is relative to the root."""

    path: str
    severity: str
    """`fault`, `warning`, or `note`: nothing is wrong with it."""
    code: str
    message: str
    id: str = ""


def check(
    path: Annotated[
        Path | None, typer.Argument(metavar="[PATH]", help="A root, a folder, a manifest or a binary.")
    ] = None,
    root: Root = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Validate manifests and binaries; needs no daemon. Exits with 1 when there is a fault."""
    from janagent.config import Settings

    settings = Settings.load({"root": root}, config=config)
    with _place(path, settings.root) as (place, below):
        entries, problems = _look(place)
    chosen = [entry for entry in entries if _is_below(entry, below)]
    findings = [finding for entry in chosen for finding in findings_of(entry, is_offline=settings.offline)]
    if not below:
        findings += [Finding("models", "warning", "folder", problem) for problem in problems]
    faults, warnings = (sum(f.severity == kind for f in findings) for kind in ("fault", "warning"))
    if below and not chosen:
        raise Failure(f"{path}: no manifest and no model is there")
    if as_json:
        body = {
            "ok": not faults,
            "models": len(chosen),
            "findings": [asdict(finding) for finding in findings],
        }
        output.print_json(body)
    else:
        for finding in findings:
            print(output.clean(f"{finding.path}: {finding.severity}: {finding.message}".replace("\n", " ")))
        counts = ((len(chosen), "model"), (faults, "fault"), (warnings, "warning"))
        print(", ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in counts), file=sys.stderr)
    if faults:
        raise typer.Exit(Exit.FAULT)


def findings_of(entry: ModelEntry, *, is_offline: bool = False) -> list[Finding]:
    """The fault of one model, then its warnings. What a daemon would fetch is none, unless `is_offline`."""
    found = []
    if entry.fault is not None and entry.is_fetchable and not is_offline:
        source = redact_text(str(entry.manifest.origin or entry.manifest.download_url))
        words = f"its files are not here yet; a running janagent fetches them from {source}"
        found.append(Finding(entry.path, "note", entry.fault.code, words, entry.id))
    elif entry.fault is not None:
        found.append(Finding(entry.path, "fault", entry.fault.code, entry.fault.message, entry.id))
    if (problem := _key_problem(entry)) is not None:
        found.append(Finding(entry.path, "note", "key_missing", problem, entry.id))
    found += [Finding(entry.path, "warning", "warning", text, entry.id) for text in entry.warnings]
    return found


def _key_problem(entry: ModelEntry) -> str | None:
    """Why a remote model's key is not to be had here. The daemon may have other variables: no fault."""
    import asyncio

    from janagent.remote.keys import KeyProblem, resolve

    reference = entry.manifest.init.api_key
    if not entry.is_remote or not reference:
        return None
    try:
        asyncio.run(resolve(reference))
    except KeyProblem as problem:
        return f"for you, now: {problem}"
    return None


@contextmanager
def _place(path: Path | None, root: Path) -> Iterator[tuple[Path, str]]:
    """A root to scan, and the path below it (`models/x`) whose models are asked for; empty for all.

    A folder outside any root is looked at through a temporary root whose `models` is a link to it.
    """
    if path is None:
        if not paths.models_dir(root).is_dir():
            raise Failure(f"{paths.models_dir(root)} is not there; drop models into it, or: janagent starter")
        yield root, ""
        return
    asked = Path(os.path.abspath(path.expanduser()))
    if not asked.exists():
        raise Failure(f"{path}: there is no such file or folder", Exit.USAGE)
    models = paths.models_dir(root).absolute()
    if asked.is_relative_to(models):
        yield root, "" if asked == models else f"{paths.MODELS}/{asked.relative_to(models).as_posix()}"
    elif asked.is_dir() and paths.models_dir(asked).is_dir():
        yield asked, ""
    else:
        folder = asked if asked.is_dir() else asked.parent
        with tempfile.TemporaryDirectory(prefix="jan-check-") as made:
            paths.models_dir(Path(made)).symlink_to(folder)
            yield Path(made), "" if asked.is_dir() else f"{paths.MODELS}/{asked.name}"


def _look(root: Path) -> tuple[list[ModelEntry], tuple[str, ...]]:
    """Every model, in path order, once nothing is settling any more, and sentences about folders."""
    from janagent.folder.catalog import Catalog

    catalog: Catalog = Catalog(root, default_root=False)
    deadline = time.monotonic() + SETTLE_LIMIT_S
    while True:
        now = time.monotonic()
        change = catalog.scan(None, now=now)
        if change.offline:
            raise Failure(f"{paths.models_dir(root)} cannot be read")
        if change.recheck_in_s is None or now + change.recheck_in_s > deadline:
            break
        time.sleep(change.recheck_in_s)
    return sorted(catalog.entries().values(), key=lambda entry: entry.path), change.problems


def _is_below(entry: ModelEntry, below: str) -> bool:
    """The model's manifest, or one of its binaries, is `below` or lies in it."""
    own = [entry.path, *(binary.path for binary in entry.binaries)]
    return not below or any(path == below or path.startswith(f"{below}/") for path in own)


def schema() -> None:
    """Print the JSON schema of a manifest, for editors."""
    from janagent.folder.schema import json_schema

    output.print_json(json_schema())
