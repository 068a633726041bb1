"""The embedding context: pooling, models that must see an input whole, and normalising."""

from pathlib import Path

import gguf
import numpy as np
import pytest

from janagent.engine import embeddings
from janagent.engine.context import Context, ContextOptions, open_context
from janagent.engine.embeddings import normalised
from janagent.engine.model import LoadError, Model, load_model
from tests.engine.bert import (
    CLS,
    N_CTX,
    N_EMBD,
    SEP,
    Shape,
    bert_weights,
    hidden_states,
    ids_of,
    write_bert,
)
from tests.engine.engines import Engine, client_of
from tests.gguf_files import CHATML, write_model


def test_a_vector_is_cut_then_scaled_to_length_one():
    np.testing.assert_allclose(normalised(np.array([3.0, 4.0, 12.0])), np.array([3, 4, 12]) / 13, atol=1e-6)
    np.testing.assert_allclose(normalised(np.array([3.0, 4.0, 12.0]), dimensions=2), [0.6, 0.8], atol=1e-6)
    assert normalised(np.zeros(3)).tolist() == [0, 0, 0]


def with_pooling(path: Path, kind: gguf.PoolingType) -> Path:
    return write_model(path, chat_template=CHATML, customize=lambda writer: writer.add_pooling_type(kind))


async def vector(gguf_path: Path, text: str) -> np.ndarray:
    with Engine() as engine:
        engine.start(gguf_path, ctx_len=512)
        async with client_of(engine) as client:
            shown = await client.ok("embeddings", input=text)
    return np.array(shown["data"][0]["embedding"])


async def test_the_header_chooses_the_pooling(tmp_path: Path):
    vectors = [
        await vector(with_pooling(tmp_path / f"{kind.name}.gguf", kind), "abc def")
        for kind in (gguf.PoolingType.MEAN, gguf.PoolingType.CLS, gguf.PoolingType.LAST)
    ]
    for one in vectors:
        assert np.linalg.norm(one) == pytest.approx(1.0, abs=1e-4)
    assert abs(float(vectors[0] @ vectors[1])) < 0.999
    assert abs(float(vectors[0] @ vectors[2])) < 0.999


async def test_without_a_word_in_the_header_it_is_the_mean(tmp_path: Path):
    silent = await vector(write_model(tmp_path / "m.gguf"), "abc def")
    mean = await vector(with_pooling(tmp_path / "mean.gguf", gguf.PoolingType.MEAN), "abc def")
    np.testing.assert_allclose(silent, mean, atol=1e-5)


async def test_a_model_that_ranks_makes_no_embeddings(tmp_path: Path):
    with Engine() as engine:
        engine.start(with_pooling(tmp_path / "m.gguf", gguf.PoolingType.RANK))
        async with client_of(engine) as client:
            assert (await client.error("embeddings", input="a"))["code"] == "embeddings_disabled"


@pytest.mark.parametrize("kind", [gguf.PoolingType.MEAN, gguf.PoolingType.CLS, gguf.PoolingType.LAST])
async def test_an_encoder_s_vectors_are_those_of_its_weights(tmp_path: Path, kind: gguf.PoolingType):
    shape = Shape(n_layers=3)
    weights = bert_weights(shape)
    states = hidden_states(weights, [CLS, *ids_of("a cat sat"), SEP], shape)
    wanted = {"MEAN": states.mean(axis=0), "CLS": states[0], "LAST": states[-1]}[kind.name]
    path = write_bert(tmp_path / "m.gguf", pooling=kind, weights=weights, shape=shape)
    np.testing.assert_allclose(await vector(path, "a cat sat"), normalised(wanted), atol=2e-3)


async def test_texts_beyond_what_one_batch_holds_come_out_as_each_does_alone(tmp_path: Path):
    with Engine() as engine:
        engine.start(write_bert(tmp_path / "bert.gguf"), ctx_len=512)
        async with client_of(engine) as client:
            texts = [" ".join("abcdefghijklm"[: 1 + n % 13]) for n in range(200)]
            many = (await client.ok("embeddings", input=texts))["data"]
            for n in (0, 12, 101, 199):
                alone = (await client.ok("embeddings", input=texts[n]))["data"][0]["embedding"]
                np.testing.assert_allclose(many[n]["embedding"], alone, atol=1e-3)


async def test_a_model_that_sees_its_input_whole_embeds_and_does_nothing_else(tmp_path: Path):
    with Engine() as engine:
        engine.start(write_bert(tmp_path / "bert.gguf"), ctx_len=512)
        async with client_of(engine) as client:
            many = (await client.ok("embeddings", input=["abc", "abc def", "a" * 50]))["data"]
            alone = (await client.ok("embeddings", input="abc"))["data"]
            assert len(alone[0]["embedding"]) == N_EMBD
            assert np.dot(many[0]["embedding"], alone[0]["embedding"]) == pytest.approx(1.0, abs=1e-4)
            error = await client.error("embeddings", input="a " * 100)
            assert str(N_CTX) in error["message"]
            assert (await client.error("completions", prompt="a"))["code"] == "model_not_generative"


def test_a_gpu_that_is_full_leaves_the_cache_of_embeddings_to_main_memory(
    tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[bool] = []

    def refusing(model: Model, options: ContextOptions) -> Context:
        asked.append(options.is_cache_on_gpu)
        if options.is_cache_on_gpu:
            raise LoadError("llama.cpp could not make a context")
        return open_context(model, options)

    monkeypatch.setattr(embeddings, "open_context", refusing)
    model = load_model(str(tiny_gguf), n_gpu_layers=0, on_progress=lambda _fraction: None)
    embedder = embeddings.Embedder(model, ctx_len=128, n_threads=1, queue_limit=1, has_memory=True)
    assert embedder._open().n_batch
    assert asked == [True, False]
