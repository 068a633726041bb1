"""Writes tiny random-weight models whose memory is not a plain KV cache: a sliding window, a recurrent state.

Tensor names and shapes: llama.cpp's src/models/cohere2.cpp and mamba.cpp.
"""

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np

from tests.gguf_files import Weights, add_tokenizer, llama_tensors, vocabulary, write_gguf

N_EMBD = 64
WINDOW = 16
_RANDOM = 0.3


def write_windowed(path: Path) -> Path:
    """A Cohere 2 of four layers, three of which see only the last `WINDOW` tokens."""

    def fill(writer: gguf.GGUFWriter) -> None:
        writer.add_feed_forward_length(2 * N_EMBD)
        writer.add_head_count(4)
        writer.add_head_count_kv(2)
        writer.add_sliding_window(WINDOW)
        writer.add_logit_scale(1.0)
        writer.add_layer_norm_eps(1e-5)
        writer.add_rope_dimension_count(N_EMBD // 4)

    tensors = {
        name: data * 4 if data.ndim > 1 else data  # so that each token really depends on those before
        for name, data in llama_tensors(embedding_length=N_EMBD, layers=4).items()
        if "ffn_norm" not in name and name != "output.weight"
    }
    return _write(path, "cohere2", layers=4, fill=fill, tensors=tensors)


def write_recurrent(path: Path) -> Path:
    """A Mamba of two layers."""
    inner, state, rank, kernel = 2 * N_EMBD, 8, 4, 4

    def fill(writer: gguf.GGUFWriter) -> None:
        writer.add_feed_forward_length(0)
        writer.add_head_count(0)
        writer.add_ssm_conv_kernel(kernel)
        writer.add_ssm_inner_size(inner)
        writer.add_ssm_state_size(state)
        writer.add_ssm_time_step_rank(rank)
        writer.add_layer_norm_rms_eps(1e-5)

    random = np.random.default_rng(0)

    def drawn(*shape: int) -> Weights:
        return (random.standard_normal(shape) * _RANDOM).astype(np.float32)

    tensors = {"token_embd.weight": drawn(len(vocabulary()[0]), N_EMBD)}
    tensors["output_norm.weight"] = np.ones(N_EMBD, np.float32)
    for layer in range(2):
        tensors |= {
            f"blk.{layer}.{name}": data
            for name, data in {
                "attn_norm.weight": np.ones(N_EMBD, np.float32),
                "ssm_in.weight": drawn(2 * inner, N_EMBD),
                "ssm_conv1d.weight": drawn(inner, kernel),
                "ssm_conv1d.bias": drawn(inner),
                "ssm_x.weight": drawn(rank + 2 * state, inner),
                "ssm_dt.weight": drawn(inner, rank),
                "ssm_dt.bias": drawn(inner),
                "ssm_a": -np.abs(drawn(inner, state)),
                "ssm_d": drawn(inner),
                "ssm_out.weight": drawn(N_EMBD, inner),
            }.items()
        }
    return _write(path, "mamba", layers=2, fill=fill, tensors=tensors)


def _write(
    path: Path,
    architecture: str,
    *,
    layers: int,
    fill: Callable[[gguf.GGUFWriter], None],
    tensors: dict[str, Weights],
) -> Path:
    def fill_all(writer: gguf.GGUFWriter) -> None:
        writer.add_context_length(1024)
        writer.add_embedding_length(N_EMBD)
        writer.add_block_count(layers)
        writer.add_vocab_size(len(vocabulary()[0]))
        fill(writer)
        add_tokenizer(writer)
        for name, data in tensors.items():
            writer.add_tensor(name, data)

    return write_gguf(path, architecture, fill_all)
