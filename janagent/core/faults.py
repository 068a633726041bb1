"""Refusals: why a request or a command cannot be done, with a code that `http.errors` maps to a status.

Knows nothing of HTTP. `Fault` (folder.fault) describes a state; `Refusal` answers somebody who asked.
"""

from typing import Self

from janagent.folder.fault import Fault


class Refusal(Exception):
    """The answer "no": `message` says what to do next, `retry_after_s` when asking again makes sense."""

    def __init__(
        self, code: str, message: str, *, retry_after_s: float | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
        self.param = param

    @classmethod
    def of(cls, fault: Fault, *, code: str | None = None) -> Self:
        """The refusal that follows from a standing fault, under another code if given."""
        return cls(code or fault.code, fault.message)

    def __repr__(self) -> str:
        return f"Refusal({self.code!r}, {self.message!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Refusal) and (self.code, self.message) == (other.code, other.message)

    __hash__ = Exception.__hash__
