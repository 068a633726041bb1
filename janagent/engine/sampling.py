"""From logits to a token: one llama.cpp sampler chain per answer, and log-probabilities when asked for.

The chain has llama.cpp's usual order: bias, penalties, top-k, top-p, min-p, temperature, draw. It must not
know where its settings came from; `requests` checks their ranges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from janagent.engine.context import Context
from janagent.engine.model import Model, Tokens

if TYPE_CHECKING:
    from janagent.engine.shapes import Walk

#: llama.cpp's own defaults, which its users expect where a request, a manifest and the GGUF are silent.
DEFAULT_TEMPERATURE = 0.8
DEFAULT_TOP_K = 40
DEFAULT_TOP_P = 0.95
DEFAULT_MIN_P = 0.05

_REPEAT_WINDOW = 64
_RANDOM_SEED = 0xFFFFFFFF


class ShapeLost(Exception):
    """No token goes on in the shape that an answer must have."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the tokens of one answer are chosen. `seed` None draws a random one; temperature 0 is greedy."""

    temperature: float = DEFAULT_TEMPERATURE
    top_k: int = DEFAULT_TOP_K
    top_p: float = DEFAULT_TOP_P
    min_p: float = DEFAULT_MIN_P
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)

    @property
    def is_plain_greedy(self) -> bool:
        """Whether the highest logit simply wins."""
        return (
            self.temperature == 0.0
            and not self.logit_bias
            and self.repeat_penalty == 1.0
            and self.presence_penalty == 0.0
            and self.frequency_penalty == 0.0
        )


def default_sampling(model: Model) -> Sampling:
    """What the GGUF recommends (its general.sampling.* keys), llama.cpp's defaults for the rest."""

    def number(key: int) -> float | None:
        name: bytes | None = llama_cpp.llama_model_meta_key_str(key)
        value = model.metadata(name.decode()) if name else None
        try:
            return float(value) if value is not None else None
        except ValueError:
            return None

    meant = Sampling()
    top_k = number(llama_cpp.LLAMA_MODEL_META_KEY_SAMPLING_TOP_K)
    return Sampling(
        temperature=_first(number(llama_cpp.LLAMA_MODEL_META_KEY_SAMPLING_TEMP), meant.temperature),
        top_k=meant.top_k if top_k is None else int(top_k),
        top_p=_first(number(llama_cpp.LLAMA_MODEL_META_KEY_SAMPLING_TOP_P), meant.top_p),
        min_p=_first(number(llama_cpp.LLAMA_MODEL_META_KEY_SAMPLING_MIN_P), meant.min_p),
        repeat_penalty=_first(
            number(llama_cpp.LLAMA_MODEL_META_KEY_SAMPLING_PENALTY_REPEAT), meant.repeat_penalty
        ),
    )


def _first(found: float | None, default: float) -> float:
    return default if found is None else found


class Sampler:
    """Chooses tokens for one answer. Belongs to the decode thread; `close` frees the C chain.

    With a `walk`, only tokens that go on in the wanted shape are chosen among; the logits are as they were
    afterwards if the answer `reports_logits`.
    """

    def __init__(self, chain: Any, *, walk: Walk | None = None, reports_logits: bool = False) -> None:
        self._chain = chain
        self._walk = walk
        self._reports_logits = reports_logits

    @property
    def is_over(self) -> bool:
        """The wanted shape is complete, so that nothing may follow."""
        return self._walk is not None and self._walk.is_over

    def sample(self, context: Context, index: int) -> int:
        """The next token after the batch's token `index`. Raises ShapeError."""
        if self._walk is None:
            return self._sample(context, index)
        logits = context.logits(index)
        kept = logits.copy() if self._reports_logits else None
        self._walk.mask(logits)
        token = self._sample(context, index)
        if kept is not None:
            logits[:] = kept
        self._walk.take(token)
        return token

    def _sample(self, context: Context, index: int) -> int:
        if self._chain is None:
            # The same choice as llama.cpp's greedy sampler without first copying the whole vocabulary.
            return int(context.logits(index).argmax())
        return int(llama_cpp.llama_sampler_sample(self._chain, context.handle, index))

    def close(self) -> None:
        """Free the chain."""
        if self._chain is not None:
            llama_cpp.llama_sampler_free(self._chain)
            self._chain = None


def open_sampler(
    settings: Sampling,
    *,
    model: Model,
    prompt: Tokens,
    max_tokens: int,
    walk: Walk | None = None,
    reports_logits: bool = False,
) -> Sampler:
    """Build the chain. The repeat penalty sees the end of `prompt` too, OpenAI's only the answer."""
    chain = None
    if not settings.is_plain_greedy:
        chain = _chain(settings, model=model, prompt=prompt, max_tokens=max_tokens)
    return Sampler(chain, walk=walk, reports_logits=reports_logits)


def _chain(settings: Sampling, *, model: Model, prompt: Tokens, max_tokens: int) -> Any:
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    for sampler in _bias_and_penalties(settings, model=model, prompt=prompt, max_tokens=max_tokens):
        llama_cpp.llama_sampler_chain_add(chain, sampler)
    if settings.temperature == 0.0:
        llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_greedy())
        return chain
    if settings.top_k > 0:
        llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_top_k(settings.top_k))
    if settings.top_p < 1.0:
        llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_top_p(settings.top_p, 1))
    if settings.min_p > 0.0:
        llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_min_p(settings.min_p, 1))
    llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_temp(settings.temperature))
    seed = _RANDOM_SEED if settings.seed is None else settings.seed & 0xFFFFFFFF
    llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_dist(seed))
    return chain


def _bias_and_penalties(settings: Sampling, *, model: Model, prompt: Tokens, max_tokens: int) -> list[Any]:
    samplers = []
    if settings.logit_bias:
        bias = (llama_cpp.llama_logit_bias * len(settings.logit_bias))(*settings.logit_bias.items())
        samplers.append(llama_cpp.llama_sampler_init_logit_bias(model.n_vocab, len(bias), bias))
    if settings.repeat_penalty != 1.0:
        repeat = llama_cpp.llama_sampler_init_penalties(
            model.n_vocab, _REPEAT_WINDOW, settings.repeat_penalty, 0.0, 0.0
        )
        for token in prompt[prompt >= 0][-_REPEAT_WINDOW:]:  # without pictures
            llama_cpp.llama_sampler_accept(repeat, int(token))
        samplers.append(repeat)
    if settings.presence_penalty != 0.0 or settings.frequency_penalty != 0.0:
        samplers.append(
            llama_cpp.llama_sampler_init_penalties(
                model.n_vocab, max_tokens, 1.0, settings.frequency_penalty, settings.presence_penalty
            )
        )
    return samplers


@dataclass(frozen=True)
class TokenChances:
    """The log-probability of a chosen token and of the most likely ones, best first, before any sampling."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


def chances(logits: npt.NDArray[np.float32], token: int, *, n_top: int) -> TokenChances:
    """Log-softmax of `logits` at `token` and at the `n_top` highest."""
    peak = float(logits.max())
    shifted = logits - peak
    log_sum = float(np.log(np.exp(shifted, dtype=np.float32).sum(dtype=np.float64)))
    top: tuple[tuple[int, float], ...] = ()
    if n_top:
        best = np.argpartition(shifted, -n_top)[-n_top:]
        best = best[np.argsort(-shifted[best], kind="stable")]
        top = tuple((int(i), float(shifted[i]) - log_sum) for i in best)
    return TokenChances(token=token, logprob=float(shifted[token]) - log_sum, top=top)
