"""From token bytes to text that may be shown: whole UTF-8 characters, and never a part of a stop string.

Pure; knows neither tokens nor HTTP.
"""

import codecs
from collections.abc import Sequence


class TextStream:
    """Feed it the bytes of each token; it returns the text that is safe to send.

    Bytes of an unfinished character and text that could be the beginning of a stop string are held back
    until the next bytes decide. `stopped` is set once a stop string is complete; what follows it is
    dropped.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.stopped = False
        #: characters decoded so far, held back ones included; and characters given out
        self.decoded_chars = 0
        self.emitted_chars = 0

    def feed(self, piece: bytes) -> str:
        """Add the bytes of one token; returns the text to send now, often all of it, sometimes empty."""
        text = self._decoder.decode(piece)
        self.decoded_chars += len(text)
        if not self._stops:
            self.emitted_chars += len(text)
            return text
        if not text:
            return ""
        return self._emit(self._held + text)

    def finish(self) -> str:
        """The end of the answer: returns what was held back. Bytes of an unfinished character are dropped."""
        held, self._held = self._held, ""
        self.emitted_chars += len(held)
        return held

    def _emit(self, text: str) -> str:
        found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.stopped = True
            self._held = ""
            text = text[: min(found)]
        else:
            keep = max(overlap(text, stop) for stop in self._stops)
            self._held = text[len(text) - keep :]
            text = text[: len(text) - keep]
        self.emitted_chars += len(text)
        return text


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`, shorter than `stop`."""
    first = stop[0]
    at = text.find(first, max(0, len(text) - len(stop) + 1))
    while at >= 0:
        if stop.startswith(text[at:]):
            return len(text) - at
        at = text.find(first, at + 1)
    return 0
