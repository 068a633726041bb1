"""What the proxy needs of an engine, wherever it is: a local worker on a Unix socket, or somebody's API.

Types only, and the one exception both raise. Leaf; implemented by `children.client` and `remote.client`.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from multidict import CIMultiDict

from janagent.body import BodyStream

Encode = Callable[[Mapping[str, Any]], Awaitable[bytes]]
"""A request's body as JSON."""


@dataclass(frozen=True, slots=True)
class Trail:
    """How a request got here."""

    request_id: str
    via: str = ""
    """Those who passed it on, this daemon included, as in the header `Via` (RFC 9110, section 7.6.3)."""


class EngineLost(ConnectionError):
    """The engine, or the connection to it, ended before its answer was complete.

    `code` is set where the message is already what the client should hear, as one of the API's error codes.
    """

    def __init__(self, message: str, *, code: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after_s = retry_after_s


class Answer(Protocol):
    """An answer whose head is there. Its body is taken once: `first` if wanted, then `read` or `push`.

    Leave by `close` in any case: before the end it closes the connection, which tells the engine to stop.
    """

    status: int
    headers: CIMultiDict[str]
    content_length: int | None
    """Bytes of the body, None while that is open."""

    async def first(self) -> None:
        """Wait for the first bytes of the body, or its end. Raises EngineLost."""

    async def read(self) -> bytes:
        """The whole body. Raises EngineLost."""

    async def push(self, out: BodyStream) -> None:
        """Open `out` and write each piece to it the moment it comes; returns at the body's end.

        Raises EngineLost, and ConnectionError when the reader of `out` is gone.
        """

    def close(self) -> None:
        """Give the connection back, or end it if the answer is not whole."""


class Engine(Protocol):
    """Something that answers OpenAI requests at a base URL."""

    async def ask(self, endpoint: str, body: Mapping[str, Any], *, encode: Encode, trail: Trail) -> Answer:
        """Send a request to `endpoint` ("chat/completions"); returns once the head is there.

        Raises EngineLost, and what `encode` raises.
        """

    def usable_defaults(self, defaults: Mapping[str, Any]) -> Mapping[str, Any]:
        """Those of a manifest's runtime parameters that this engine can be told."""

    def close(self) -> None:
        """Keep no idle connection; see the implementations for what becomes of running answers."""
