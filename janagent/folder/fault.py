"""A fault as a person and a program see it. Leaf: every reader in `folder` imports it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """An error as a person and a program see it. `message` says what to do next."""

    code: str
    message: str
