"""Asks a compiled shape what it lets through."""

import functools
import json
from typing import Any

import numpy as np

from janagent.engine.model import Model
from janagent.engine.sampling import ShapeLost
from janagent.engine.shapes import Shapes, Walk, json_shape

shapes_of = functools.cache(Shapes)
"""One for a model: to take in a vocabulary takes a good part of a second."""


def fits(model: Model, schema: Any, value: Any) -> bool:
    """Whether `value` may be an answer that must fit `schema`."""
    return fits_text(model, schema, json.dumps(value, ensure_ascii=False))


def fits_text(model: Model, schema: Any, text: str) -> bool:
    """The same of a JSON text."""
    return lets_through(model, shapes_of(model).walk(json_shape(schema)), text)


def lets_through(model: Model, walk: Walk, text: str) -> bool:
    """Whether an answer that goes this way may be `text`."""
    try:
        for token in model.tokenize(text, special=True):
            if not allowed(model, walk)[token]:
                return False
            walk.take(int(token))
        return walk.is_over or bool(allowed(model, walk)[list(model.end_tokens)].any())
    except ShapeLost:
        return False


def allowed(model: Model, walk: Walk) -> Any:
    """For each token whether it may come next."""
    logits = np.zeros(model.n_vocab, dtype=np.float32)
    walk.mask(logits)
    return logits == 0
