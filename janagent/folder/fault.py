"""A fault as a person and a program see it. Leaf: every reader in `folder` imports it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """An error as a person and a program see it. `message` says what to do next."""

    code: str
    words: str
    reason: str = ""
    """A further sentence. Apart, because thousands of models may share it."""

    @property
    def message(self) -> str:
        """All that is to be said."""
        return f"{self.words}. {self.reason}" if self.reason else self.words
