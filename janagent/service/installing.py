"""Install, uninstall, look: the files of `plan` through `stamp`, then the manager through `linux` or `mac`.

All or nothing where a person's file is in the way: it is named, and nothing was written.
"""

from collections.abc import Sequence
from pathlib import Path

from janagent.service import plan
from janagent.service.linux import Linux
from janagent.service.mac import Mac
from janagent.service.plan import Facts, Part
from janagent.service.report import FileReport, Report
from janagent.service.stamp import FileState, StampedFile
from janagent.service.systemctl import ServiceError

IN_WORDS = {
    FileState.CHANGED: "was changed after janagent wrote it",
    FileState.FOREIGN: "was not written by janagent",
}


def manager(part: Part) -> Linux | Mac:
    """The service manager of this machine."""
    return Mac(part) if plan.is_mac() else Linux(part)


def install(
    parts: Sequence[Part],
    known: Facts,
    *,
    start: Sequence[Part] = (),
    is_dry_run: bool = False,
    report: Report | None = None,
) -> Report:
    """Write the files of `parts`, to start with the session or the machine; those of `start` start now.

    Whatever is as it should be is left alone, so a second time changes nothing. Raises ServiceError, OSError;
    a `report` that is given tells what was done until then.
    """
    report = Report() if report is None else report
    wanted = {part: _files(part, known) for part in parts}
    for part in parts:
        if words := manager(part).why_not():
            raise ServiceError(words)
    states = {file.path: file.state() for files in wanted.values() for file in files}
    in_the_way = [f"{path} {IN_WORDS[state]}" for path, state in states.items() if state.is_in_the_way]
    if in_the_way:
        raise ServiceError(
            f"{'; '.join(in_the_way)}: nothing was done. Move it away, then install again; "
            "changes of your own are kept in a drop-in (systemctl edit)"
        )
    for part, files in wanted.items():
        written = [
            file.path for file in files if _put(file, states[file.path], report, is_dry_run=is_dry_run)
        ]
        if not is_dry_run:
            manager(part).take_up(report, written=written, start=part in start)
    return report


def _put(file: StampedFile, state: FileState, report: Report, *, is_dry_run: bool) -> bool:
    """Whether it has to be written; done unless `is_dry_run`."""
    done = {FileState.ABSENT: "written", FileState.CURRENT: "unchanged"}.get(state, "updated")
    if state is not FileState.CURRENT and not is_dry_run:
        file.write()
    report.files.append(FileReport(file.path, state, done, file.text))
    return state is not FileState.CURRENT


def uninstall(
    parts: Sequence[Part], known: Facts, *, is_dry_run: bool = False, report: Report | None = None
) -> Report:
    """Take back what `install` did. What a person wrote or changed stays, marked `kept`. Raises ServiceError.

    A unit that janagent never wrote is not even stopped. `report` as in `install`.
    """
    report = Report() if report is None else report
    for part in parts:
        states = [(file.path, file.state()) for file in plan.files(part, known)]
        theirs = manager(part)
        is_known = any(state.is_ours or state is FileState.CHANGED for _, state in states)
        if is_known and not is_dry_run:
            theirs.give_up(report)
        for path, state in states:
            report.files.append(FileReport(path, state, _take(path, state, is_dry_run=is_dry_run)))
        if is_known and not is_dry_run:
            theirs.forget(report)
    report.notes += [
        f"{file.path} {IN_WORDS[file.state]}; it stays" for file in report.files if file.done == "kept"
    ]
    if Part.SYSTEM in parts and any(file.done == "removed" for file in report.files):
        report.notes.append("the user janagent, /janroot and /var/lib/janagent stay; remove them if you wish")
    return report


def _take(path: Path, state: FileState, *, is_dry_run: bool) -> str:
    if state is FileState.ABSENT:
        return "absent"
    if state.is_in_the_way:
        return "kept"
    if not is_dry_run:
        path.unlink()
    return "removed"


def look(parts: Sequence[Part], known: Facts) -> Report:
    """How the files and units of `parts` are."""
    report = Report()
    for part in parts:
        report.files += [FileReport(file.path, file.state()) for file in _files(part, known)]
        theirs = manager(part)
        if theirs.has_units:
            report.units.append(theirs.unit())
    return report


def _files(part: Part, known: Facts) -> list[StampedFile]:
    """Without systemd a unit would mean nothing."""
    files = plan.files(part, known)
    return files if manager(part).has_units else [file for file in files if file.path.suffix != ".service"]
