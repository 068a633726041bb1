"""`service`: janagent as a service of this person or of the machine; shows each file it writes or removes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from janagent import paths
from janagent.cli import output
from janagent.cli.options import Config, Json, Root
from janagent.cli.output import Exit, Failure
from janagent.service import ServiceError, installing, plan
from janagent.service.plan import Part
from janagent.service.report import Report
from janagent.service.stamp import FileState

if TYPE_CHECKING:
    from janagent.config import Settings

PRIVATE = (Path("/tmp"), Path("/var/tmp"), Path("/run/user"))
"""A service with PrivateTmp sees others there."""
SYSTEM_CONFIG = Path("/etc/janagent/janagent.toml")

WORDS = {
    FileState.ABSENT: "absent",
    FileState.CURRENT: "installed",
    FileState.OUTDATED: "installed",
    FileState.CHANGED: "changed by somebody",
    FileState.FOREIGN: "not written by janagent",
}

app = typer.Typer(help="Start with the session or the machine, by systemd or launchd.", no_args_is_help=True)
Tray = Annotated[bool, typer.Option("--tray", help="The tray icon too, at each log-in.")]
System = Annotated[bool, typer.Option("--system", help="For the whole machine, a server (root; systemd).")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]


@app.command()
def install(
    tray: Tray = False,
    system: System = False,
    root: Root = None,
    config: Config = None,
    start: Annotated[bool, typer.Option("--start/--no-start", help="Start it now as well.")] = True,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Let janagent start by itself, and be started again when it fails. Safe to repeat."""
    parts = _parts(tray=tray, system=system)
    flags = _flags(root, config, system=system)
    given = dict(zip(flags[::2], flags[1::2], strict=True))
    settings = _settings(given.get("--root"), given.get("--config"), system=system)
    if system and not dry_run:
        _check_machine()
    known = plan.facts(longest_stop_s=settings.longest_stop_s, serve_flags=flags)
    notes = _unseen_variables() if not system else []
    now = list(parts) if start else []
    if Part.DAEMON in now and (words := _other_daemon(settings)):
        now.remove(Part.DAEMON)
        notes.append(words)
    report = Report(notes=notes)
    with _shown(report, as_json=as_json, is_dry_run=dry_run):
        installing.install(parts, known, start=now, is_dry_run=dry_run, report=report)


@app.command()
def uninstall(
    tray: Tray = False, system: System = False, dry_run: DryRun = False, as_json: Json = False
) -> None:
    """Take back what install did: stop it, remove the files that it wrote. Models and settings stay."""
    parts = _parts(tray=tray, system=system)
    if system and not dry_run:
        _check_root()
    report, known = Report(), _facts(system=system)
    with _shown(report, as_json=as_json, is_dry_run=dry_run):
        installing.uninstall(parts[::-1], known, is_dry_run=dry_run, report=report)
        _remind_of_tray(parts, report)
    if report.has_kept:
        raise typer.Exit(Exit.FAULT)


@app.command()
def status(tray: Tray = False, system: System = False, as_json: Json = False) -> None:
    """What is installed, and how it runs. Exits with 1 if it is not installed, 3 if it does not run."""
    report = installing.look(_parts(tray=tray, system=system), _facts(system=system))
    _show(report, as_json=as_json)
    if not report.is_installed:
        raise typer.Exit(Exit.FAULT)
    if any(unit.active != "active" for unit in report.units[:1]):
        raise typer.Exit(Exit.NO_DAEMON)


def _parts(*, tray: bool, system: bool) -> list[Part]:
    if tray and system:
        raise Failure("--tray is for a desktop, --system for a server: install them apart", code=Exit.USAGE)
    if system:
        return [Part.SYSTEM]
    if not tray:
        return [Part.DAEMON]
    # Without systemd the desktop starts the tray, and the tray the daemon.
    return [Part.DAEMON, Part.TRAY] if installing.manager(Part.DAEMON).has_units else [Part.TRAY]


def _flags(root: Path | None, config: Path | None, *, system: bool) -> tuple[str, ...]:
    """For `serve`; those of an earlier install unless others are given."""
    given = {"--root": root, "--config": config}
    flags = tuple(
        w for name, path in given.items() if path for w in (name, str(path.expanduser().absolute()))
    )
    if system and flags:
        told = f"the system-wide service serves /janroot and reads {SYSTEM_CONFIG}; mount a disk there"
        raise Failure(told, code=Exit.USAGE)
    return flags or (() if system else plan.installed_flags())


def _settings(root: str | None, config: str | None, *, system: bool) -> Settings:
    from janagent.config import Settings

    if not system:
        return Settings.load({"root": root}, config=Path(config) if config else None)
    return Settings.load(config=SYSTEM_CONFIG if SYSTEM_CONFIG.is_file() else None)


def _facts(*, system: bool) -> plan.Facts:
    """To compare with: whether a file is ours does not depend on what it would say now, nor on settings."""
    return plan.facts(longest_stop_s=0, serve_flags=() if system else plan.installed_flags())


@contextmanager
def _shown(report: Report, *, as_json: bool, is_dry_run: bool) -> Iterator[None]:
    """Show `report` in the end, also when only a part of it came about."""
    try:
        yield
    except ServiceError as error:
        if report.files:
            _show(report, as_json=as_json, is_dry_run=is_dry_run)
        raise Failure(str(error)) from None
    _show(report, as_json=as_json, is_dry_run=is_dry_run)


def _remind_of_tray(parts: list[Part], report: Report) -> None:
    if parts == [Part.DAEMON] and installing.look([Part.TRAY], _facts(system=False)).is_installed:
        report.notes.append("the tray still starts at log-in; that too: janagent service uninstall --tray")


def _check_root() -> None:
    if os.geteuid() != 0:
        raise Failure("the system-wide service is root's: sudo janagent service ... --system")


def _check_machine() -> None:
    """root asks, and the service's own user will be able to run this very janagent."""
    _check_root()
    for needed in (Path(sys.executable), Path(sys.executable).resolve(), Path(__file__).resolve()):
        for folder in needed.parents:
            if not folder.stat().st_mode & 0o001 or folder in PRIVATE:
                raise Failure(
                    f"the user janagent could not read {needed}, because {folder} is closed to it; "
                    "install janagent for all, for example: python3 -m venv /opt/janagent"
                )


def _unseen_variables() -> list[str]:
    names = sorted(name for name in os.environ if name.startswith("JANAGENT_"))
    if not names:
        return []
    told = f"{', '.join(names)}: set here, but the service will not see it"
    return [f"{told}; write it into {paths.config_file()}, or use --root, --config"]


def _other_daemon(settings: Settings) -> str:
    """Why it cannot start now: the root has its daemon already, and not as a service."""
    from janagent.lock import find_holder

    holder = find_holder(settings.root)
    if holder is None or holder.pid == installing.manager(Part.DAEMON).unit().pid:
        return ""
    return (
        f"janagent runs already (process {holder.pid}), not as a service; it goes on, and the service "
        "takes over at the next log-in, or stop it and install again"
    )


def _show(report: Report, *, as_json: bool, is_dry_run: bool = False) -> None:
    if as_json:
        output.print_json(_plain(report))
        return
    shown = output.table("FILE", "")
    for file in report.files:
        word = WORDS[file.state] if file.done in ("", "kept", "absent") else file.done
        is_planned = is_dry_run and file.done in ("written", "updated", "removed")
        shown.add_row(output.cell(str(file.path)), output.cell(f"would be {word}" if is_planned else word))
    output.console().print(shown)
    for file in report.files if is_dry_run else ():
        if file.text:
            output.write(f"\n--- {file.path}\n{file.text}")
    for command in report.commands:
        output.write(f"ran: {command}\n")
    for unit in report.units:
        pid = f" (process {unit.pid})" if unit.pid else ""
        by_itself = "starts by itself" if unit.is_enabled else "does not start by itself"
        output.write(
            f"{unit.name}: {unit.active}{pid}, {by_itself}{f'; {unit.words}' if unit.words else ''}\n"
        )
    for note in report.notes:
        output.say(note)


def _plain(report: Report) -> dict[str, Any]:
    files = [{"path": str(f.path), "state": f.state, "done": f.done} for f in report.files]
    units = [asdict(unit) for unit in report.units]
    return {"files": files, "units": units, "commands": report.commands, "notes": report.notes}
