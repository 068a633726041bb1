"""Answers of a forced shape: JSON, JSON of a schema, or a grammar, token by token.

The one home of llguidance, which says for each state of a grammar which tokens may follow, in some tens of
microseconds, and names what it does not support of a schema. (llama.cpp's own grammar sampler looks at each
token of the vocabulary, and the schema conversion that goes with it drops what it does not know.) A shape is
compiled once; each answer walks through a copy. Must not know requests; neighbours: `wishes` (what is asked
for), `sampling`.
"""

import collections
import json
import re
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher
from llguidance.gbnf_to_lark import gbnf_to_lark
from llguidance.llamacpp import lltokenizer_from_vocab

from janagent.engine.model import Model
from janagent.engine.sampling import ShapeLost

_KEPT = 32
"""Shapes that stay compiled, the one unused for longest going first."""
_WHITESPACE = r"( |\n[ \t]{0,20})?"
"""Between JSON's tokens: as models write it, and never without end."""
_JSON_OPTIONS: Any = {"whitespace_pattern": _WHITESPACE, "lenient": False, "coerce_one_of": False}
_LONGEST_CLOSING = 64
"""Bytes: the end of what was said in which a closing mark is looked for."""
_GBNF_PART = re.compile(r""""(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|#[^\n]*|\.""", re.DOTALL)
_GBNF_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|.)", re.DOTALL)
_PARTS = ("properties", "patternProperties", "$defs", "definitions")
"""Keywords that hold schemas by name."""
_LISTS = ("anyOf", "oneOf", "prefixItems")
_OPEN = frozenset(
    {"additionalProperties", "unevaluatedProperties", "patternProperties", "anyOf", "oneOf", "$ref"}
)
"""Keywords beside which `properties` is not all that an object may have."""


class ShapeError(Exception):
    """A shape that cannot be had. The message says which part of it."""


def json_shape(schema: Mapping[str, Any]) -> str:
    """The grammar of JSON that fits `schema`.

    An object whose properties are listed has no others, even where the schema would allow them: a model would
    go on to invent some. (Parts of an `allOf` are left as they are, for each would forbid the others' own.)
    """
    wanted = schema if _is_joined(schema) else _closed(schema)
    return str(LLMatcher.grammar_from_json_schema(json.dumps(wanted), overrides=_JSON_OPTIONS))


def _plainer(found: re.Match[str]) -> str:
    r"""What llguidance reads otherwise than llama.cpp: a dot is any character, line ends too, and the digits
    of \u and \U may begin with zeros."""
    if found[0] == ".":
        return r"[^\x00]"
    return found[0] if found[0][0] == "#" else _GBNF_ESCAPE.sub(_unescaped, found[0])


def _unescaped(found: re.Match[str]) -> str:
    if not (code := found[1] or found[2]):
        return found[0]
    char = chr(int(code, 16))
    return f"\\x{ord(char):02x}" if ord(char) < 0x80 else char


def _is_joined(value: Any) -> bool:
    """Whether some object of a schema is described in several places."""
    if isinstance(value, Mapping):
        if "allOf" in value or ("$ref" in value and "properties" in value):
            return True
        return any(map(_is_joined, value.values()))
    return isinstance(value, list) and any(map(_is_joined, value))


def _closed(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    closed = dict(schema)
    if "properties" in schema and not schema.keys() & _OPEN:
        closed["additionalProperties"] = False
    for keyword in _PARTS:
        if isinstance(parts := schema.get(keyword), Mapping):
            closed[keyword] = {name: _closed(part) for name, part in parts.items()}
    for keyword in (*_LISTS, "items", "additionalProperties"):
        if isinstance(parts := closed.get(keyword), list):
            closed[keyword] = [_closed(part) for part in parts]
        elif isinstance(parts, Mapping):
            closed[keyword] = _closed(parts)
    return closed


def gbnf_shape(text: str) -> str:
    """The grammar that llama.cpp's GBNF describes. Raises ShapeError."""
    try:
        return str(LLMatcher.grammar_from_lark(gbnf_to_lark(_GBNF_PART.sub(_plainer, text))))
    except Exception as error:
        raise ShapeError(f"no GBNF: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Detour:
    """A way that an answer may go before its shape: thoughts, or a call that it makes instead.

    `opening` is the token that begins it, None where the prompt has begun it; `closing` matches the text at
    its end, None where it has no end but the answer's.
    """

    opening: int | None
    closing: re.Pattern[str] | None = None


class Walk:
    """One answer's way through its shape. Belongs to the decode thread."""

    def __init__(
        self,
        matcher: LLMatcher,
        *,
        n_vocab: int,
        ends: Collection[int] = (),
        text_of: Callable[[int], bytes] = lambda _token: b"",
        detours: Sequence[Detour] = (),
    ) -> None:
        """`ends`: the tokens that end an answer, which may not come within thoughts."""
        self._matcher = matcher
        self._n_vocab = n_vocab
        self._ends = list(ends)
        self._text_of = text_of
        self._bits = np.zeros((n_vocab + 31) // 32, dtype=np.int32)
        self._exits = {detour.opening: detour for detour in detours if detour.opening is not None}
        self._detour = next((detour for detour in detours if detour.opening is None), None)
        self._seen = b""

    def mask(self, logits: npt.NDArray[np.float32]) -> None:
        """Give all tokens that may not come next no chance. Raises ShapeLost when none may."""
        if self._detour is not None:
            if self._detour.closing is not None:
                logits[self._ends] = -np.inf
            return
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        allowed = np.unpackbits(self._bits.view(np.uint8), bitorder="little")[: self._n_vocab].view(np.bool_)
        allowed[list(self._exits)] = True
        if not allowed.any():
            raise ShapeLost(f"no token of this model goes on in the wanted shape {self._words()}".rstrip())
        np.copyto(logits, -np.inf, where=~allowed)

    def take(self, token: int) -> None:
        """This token came. Raises ShapeLost."""
        if self._detour is not None:
            self._wander(token, self._detour)
        elif token in self._exits:
            self._detour = self._exits.pop(token)
            if self._detour.closing is None:
                self._exits.clear()
        else:
            self._exits.clear()
            if not self._matcher.consume_token(token):
                raise ShapeLost(f"the answer left the wanted shape {self._words()}".rstrip())

    @property
    def is_over(self) -> bool:
        """Nothing may follow but the end."""
        return self._detour is None and bool(self._matcher.is_stopped())

    def _wander(self, token: int, detour: Detour) -> None:
        if detour.closing is None:
            return
        self._seen = (self._seen + self._text_of(token))[-_LONGEST_CLOSING:]
        if detour.closing.search(self._seen.decode(errors="replace")):
            self._detour, self._seen = None, b""

    def _words(self) -> str:
        return str(self._matcher.get_error() or "").partition("\n")[0]


class Shapes:
    """Compiles shapes for one model's vocabulary; safe to call from several threads."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._lock = threading.Lock()
        self._tokenizer: Any = None
        self._compiled: collections.OrderedDict[str, LLMatcher] = collections.OrderedDict()

    def compile(self, grammar: str) -> None:
        """Make `grammar` ready for `walk`; the first takes a good part of a second. Raises ShapeError."""
        with self._lock:
            if grammar in self._compiled:
                self._compiled.move_to_end(grammar)
                return
            if self._tokenizer is None:
                self._tokenizer = lltokenizer_from_vocab(
                    self._model.vocab, self._model.n_vocab, eos_token=sorted(self._model.end_tokens)
                )
            is_faulty, messages = LLMatcher.validate_grammar_with_warnings(grammar, self._tokenizer)
            if is_faulty:
                raise ShapeError(_one_line(messages))
            self._compiled[grammar] = LLMatcher(self._tokenizer, grammar)
            if len(self._compiled) > _KEPT:
                self._compiled.popitem(last=False)

    def walk(
        self, grammar: str, *, detours: Sequence[Detour] = (), shown: Mapping[int, bytes] | None = None
    ) -> Walk:
        """The beginning of an answer in a shape. Raises ShapeError.

        `shown`: control tokens that have a text.
        """
        texts = shown or {}
        while True:
            with self._lock:
                if (matcher := self._compiled.get(grammar)) is not None:
                    return Walk(
                        matcher.deep_copy(),
                        n_vocab=self._model.n_vocab,
                        ends=self._model.end_tokens,
                        text_of=lambda token: texts.get(token) or self._model.piece(token),
                        detours=detours,
                    )
            self.compile(grammar)  # it waited so long that others took its place


def _one_line(messages: list[str]) -> str:
    words = " ".join(" ".join(messages).split())[:300] or "it cannot be compiled"
    return f"pattern: {words}" if "regex" in words else words
