"""Estimates and fitted settings."""

from dataclasses import replace
from typing import Any

import pytest

from janagent.core.faults import Refusal
from janagent.core.memory import Budget, Plan, fit
from janagent.folder.entry import ModelEntry
from janagent.folder.gguf import Header
from tests.core.driver import GB, entry


def llama(**changes: Any) -> Header:
    """The header figures of Llama 3.1 8B (its published config)."""
    figures: dict[str, Any] = {
        "version": 3,
        "required_bytes": 1,
        "architecture": "llama",
        "context_length": 131072,
        "block_count": 32,
        "embedding_length": 4096,
        "head_count": 32,
        "head_count_kv": 8,
        "key_length": 128,
        "value_length": 128,
        "vocab_size": 128256,
    }
    return Header(**{**figures, **changes})


def model(*, size: int = 5 * GB, header: Header | None = None, **init: Any) -> ModelEntry:
    return replace(entry("big", size=size, init=init), header=header or llama())


def plan(about: ModelEntry, *, ram: float = 64, gpu: float = 0) -> Plan:
    return fit(about, about.manifest.init, key="k", budget=Budget(int(ram * GB), int(gpu * GB)))


def test_kv_cache_is_counted_when_the_header_leaves_the_lengths_out() -> None:
    unsaid = llama(key_length=None, value_length=None)
    with pytest.raises(Refusal, match="KV cache"):
        plan(model(header=unsaid, ctx_len=1_000_000, n_parallel=64))


def test_defaults_are_four_conversations_of_4096_tokens() -> None:
    made = plan(model())
    assert (made.ctx_len, made.n_parallel, made.ngl) == (4096, 4, 0)


def test_a_small_training_context_is_the_default_context() -> None:
    assert plan(model(header=llama(context_length=512))).ctx_len == 512


def test_the_estimate_holds_weights_cache_and_buffers() -> None:
    made = plan(model(ctx_len=4096, n_parallel=4))
    kv = 32 * 8 * 256 * 2 * 4096 * 4
    assert 5 * GB + kv < made.ram_bytes < 5 * GB + kv + GB


def test_short_of_memory_first_n_parallel_then_ctx_len_gives_way() -> None:
    tight = plan(model(), ram=6.5)
    assert (tight.ctx_len, tight.n_parallel) == (4096, 1)
    tighter = plan(model(), ram=5.9)
    assert (tighter.ctx_len, tighter.n_parallel) == (2048, 1)


def test_explicit_settings_do_not_give_way_and_are_refused_with_figures() -> None:
    with pytest.raises(Refusal, match=r"needs .* GB .*KV cache .*may be used|may use") as caught:
        plan(model(ctx_len=32768, n_parallel=4), ram=8)
    assert caught.value.code == "insufficient_memory"


def test_ngl_is_what_free_gpu_memory_holds() -> None:
    assert plan(model(), gpu=80).ngl == 33
    partly = plan(model(), gpu=4)
    assert 0 < partly.ngl < 33
    assert partly.gpu_bytes <= 4 * GB
    assert partly.ram_bytes > 2 * GB


def test_an_explicit_ngl_that_is_too_large_is_lowered_with_a_warning() -> None:
    made = plan(model(ngl=100), gpu=0)
    assert made.ngl == 0
    assert any("ngl 100 lowered to 0" in warning for warning in made.warnings)
    assert plan(model(ngl=100), gpu=80).warnings == ()


def test_a_context_beyond_training_is_allowed_with_a_warning() -> None:
    made = plan(model(ctx_len=8192, header=llama(context_length=4096)))
    assert made.ctx_len == 8192
    assert "trained for" in made.warnings[0]
