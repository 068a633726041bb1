"""What an install, an uninstall or a look at the services found and did, as plain values."""

from dataclasses import dataclass, field
from pathlib import Path

from janagent.service.stamp import FileState
from janagent.service.systemctl import Unit


@dataclass(frozen=True, slots=True)
class FileReport:
    """One file: how it lay there, and what was done: written, updated, unchanged, removed, kept, absent."""

    path: Path
    state: FileState
    done: str = ""
    text: str = ""


@dataclass(slots=True)
class Report:
    """Everything, in the order in which it happened."""

    files: list[FileReport] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    """What the service manager was asked, as a person would type it."""
    notes: list[str] = field(default_factory=list)
    """Sentences about what is still to do."""
    units: list[Unit] = field(default_factory=list)

    @property
    def is_installed(self) -> bool:
        """Every file is there, whoever wrote it last."""
        return bool(self.files) and all(file.state is not FileState.ABSENT for file in self.files)

    @property
    def has_kept(self) -> bool:
        """A file was left because a person changed it, or wrote it."""
        return any(file.done == "kept" for file in self.files)
