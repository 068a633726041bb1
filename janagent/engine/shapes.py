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
_SCHEMAS_BY_NAME = ("properties", "patternProperties", "$defs", "definitions")
_BRANCHES = ("anyOf", "oneOf")
_OPEN = frozenset(
    {*_BRANCHES, "$ref", "if", "not", "additionalProperties", "patternProperties", "unevaluatedProperties"}
)
"""Keywords that speak of properties beyond those of the object's own list."""


class ShapeError(Exception):
    """A shape that cannot be had. The message says which part of it."""


def json_shape(schema: Mapping[str, Any] | bool) -> str:
    """The grammar of JSON that fits `schema`, and has nothing that `schema` does not declare."""
    wanted = schema if _is_joined(schema) else closed(schema)
    return str(LLMatcher.grammar_from_json_schema(json.dumps(wanted), overrides=_JSON_OPTIONS))


def _is_joined(value: Any) -> bool:
    """Whether some object is put together of several schemas, which needs each of them open."""
    if isinstance(value, Mapping):
        is_one = "allOf" not in value and not ("$ref" in value and "properties" in value)
        return not is_one or any(map(_is_joined, value.values()))
    return isinstance(value, list) and any(map(_is_joined, value))


def closed(schema: Any) -> Any:
    """`schema` whose objects have no properties but the declared ones, unless it says so.

    JSON Schema allows any, and a small model that is forced to write an object goes on inventing some until
    its answer is cut. llama.cpp's own conversion does the same.
    """
    if not isinstance(schema, Mapping):
        return schema
    done = dict(schema)
    for name in _SCHEMAS_BY_NAME:
        if isinstance(inner := schema.get(name), Mapping):
            done[name] = {one: closed(value) for one, value in inner.items()}
    for name in _BRANCHES:
        if isinstance(branches := schema.get(name), list) and "properties" not in schema:
            done[name] = [closed(branch) for branch in branches]
    for name in ("items", "additionalProperties"):
        if name in schema:
            done[name] = closed(schema[name])
    if isinstance(items := schema.get("prefixItems"), list):
        done["prefixItems"] = [closed(item) for item in items]
    declared, required = schema.get("properties"), schema.get("required")
    if isinstance(declared, Mapping) and _OPEN.isdisjoint(schema):
        wants_others = isinstance(required, list) and not all(name in declared for name in required)
        done |= {} if wants_others else {"additionalProperties": False}
    return done


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
        self._compiling = threading.Lock()
        self._lock = threading.Lock()  # of what is compiled; the loop waits for it
        self._tokenizer: Any = None
        self._compiled: collections.OrderedDict[str, LLMatcher] = collections.OrderedDict()

    def compile(self, grammar: str) -> None:
        """Make `grammar` ready for `walk`; the first takes a good part of a second. Raises ShapeError."""
        with self._compiling:
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
            matcher = LLMatcher(self._tokenizer, grammar)
            with self._lock:
                self._compiled[grammar] = matcher
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
