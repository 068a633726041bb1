"""What the text of an answer says: thoughts, words for the person, and calls of functions.

Each family of models writes calls in its own way; a `Style` says where they begin. Everything works on text
as it streams: what could be the beginning of a mark is held back until the next text decides, as for stop
strings. Pure. Neighbours: `callscan` (one call), `tools` (which style a model has), `delivery` (reads on).

    HERMES   <tool_call>{"name": ..., "arguments": {...}}</tool_call>      Hermes, Qwen 2.5 and 3
    LLAMA    {"name": ..., "parameters": {...}}, perhaps after <|python_tag|>      Llama 3.1 to 3.3
    MISTRAL  [TOOL_CALLS][{"name": ..., "arguments": {...}}, ...]  or  [TOOL_CALLS]name[ARGS]{...}
    FENCED   ```json or ```tool_call around {"name": ..., "arguments": {...}}      Gemma, others, when told
    FORCED   a JSON array of calls and nothing else, as our own grammar makes it
"""

import secrets
from dataclasses import dataclass
from enum import StrEnum

from janagent.engine.callscan import CallScanner, NoCall
from janagent.engine.text import overlap

_CALLS = "[TOOL_CALLS]"
_ARGS = "[ARGS]"
_CALL_ID = "[CALL_ID]"
_WHITESPACE = " \t\r\n"


class Style(StrEnum):
    """How a model writes a call."""

    HERMES = "hermes"
    LLAMA = "llama"
    MISTRAL = "mistral"
    FENCED = "fenced"
    FORCED = "forced"


OPENINGS: dict[Style, tuple[str, ...]] = {
    Style.HERMES: ("<tool_call>",),
    Style.LLAMA: ("<|python_tag|>",),
    Style.MISTRAL: (_CALLS,),
    Style.FENCED: ("```tool_call", "```tool_code", "```json"),
    Style.FORCED: (),
}
CLOSINGS: dict[Style, str] = {Style.HERMES: "</tool_call>", Style.FENCED: "```"}
BARE = frozenset({Style.LLAMA, Style.FENCED, Style.FORCED})
"""Styles in which an answer that begins with a brace or bracket is a call, with no mark before it."""


@dataclass(frozen=True, slots=True)
class Words:
    """Text for the person; `is_thought`: reasoning that comes before it."""

    text: str
    is_thought: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A call begins."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Arguments:
    """More of a call's arguments, which are JSON."""

    index: int
    text: str


Piece = Words | Call | Arguments


@dataclass(frozen=True, slots=True)
class Thinking:
    """The marks around reasoning. `is_open`: the prompt ends within it already."""

    opening: str = "<think>"
    closing: str = "</think>"
    is_open: bool = False


class AnswerReader:
    """Reads one answer. `style` None: no calls are looked for; `thinking` None: no reasoning."""

    def __init__(self, *, style: Style | None, thinking: Thinking | None) -> None:
        self._style = style
        self._thinking = thinking
        self._is_thought = thinking is not None and thinking.is_open
        self._held = ""
        self._scanner: CallScanner | None = None
        self._is_within = False
        """After a mark that calls follow."""
        self._since = ""
        """What came since the mark, if it turns out that no call follows."""
        self._has_spoken = False
        self._skips_space = self._is_thought
        self._n_calls = 0
        self._begun: Call | None = None

    @property
    def has_called(self) -> bool:
        """Whether there was any call."""
        return self._n_calls > 0

    def feed(self, text: str) -> list[Piece]:
        """The pieces that are certain by now."""
        self._held += text
        pieces: list[Piece] = []
        while self._held and self._advance(pieces):
            pass
        return pieces

    def finish(self) -> list[Piece]:
        """What is left at the answer's end."""
        pieces: list[Piece] = []
        if self._scanner is not None and self._begun is None:  # a call that never came to its name
            self._held, self._scanner = self._scanner.fed, None
        if self._scanner is None and self._since + self._held and not (self._is_within and self.has_called):
            pieces.append(Words(self._since + self._held, self._is_thought))
        self._held = self._since = ""
        return pieces

    # -- one step; False when more text is needed ---------------------------------------------------

    def _advance(self, pieces: list[Piece]) -> bool:
        if self._is_thought:
            return self._think(pieces)
        if self._scanner is not None:
            return self._scan(pieces)
        if self._is_within:
            return self._between_calls(pieces)
        return self._speak(pieces)

    def _think(self, pieces: list[Piece]) -> bool:
        assert self._thinking is not None
        before, mark, after = self._held.partition(self._thinking.closing)
        if mark:
            self._say(before.rstrip(), pieces, is_thought=True)
            self._held, self._is_thought, self._skips_space = after, False, True
            return True
        return self._say_certain((self._thinking.closing,), pieces, is_thought=True)

    def _speak(self, pieces: list[Piece]) -> bool:
        if not self._has_spoken:
            self._held, is_decided = self._beginning()
            if not is_decided or self._is_thought or self._is_within:
                return is_decided
        marks = OPENINGS[self._style] if self._style else ()
        found = [(at, mark) for mark in marks if (at := self._held.find(mark)) >= 0]
        if found:
            at, mark = min(found)
            self._say(self._held[:at].rstrip(), pieces)
            self._held, self._is_within, self._since = self._held[at + len(mark) :], True, mark
            return True
        return self._say_certain(marks, pieces)

    def _beginning(self) -> tuple[str, bool]:
        """(what is held, whether it is clear how the answer begins)."""
        stripped = self._held.lstrip(_WHITESPACE)
        if not stripped:
            return self._held, False
        if self._thinking is not None and not self._n_calls:
            opening = self._thinking.opening
            if stripped.startswith(opening):
                self._is_thought = self._skips_space = True
                return stripped.removeprefix(opening), True
            if opening.startswith(stripped):
                return self._held, False
        if self._style in BARE and stripped[0] in "{[":
            self._is_within, self._has_spoken = True, True
            return stripped, True
        self._has_spoken = True
        return (stripped if self._skips_space else self._held), True

    def _between_calls(self, pieces: list[Piece]) -> bool:
        text = self._held.lstrip(_WHITESPACE)
        if self._style is Style.MISTRAL:
            if text.startswith(_CALLS):
                self._held = text.removeprefix(_CALLS)
                return True
            if _CALLS.startswith(text):
                return False
        if self._style is not Style.HERMES:
            text = text.lstrip(_WHITESPACE + "[],;")
        if not text:
            return False
        if text[0] == "{":
            self._since += self._held[: len(self._held) - len(text)]
            self._held, self._scanner = text, CallScanner()
            return True
        if self._style is Style.MISTRAL:
            return self._named_call(text)
        closing = CLOSINGS.get(self._style, "") if self._style and self.has_called else ""
        if closing and text.startswith(closing):
            self._held, self._is_within, self._skips_space = text.removeprefix(closing), False, True
            return True
        if closing and closing.startswith(text):
            return False
        self._no_call(self._held, pieces)
        return True

    def _no_call(self, text: str, pieces: list[Piece]) -> None:
        """What looked like a call is words after all."""
        self._say(self._since, pieces)
        self._held, self._since = text, ""
        self._is_within, self._has_spoken = False, True

    def _named_call(self, text: str) -> bool:
        """Mistral's newer form: the name stands before the arguments."""
        name, mark, rest = text.partition(_ARGS)
        if not mark:
            return False
        name = name.partition(_CALL_ID)[0].strip()
        self._held = f'{{"name": "{name}", "arguments": ' + rest
        self._scanner = _OpenScanner()
        return True

    def _scan(self, pieces: list[Piece]) -> bool:
        scanner = self._scanner
        assert scanner is not None
        text, self._held = self._held, ""
        try:
            rest = scanner.feed(text)
        except NoCall:
            self._scanner = None
            if self._begun is None:
                self._no_call(scanner.fed, pieces)
            self._begun = None
            return True
        self._tell(scanner, pieces)
        if not scanner.is_done:
            return False
        self._scanner, self._begun, self._held, self._since = None, None, rest, ""
        return True

    def _tell(self, scanner: CallScanner, pieces: list[Piece]) -> None:
        if self._begun is None and scanner.name is not None:
            self._begun = Call(self._n_calls, f"call_{secrets.token_hex(12)}", scanner.name)
            self._n_calls += 1
            pieces.append(self._begun)
        if self._begun is not None and (new := scanner.take_arguments()):
            pieces.append(Arguments(self._begun.index, new))

    def _say_certain(self, marks: tuple[str, ...], pieces: list[Piece], *, is_thought: bool = False) -> bool:
        """Give out what cannot be the beginning of a mark, nor white space before one."""
        keep = max((overlap(self._held, mark) for mark in marks), default=0)
        sure = self._held[: len(self._held) - keep]
        if marks:
            sure = sure.rstrip()
        self._held = self._held[len(sure) :]
        self._say(sure, pieces, is_thought=is_thought)
        return False

    def _say(self, text: str, pieces: list[Piece], *, is_thought: bool = False) -> None:
        if self._skips_space:
            text = text.lstrip(_WHITESPACE)
        if text:
            self._skips_space = False
            pieces.append(Words(text, is_thought))


class _OpenScanner(CallScanner):
    """A call whose outer brace is ours: it ends with the arguments."""

    def feed(self, text: str) -> str:
        for at, char in enumerate(text):
            super().feed(char)
            if self._is_closed():
                super().feed("}")
                return text[at + 1 :]
        return ""

    def _is_closed(self) -> bool:
        return bool(self._arguments) and self._depth == 0 and self._arguments.endswith("}")
