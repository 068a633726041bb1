"""Choosing tokens with llama.cpp's sampler chains over a real context."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from janagent.engine.context import Context
from janagent.engine.llama_log import EngineLog
from janagent.engine.model import Model, load_model
from janagent.engine.sampling import Sampling, chances, default_sampling, open_sampler
from tests.gguf_files import write_model

TEXT = "The capital of France is"


@pytest.fixture
def index(context: Context, model: Model) -> int:
    """The batch index whose logits come after TEXT."""
    context.clear_memory()
    context.clear_batch()
    prompt = model.tokenize(TEXT, special=False)
    at = context.add_tokens(prompt, position=0, seq_id=0, want_last=True)
    context.decode()
    return at


def drawn(model: Model, context: Context, index: int, settings: Sampling, *, times: int = 1) -> list[str]:
    prompt = model.tokenize(TEXT, special=False)
    sampler = open_sampler(settings, model=model, prompt=prompt, max_tokens=100)
    tokens = [sampler.sample(context, index) for _ in range(times)]
    sampler.close()
    return [model.piece(token).decode(errors="replace") for token in tokens]


def test_temperature_zero_takes_the_most_likely_token(model: Model, context: Context, index: int):
    assert drawn(model, context, index, Sampling(temperature=0)) == [" Paris"]


def test_greedy_with_and_without_a_chain_agree(model: Model, context: Context, index: int):
    unrelated = int(model.tokenize(" zebra", special=False)[0])
    biased = Sampling(temperature=0, logit_bias={unrelated: 0.5})
    assert not biased.is_plain_greedy
    assert drawn(model, context, index, biased) == [" Paris"]


def test_a_seed_draws_the_same_tokens_again(model: Model, context: Context, index: int):
    settings = Sampling(temperature=2.0, top_k=0, top_p=1.0, min_p=0.0, seed=7)
    first = drawn(model, context, index, settings, times=20)
    assert first == drawn(model, context, index, settings, times=20)
    other = Sampling(temperature=2.0, top_k=0, top_p=1.0, min_p=0.0, seed=8)
    assert first != drawn(model, context, index, other, times=20)


def test_top_k_top_p_and_min_p_narrow_the_choice(model: Model, context: Context, index: int):
    hot = {"temperature": 5.0, "seed": 1}
    for narrow in ({"top_k": 1}, {"top_p": 0.0}, {"min_p": 1.0}):
        open_ = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
        settings = Sampling(**{**open_, **hot, **narrow})  # type: ignore[arg-type]
        assert set(drawn(model, context, index, settings, times=20)) == {" Paris"}, narrow
    wide = Sampling(temperature=5.0, top_k=0, top_p=1.0, min_p=0.0, seed=1)
    assert len(set(drawn(model, context, index, wide, times=20))) > 10


def test_a_bias_forces_and_bans_tokens(model: Model, context: Context, index: int):
    zebra, paris = (int(model.tokenize(word, special=False)[0]) for word in (" zebra", " Paris"))
    assert drawn(model, context, index, Sampling(temperature=0, logit_bias={zebra: 100.0})) == [" zebra"]
    banned = Sampling(temperature=0, logit_bias={paris: float("-inf")})
    assert drawn(model, context, index, banned) != [" Paris"]


def test_the_repeat_penalty_counts_the_prompt_too(model: Model, context: Context, index: int):
    of = int(model.tokenize(" of", special=False)[0])
    lifted = {of: float(context.logits(index).max() - context.logits(index)[of]) + 2.0}
    assert drawn(model, context, index, Sampling(temperature=0, logit_bias=lifted)) == [" of"]
    settings = Sampling(temperature=0, logit_bias=lifted, repeat_penalty=2.0)
    assert drawn(model, context, index, settings) == [" Paris"]


def test_openais_penalties_count_only_the_answer(model: Model, context: Context, index: int):
    settings = Sampling(temperature=0, presence_penalty=2.0, frequency_penalty=2.0)
    tokens = drawn(model, context, index, settings, times=12)
    assert tokens[0] == " Paris"
    assert max(Counter(tokens).values()) < 12


def test_the_gguf_may_recommend_other_settings(tmp_path: Path, engine_log: EngineLog):
    def recommend(writer: object) -> None:
        writer.add_float32("general.sampling.temp", 0.25)  # type: ignore[attr-defined]
        writer.add_int32("general.sampling.top_k", 7)  # type: ignore[attr-defined]

    path = write_model(tmp_path / "m.gguf", customize=recommend)
    model = load_model(str(path), n_gpu_layers=0, on_progress=lambda _f: None)
    assert default_sampling(model) == Sampling(temperature=0.25, top_k=7)


def test_without_a_recommendation_llama_cpps_defaults_hold(model: Model):
    assert default_sampling(model) == Sampling()


def test_log_probabilities_are_a_log_softmax_with_the_best_first():
    logits = np.log(np.array([0.1, 0.6, 0.05, 0.25], dtype=np.float32)) + 3
    found = chances(logits, 3, n_top=2)
    assert found.token == 3
    assert found.logprob == pytest.approx(np.log(0.25), abs=1e-5)
    assert [token for token, _ in found.top] == [1, 3]
    assert found.top[0][1] == pytest.approx(np.log(0.6), abs=1e-5)
    assert chances(logits, 0, n_top=0).top == ()
