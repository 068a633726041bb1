"""Writes a tiny random-weight BERT: a model that sees its input whole and only makes embeddings."""

import string
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

N_EMBD, N_FF, N_CTX = 32, 64, 64


def write_bert(path: Path) -> Path:
    """One layer, a WordPiece vocabulary of single letters, mean pooling, 64 tokens of context."""
    letters = string.ascii_lowercase
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"▁{letter}" for letter in letters), *letters]
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_context_length(N_CTX)
    writer.add_embedding_length(N_EMBD)
    writer.add_block_count(1)
    writer.add_feed_forward_length(N_FF)
    writer.add_head_count(2)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_tokenizer_model("bert")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 5 + [1] * (len(tokens) - 5))
    writer.add_token_type_count(2)
    for add, token in (
        (writer.add_pad_token_id, 0),
        (writer.add_unk_token_id, 1),
        (writer.add_bos_token_id, 2),
        (writer.add_sep_token_id, 3),
        (writer.add_eos_token_id, 3),
        (writer.add_mask_token_id, 4),
    ):
        add(token)
    for name, values in _tensors(len(tokens)).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors(n_tokens: int) -> dict[str, npt.NDArray[np.float32]]:
    random = np.random.default_rng(0)

    def drawn(*shape: int) -> npt.NDArray[np.float32]:
        return (random.standard_normal(shape) * 0.1).astype(np.float32)

    shapes = {"attn_q": (N_EMBD, N_EMBD), "attn_k": (N_EMBD, N_EMBD), "attn_v": (N_EMBD, N_EMBD)}
    shapes |= {"attn_output": (N_EMBD, N_EMBD), "ffn_up": (N_FF, N_EMBD), "ffn_down": (N_EMBD, N_FF)}
    tensors = {
        "token_embd.weight": drawn(n_tokens, N_EMBD),
        "token_types.weight": drawn(2, N_EMBD),
        "position_embd.weight": drawn(N_CTX, N_EMBD),
    }
    for name, shape in shapes.items():
        tensors[f"blk.0.{name}.weight"] = drawn(*shape)
        tensors[f"blk.0.{name}.bias"] = drawn(shape[0])
    for name in ("token_embd_norm", "blk.0.attn_output_norm", "blk.0.layer_output_norm"):
        tensors[f"{name}.weight"] = np.ones(N_EMBD, dtype=np.float32)
        tensors[f"{name}.bias"] = drawn(N_EMBD)
    return tensors
