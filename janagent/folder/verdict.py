"""What `entries` finds out about one model's files, while it finds out. Pure."""

from dataclasses import dataclass, field

from janagent.folder.entry import Binary, Condition
from janagent.folder.fault import Fault
from janagent.folder.gguf import Header


@dataclass(slots=True)
class Verdict:
    """What became of one model's files."""

    condition: Condition = Condition.COMPLETE
    fault: Fault | None = None
    binaries: tuple[Binary, ...] = ()
    header: Header | None = None
    projector: Header | None = None
    warnings: list[str] = field(default_factory=list)
    is_settling: bool = False

    def fail(self, condition: Condition, code: str, message: str, *, is_settling: bool = False) -> None:
        """Keep the first fault found."""
        self.is_settling = is_settling and (self.fault is None or self.is_settling)
        if self.fault is None:
            self.condition, self.fault = condition, Fault(code, message)
