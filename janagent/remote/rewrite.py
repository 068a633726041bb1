"""Our model's id into the answers of others: the top-level `model` value, and not one byte else.

Answers are not parsed and written anew, because that would alter numbers, order and spacing, and because a
stream's events come by the thousand: a scanner walks over the JSON's brackets and strings until it meets the
one value. The upstream's key, should an answer repeat it, becomes `***` on the way. Pure.
"""

import json
import re
from collections.abc import Iterable
from urllib.parse import quote

LONGEST_EVENT_BYTES = 16 << 20
SHORTEST_SECRET = 12
"""What is shorter is a placeholder (`EMPTY`, `lm-studio`), whose letters any answer may hold."""
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[{}\[\]]', re.DOTALL)
"""A string without an end is one too, and nothing is tried twice: else a hostile one takes seconds."""
_NAME = b'"model"'
_COLON = re.compile(rb"\s*:\s*")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_DATA = b"data:"
_DONE = re.compile(rb"data:\s*\[DONE\]\s*")


class StreamTooWide(ValueError):
    """An event without an end."""


def spellings(secrets: Iterable[str]) -> tuple[bytes, ...]:
    """How an answer may repeat them: plain, escaped as in JSON, quoted as in addresses; the longest first."""
    found = set()
    for secret in secrets:
        if len(secret) >= SHORTEST_SECRET:
            escaped = json.dumps(secret)[1:-1]
            found |= {secret, escaped, escaped.replace("/", "\\/"), quote(secret, safe="")}
    return tuple(sorted((form.encode() for form in found), key=len, reverse=True))


class Rewriter:
    """Rewrites one answer, whole or as a stream of server-sent events (WHATWG HTML, section 9.2)."""

    def __init__(self, *, model_id: str, secrets: tuple[bytes, ...] = ()) -> None:
        self._value = json.dumps(model_id, ensure_ascii=False).encode("utf-8", "replace")
        self._secrets = secrets
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._depth = 0
        self._is_found = False
        self.is_done = False
        """Whether `[DONE]` has passed, with which a stream ends."""

    def whole(self, body: bytes) -> bytes:
        """A JSON body. What is none comes back as it was, but for the key."""
        body = self.scrubbed(body)
        span, _ = _find(body, depth=0)
        return body if span is None else body[: span[0]] + self._value + body[span[1] :]

    def scrubbed(self, data: bytes) -> bytes:
        """`data` without the upstream's key."""
        for secret in self._secrets:
            if secret in data:
                data = data.replace(secret, b"***")
        return data

    def scrubbed_text(self, text: str) -> str:
        """The same of a header's value."""
        return self.scrubbed(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def feed(self, data: bytes) -> bytes:
        """The next bytes of an event stream; returns the lines that are complete. Raises StreamTooWide."""
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if not end:
            self._keep(data)
            return b""
        lines = data[:end] if not self._parts else b"".join((*self._parts, data[:end]))
        self._parts.clear()
        self._parts_bytes = 0
        if end < len(data):
            self._keep(data[end:])
        return b"".join([self._line(line) for line in self.scrubbed(lines).splitlines(keepends=True)])

    def _keep(self, part: bytes) -> None:
        self._parts.append(part)
        self._parts_bytes += len(part)
        if self._parts_bytes > LONGEST_EVENT_BYTES:
            raise StreamTooWide(f"an event of more than {LONGEST_EVENT_BYTES >> 20} MiB")

    def end(self) -> bytes:
        """What came after the last complete line."""
        rest = b"".join(self._parts)
        self._parts.clear()
        return self._line(self.scrubbed(rest))

    def _line(self, line: bytes) -> bytes:
        if not line.startswith(_DATA):
            if not line.strip():  # the event's end
                self._depth, self._is_found = 0, False
            return line
        if self._is_found:
            return line
        if not self._depth and _DONE.fullmatch(line):
            self.is_done = True
            return line
        span, self._depth = _find(line, depth=self._depth)
        if span is None:
            return line
        self._is_found = True
        return line[: span[0]] + self._value + line[span[1] :]


def _find(data: bytes, *, depth: int) -> tuple[tuple[int, int] | None, int]:
    """(start and end of the outermost object's `model`, if that is a string; the depth reached).

    `depth`: how many brackets are open at the beginning, as an event may take several lines.
    """
    for match in _TOKEN.finditer(data):
        token = match[0]
        if token in (b"{", b"["):
            depth += 1
        elif token in (b"}", b"]"):
            depth -= 1
        elif depth == 1 and token == _NAME and (colon := _COLON.match(data, match.end())) is not None:
            value = _STRING.match(data, colon.end())
            if value is not None:
                return value.span(), depth
    return None, depth
