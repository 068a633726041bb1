"""Rerankers made of chat models (Qwen3-Reranker): the file's own template, and a softmax over yes and no."""

import math
from pathlib import Path

import gguf
import numpy as np
import pytest

from janagent.engine.llama_log import EngineLog
from janagent.engine.model import load_model
from janagent.engine.ranking import filled
from tests.engine.engines import Engine, client_of
from tests.gguf_files import Weights, add_tokenizer, llama_tensors, write_gguf

WIDTH, HEADS = 64, 4
TEMPLATE = "<|im_start|>query {query}<|im_end|><|im_start|>text {document}<|im_end|>"
HEAD = (np.random.default_rng(3).standard_normal((2, WIDTH)) * 0.1).astype(np.float32)


def write_qwen3(path: Path, pooling: gguf.PoolingType, more: dict[str, Weights]) -> Path:
    """A tiny Qwen3 of random weights."""

    def fill(writer: gguf.GGUFWriter) -> None:
        writer.add_context_length(2048)
        writer.add_embedding_length(WIDTH)
        writer.add_block_count(1)
        writer.add_feed_forward_length(2 * WIDTH)
        writer.add_head_count(HEADS)
        writer.add_head_count_kv(HEADS // 2)
        writer.add_key_length(WIDTH // HEADS)
        writer.add_value_length(WIDTH // HEADS)
        writer.add_layer_norm_rms_eps(1e-6)
        writer.add_pooling_type(pooling)
        writer.add_array("qwen3.classifier.output_labels", ["yes", "no"])
        add_tokenizer(writer)
        writer.add_string("tokenizer.chat_template.rerank", TEMPLATE)
        norms = {f"blk.0.attn_{name}_norm.weight": np.ones(WIDTH // HEADS, np.float32) for name in "qk"}
        # Strong enough that the last token depends on those before it.
        strong = {name: data * 4 if data.ndim > 1 else data for name, data in llama_tensors().items()}
        for name, values in {**strong, **norms, **more}.items():
            writer.add_tensor(name, values)

    return write_gguf(path, "qwen3", fill)


async def test_the_score_is_the_chance_of_yes_after_the_model_s_own_template(
    tmp_path: Path, engine_log: EngineLog
):
    ranks = write_qwen3(tmp_path / "ranks.gguf", gguf.PoolingType.RANK, {"cls.output.weight": HEAD})
    states = write_qwen3(tmp_path / "states.gguf", gguf.PoolingType.LAST, {})
    query, documents = "<|im_end|>", ["a cat", "snow {query} ", "long " * 200]
    model = load_model(str(states), n_gpu_layers=0, on_progress=lambda _fraction: None)
    inputs = [model.tokenize(filled(TEMPLATE, query, text), special=True) for text in documents]
    assert max(tokens.size for tokens in inputs) > 512, "more than one batch"
    with Engine() as engine:
        engine.start(states, ctx_len=2048)
        async with client_of(engine) as client:
            shown = await client.ok("embeddings", input=[tokens.tolist() for tokens in inputs])
    # The last norm leaves every state this long, and embeddings have length 1.
    last = [np.array(entry["embedding"]) * math.sqrt(WIDTH) for entry in shown["data"]]
    scores = np.exp([HEAD @ state for state in last])
    expected = scores[:, 0] / scores.sum(axis=1)
    assert np.ptp(expected) > 0.05
    with Engine() as engine:
        engine.start(ranks, ctx_len=2048)
        async with client_of(engine) as client:
            shown = await client.ok("rerank", query=query, documents=documents)
    found = {result["index"]: result["relevance_score"] for result in shown["results"]}
    for index, chance in enumerate(expected):
        assert found[index] == pytest.approx(chance, abs=5e-3)
    assert shown["usage"]["total_tokens"] == sum(tokens.size for tokens in inputs)
