"""HTTP/1.1's chunked transfer coding, read as the bytes come. Pure. RFC 9112, section 7.1."""

_LONGEST_LINE = 1024


class ChunkedError(ValueError):
    """The bytes are no chunked body."""


class ChunkedReader:
    """Feed it what arrives; it returns what the body gained. `is_done` once the last chunk is whole.

    Extensions and trailer fields are read over.
    """

    def __init__(self) -> None:
        self._held = b""
        self._left = 0
        """Bytes of the present chunk that are still to come, its line end included."""
        self._is_trailer = False
        self.is_done = False

    def feed(self, data: bytes) -> bytes:
        """The payload in `data`. Raises ChunkedError; bytes beyond the end are one too."""
        if self._held:
            data, self._held = self._held + data, b""
        parts: list[bytes] = []
        at = 0
        while at < len(data):
            if self.is_done:
                raise ChunkedError("bytes after the last chunk")
            if self._left:
                at = self._take(data, at, parts)
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                if len(data) - at > _LONGEST_LINE:
                    raise ChunkedError("a chunk's size line without an end")
                self._held = data[at:]
                break
            self._line(data[at:end])
            at = end + 2
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _line(self, line: bytes) -> None:
        if self._is_trailer:
            self.is_done = not line
            return
        digits = line.partition(b";")[0].strip()
        if not digits or len(digits) > 16 or digits.strip(b"0123456789abcdefABCDEF"):
            raise ChunkedError("not the size of a chunk")
        size = int(digits, 16)
        self._left = size + 2 if size else 0
        self._is_trailer = not size

    def _take(self, data: bytes, at: int, parts: list[bytes]) -> int:
        """Take the chunk's bytes from `at` on; returns where the next thing begins."""
        size = min(self._left, len(data) - at)
        payload = min(size, self._left - 2)
        if payload > 0:
            parts.append(data[at : at + payload])
        line_end = data[at + max(payload, 0) : at + size]
        expected = b"\r\n"[2 - min(self._left, 2) :][: len(line_end)]
        if line_end != expected:
            raise ChunkedError("a chunk is longer than its size says")
        self._left -= size
        return at + size
