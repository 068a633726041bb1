"""Writes random-weight BERTs, models that see their input whole, and computes by numpy what they make of it.

The arithmetic is that of the original: post-norm layers, GELU, learned positions; a reranker's head is the
pooler (tanh) and one linear score over the first token. All in float64, so that what differs is llama.cpp.
"""

import math
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

LETTERS = string.ascii_lowercase
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"▁{letter}" for letter in LETTERS), *LETTERS]
CLS, SEP = 2, 3
EPSILON = 1e-12

Weights = Mapping[str, npt.NDArray[np.float32]]
Real = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """Sizes of a BERT; the defaults are tiny."""

    n_embd: int = 32
    n_ff: int = 64
    n_heads: int = 2
    n_layers: int = 1
    n_ctx: int = 64
    n_vocab: int = len(VOCABULARY)
    """Words beyond the single letters are `▁w0`, `▁w1` ..."""

    def tokens(self) -> list[str]:
        return VOCABULARY + [f"▁w{number}" for number in range(self.n_vocab - len(VOCABULARY))]


TINY = Shape()
N_EMBD, N_CTX = TINY.n_embd, TINY.n_ctx


def write_bert(
    path: Path,
    *,
    pooling: gguf.PoolingType = gguf.PoolingType.MEAN,
    weights: Weights | None = None,
    shape: Shape = TINY,
    half: bool = False,
) -> Path:
    """A WordPiece vocabulary of single letters. `half`: matrices in F16."""
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_context_length(shape.n_ctx)
    writer.add_embedding_length(shape.n_embd)
    writer.add_block_count(shape.n_layers)
    writer.add_feed_forward_length(shape.n_ff)
    writer.add_head_count(shape.n_heads)
    writer.add_layer_norm_eps(EPSILON)
    writer.add_causal_attention(False)
    writer.add_pooling_type(pooling)
    writer.add_tokenizer_model("bert")
    writer.add_token_list(shape.tokens())
    writer.add_token_types([3] * 5 + [1] * (shape.n_vocab - 5))
    writer.add_token_type_count(2)
    for add, token in (
        (writer.add_pad_token_id, 0),
        (writer.add_unk_token_id, 1),
        (writer.add_bos_token_id, CLS),
        (writer.add_sep_token_id, SEP),
        (writer.add_eos_token_id, SEP),
        (writer.add_mask_token_id, 4),
    ):
        add(token)
    for name, values in (weights or bert_weights(shape)).items():
        is_matrix = half and values.ndim > 1 and name.startswith(("blk.", "token_embd."))
        writer.add_tensor(name, values.astype(np.float16) if is_matrix else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def bert_weights(shape: Shape = TINY, *, classifier: bool = False, seed: int = 0) -> Weights:
    """Tensors by llama.cpp's names; with the head of a reranker when `classifier`."""
    random = np.random.default_rng(seed)
    n_embd, n_ff = shape.n_embd, shape.n_ff

    def drawn(*size: int) -> npt.NDArray[np.float32]:
        return (random.standard_normal(size) * 0.1).astype(np.float32)

    matrices = {f"attn_{name}": (n_embd, n_embd) for name in ("q", "k", "v", "output")}
    matrices |= {"ffn_up": (n_ff, n_embd), "ffn_down": (n_embd, n_ff)}
    tensors = {
        "token_embd.weight": drawn(shape.n_vocab, n_embd),
        "token_types.weight": drawn(2, n_embd),
        "position_embd.weight": drawn(shape.n_ctx, n_embd),
    }
    norms = ["token_embd_norm"]
    for layer in range(shape.n_layers):
        block = f"blk.{layer}"
        for name, size in matrices.items():
            tensors[f"{block}.{name}.weight"] = drawn(*size)
            tensors[f"{block}.{name}.bias"] = drawn(size[0])
        norms += [f"{block}.attn_output_norm", f"{block}.layer_output_norm"]
    for name in norms:
        tensors[f"{name}.weight"] = np.ones(n_embd, dtype=np.float32) + drawn(n_embd)
        tensors[f"{name}.bias"] = drawn(n_embd)
    if classifier:
        tensors |= {"cls.weight": drawn(n_embd, n_embd), "cls.bias": drawn(n_embd)}
        tensors |= {"cls.output.weight": 5 * drawn(1, n_embd), "cls.output.bias": drawn(1)}
    return tensors


def write_reranker(path: Path, *, weights: Weights | None = None) -> Path:
    """A tiny BERT with pooling type rank and a classifier head."""
    weights = weights or bert_weights(classifier=True)
    return write_bert(path, pooling=gguf.PoolingType.RANK, weights=weights)


def ids_of(text: str) -> list[int]:
    """The tokens of words of single letters, as WordPiece splits them over this vocabulary."""
    return [
        VOCABULARY.index(f"▁{letter}" if at == 0 else letter)
        for word in text.split()
        for at, letter in enumerate(word)
    ]


def pair_ids(query: str, document: str) -> list[int]:
    """`[CLS] query [SEP] document [SEP]`."""
    return [CLS, *ids_of(query), SEP, *ids_of(document), SEP]


def hidden_states(weights: Weights, ids: Sequence[int], shape: Shape = TINY) -> Real:
    """The last layer's output, (tokens, n_embd)."""
    x = weights["token_embd.weight"].astype(np.float64)[list(ids)] + weights["token_types.weight"][0]
    x = _normed(weights, "token_embd_norm", x + weights["position_embd.weight"][: len(ids)])
    for layer in range(shape.n_layers):
        block = f"blk.{layer}"
        q, k, v = (_linear(weights, f"{block}.attn_{name}", x) for name in "qkv")
        size = shape.n_embd // shape.n_heads
        mixed = np.empty_like(x)
        for head in range(shape.n_heads):
            part = slice(head * size, (head + 1) * size)
            chances = np.exp(q[:, part] @ k[:, part].T / math.sqrt(size))
            mixed[:, part] = chances / chances.sum(axis=1, keepdims=True) @ v[:, part]
        x = _normed(weights, f"{block}.attn_output_norm", x + _linear(weights, f"{block}.attn_output", mixed))
        up = _linear(weights, f"{block}.ffn_up", x)
        up *= (1 + np.tanh(math.sqrt(2 / math.pi) * (up + 0.044715 * up**3))) / 2
        x = _normed(weights, f"{block}.layer_output_norm", x + _linear(weights, f"{block}.ffn_down", up))
    return x


def score(weights: Weights, ids: Sequence[int]) -> float:
    """What the head of a reranker says."""
    first = hidden_states(weights, ids)[:1]
    return float(_linear(weights, "cls.output", np.tanh(_linear(weights, "cls", first)))[0, 0])


def _linear(weights: Weights, name: str, x: Real) -> Real:
    return x @ weights[f"{name}.weight"].T.astype(np.float64) + weights[f"{name}.bias"]


def _normed(weights: Weights, name: str, x: Real) -> Real:
    centred = x - x.mean(axis=1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + EPSILON)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]
