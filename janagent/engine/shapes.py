"""Answers of a forced shape: JSON, JSON of a schema, or a grammar, token by token.

The one home of llguidance, which says for each state of a grammar which tokens may follow, in some tens of
microseconds, and names what it does not support of a schema. (llama.cpp's own grammar sampler looks at each
token of the vocabulary, and the schema conversion that goes with it drops what it does not know.) A shape is
compiled once; each answer walks through a copy. Must not know requests; neighbours: `wishes` (what is asked
for), `sampling`.
"""

import collections
import json
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher
from llguidance.gbnf_to_lark import any_to_lark
from llguidance.llamacpp import lltokenizer_from_vocab

from janagent.engine.model import Model
from janagent.engine.sampling import ShapeLost

_KEPT = 32
"""Shapes that stay compiled, the one unused for longest going first."""
_WHITESPACE = r"( |\n[ \t]{0,20})?"
"""Between JSON's tokens: as models write it, and never without end."""
_SCHEMAS_BY_NAME = ("properties", "$defs", "definitions")
_BRANCHES = ("anyOf", "oneOf")
_OPEN = frozenset(
    {*_BRANCHES, "$ref", "if", "not", "additionalProperties", "patternProperties", "unevaluatedProperties"}
)
"""Keywords that speak of properties beyond those of the object's own list."""
_JSON_OPTIONS: Any = {"whitespace_pattern": _WHITESPACE}


class ShapeError(Exception):
    """A shape that cannot be had. The message says which part of it."""


def json_shape(schema: Mapping[str, Any] | bool) -> str:
    """The grammar of JSON that fits `schema`, and has nothing that `schema` does not declare."""
    # What is put together of several schemas needs each of them open.
    text = json.dumps(schema)
    text = text if '"allOf"' in text else json.dumps(closed(schema))
    return str(LLMatcher.grammar_from_json_schema(text, overrides=_JSON_OPTIONS))


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
    if "items" in schema:
        done["items"] = closed(schema["items"])
    declared, required = schema.get("properties"), schema.get("required")
    if isinstance(declared, Mapping) and _OPEN.isdisjoint(schema):
        wants_others = isinstance(required, list) and not all(name in declared for name in required)
        done |= {} if wants_others else {"additionalProperties": False}
    return done


def gbnf_shape(text: str) -> str:
    """The grammar that llama.cpp's GBNF describes. Raises ShapeError."""
    try:
        return str(LLMatcher.grammar_from_lark(any_to_lark(text)))
    except Exception as error:
        raise ShapeError(f"no GBNF: {error}") from error


class Walk:
    """One answer's way through its shape. Belongs to the decode thread."""

    def __init__(self, matcher: LLMatcher, *, n_vocab: int) -> None:
        self._matcher = matcher
        self._n_vocab = n_vocab
        self._bits = np.zeros((n_vocab + 31) // 32, dtype=np.int32)

    def mask(self, logits: npt.NDArray[np.float32]) -> None:
        """Give all tokens that may not come next no chance. Raises ShapeLost when none may."""
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        allowed = np.unpackbits(self._bits.view(np.uint8), bitorder="little")[: self._n_vocab].view(np.bool_)
        if not allowed.any():
            raise ShapeLost(f"no token of this model goes on in the wanted shape {self._words()}".rstrip())
        np.copyto(logits, -np.inf, where=~allowed)

    def take(self, token: int) -> None:
        """This token came. Raises ShapeLost."""
        if not self._matcher.consume_token(token):
            raise ShapeLost(f"the answer left the wanted shape {self._words()}".rstrip())

    @property
    def is_over(self) -> bool:
        """Nothing may follow but the end."""
        return bool(self._matcher.is_stopped())

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

    def walk(self, grammar: str) -> Walk:
        """The beginning of an answer in a shape. Raises ShapeError."""
        while True:
            with self._lock:
                if (matcher := self._compiled.get(grammar)) is not None:
                    return Walk(matcher.deep_copy(), n_vocab=self._model.n_vocab)
            self.compile(grammar)  # it waited so long that others took its place


def _one_line(messages: list[str]) -> str:
    return " ".join(" ".join(messages).split())[:300] or "it cannot be compiled"
