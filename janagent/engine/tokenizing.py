"""From what a request holds, text or token ids, to tokens whose ids and number are right.

Neighbours: `server` and `vectors` ask, `model` tokenizes.
"""

import asyncio
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from janagent.engine.faults import RequestError, unsupported
from janagent.engine.media import Encoded, Prompt, joined
from janagent.engine.model import Model, Tokens
from janagent.engine.parts import Marks

#: texts longer than this are tokenized beside the loop, so that running streams are not held up
_LONG_TEXT = 16_384


def each(value: str | Sequence[Any]) -> list[Any]:
    """The items of a prompt or input: one text, one token list, or a list of either."""
    if isinstance(value, str) or (value and isinstance(value[0], int)):
        return [value]
    return list(value)


async def tokenized(model: Model, text: str, *, special: bool, add_special: bool = False) -> Tokens:
    """`text` as tokens; see `Model.tokenize`."""
    tokenize = functools.partial(model.tokenize, text, special=special, add_special=add_special)
    return await asyncio.to_thread(tokenize) if len(text) > _LONG_TEXT else tokenize()


def checked(model: Model, tokens: Sequence[int], *, param: str) -> Tokens:
    """Token ids of a request. Raises RequestError when one is not in the vocabulary."""
    if tokens and max(tokens) >= model.n_vocab:
        raise RequestError(
            f"{param}: token {max(tokens)} is not in the vocabulary of {model.n_vocab}",
            param=param,
            code="invalid_value",
        )
    return np.array(tokens, dtype=np.int32)


async def chat_tokens(model: Model, text: str) -> Tokens:
    """A rendered chat prompt as tokens, with one BOS token where the model wants it."""
    bos = model.special_text(model.bos)
    if model.adds_bos and bos and text.startswith(bos):
        text = text[len(bos) :]  # the template wrote it already; one is enough
    return model.with_bos(await tokenized(model, text, special=True))


async def mixed_prompt(
    model: Model, text: str, marks: Marks, media: Sequence[tuple[bytes, Encoded]]
) -> Prompt:
    """A rendered chat prompt with its media, each by digest and content, where `marks` stand in it.

    Raises RequestError when the template did not show each of them once.
    """
    pieces = list(marks.split(text))
    numbers = [piece for piece in pieces if isinstance(piece, int)]
    if sorted(numbers) != list(range(marks.count)):
        raise RequestError(
            "messages: this model's chat template leaves pictures of these messages out",
            param="messages",
            code="template_error",
        )
    parts: list[Tokens | tuple[bytes, Encoded]] = []
    for at, piece in enumerate(pieces):
        if isinstance(piece, int):
            parts.append(media[piece])
        elif at == 0:
            tokens = await chat_tokens(model, piece)
            parts.append(tokens if media else _not_empty(model, tokens))
        elif piece or at == len(pieces) - 1:
            # The first logits come of a token, so that a medium must not be the end.
            parts.append(await tokenized(model, piece or "\n", special=True))
    return joined(parts)


async def prompt_tokens(model: Model, prompt: str | Sequence[int], *, suffix: str | None) -> Tokens:
    """The prompt of a text completion, framed for filling in the middle when there is a suffix."""
    if suffix and model.fill_in_middle is None:
        raise unsupported("suffix", "this model was not trained to fill in the middle")
    if isinstance(prompt, str):
        tokens = await tokenized(model, prompt, special=True)
    else:
        tokens = checked(model, prompt, param="prompt")
    if suffix and model.fill_in_middle is not None:
        after = await tokenized(model, suffix, special=False)
        before, between, middle = (np.array([token], dtype=np.int32) for token in model.fill_in_middle)
        tokens = np.concatenate((before, tokens, between, after, middle))
    return _not_empty(model, model.with_bos(tokens))


def _not_empty(model: Model, tokens: Tokens) -> Tokens:
    """Something must be decoded to get the first logits."""
    if tokens.size:
        return tokens
    start = model.bos if model.bos >= 0 else model.eos
    return np.array([max(0, start)], dtype=np.int32)
