"""What can end a fetch, in words for people.

Owns the codes. Every other module of the package raises `FetchError`; `__main__` tells the daemon.
"""

from enum import StrEnum


class Code(StrEnum):
    """Why a fetch ended. Clients may rely on these."""

    REPO_NOT_FOUND = "repo_not_found"
    FILE_NOT_FOUND = "file_not_found"
    GATED = "gated"
    UNAUTHORIZED = "unauthorized"
    NO_GGUF = "no_gguf"
    OFFLINE = "offline"
    DISK_FULL = "disk_full"
    DISK_ERROR = "disk_error"
    NOT_WRITABLE = "not_writable"
    NAME_TOO_LONG = "name_too_long"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    NETWORK = "network"
    STALLED = "stalled"
    WRONG_LENGTH = "wrong_length"
    WRONG_HASH = "wrong_hash"
    CHANGED = "changed"
    UNSAFE_NAME = "unsafe_name"
    IN_THE_WAY = "in_the_way"
    BAD_ORIGIN = "bad_origin"
    NOT_A_MODEL = "not_a_model"
    INTERNAL = "internal_error"


_PASSING = frozenset({Code.OFFLINE, Code.RATE_LIMITED, Code.SERVER_ERROR, Code.NETWORK, Code.STALLED})


class FetchError(Exception):
    """Why the files cannot be had; `str()` says what happened and what to do next, without secrets."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        is_permanent: bool = False,
        retry_after_s: float | None = None,
        name: str = "",
    ) -> None:
        """Unless `is_permanent`, the same fetch may succeed later; not before `retry_after_s`, if told.
        `name` is the file that is missing."""
        super().__init__(message)
        self.code = Code(code)
        self.message = message
        self.is_permanent = is_permanent
        self.retry_after_s = retry_after_s
        self.name = name

    @property
    def is_passing(self) -> bool:
        """Whether the same request may well succeed in a moment."""
        return self.code in _PASSING and not self.is_permanent
