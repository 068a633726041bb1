"""Writes tiny random-weight projectors, and models for them, that differ from LLaVA's: pictures whose places
have two dimensions, pictures that are seen at once, sounds.

Tensor names and shapes: llama.cpp's tools/mtmd/clip.cpp, models/qwen2vl.cpp, siglip.cpp and whisper-enc.cpp.
"""

from pathlib import Path

import gguf
import numpy as np

from tests.gguf_files import Weights, add_tokenizer, llama_tensors, vocabulary, write_gguf

WIDTH = 32
N_EMBD = 64
_SECTIONS = [2, 3, 3, 0]


def _drawn(seed: int = 0) -> "_Draw":
    return _Draw(np.random.default_rng(seed))


class _Draw:
    """Random matrices whose products keep their size."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random

    def __call__(self, *shape: int) -> Weights:
        return (self._random.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)


def _layers(draw: _Draw, prefix: str, count: int) -> dict[str, Weights]:
    tensors: dict[str, Weights] = {}
    for layer in range(count):
        block = f"{prefix}.blk.{layer}"
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            tensors[f"{block}.{name}.weight"] = draw(WIDTH, WIDTH)
            if not (prefix == "a" and name == "attn_k"):  # Whisper's keys have none
                tensors[f"{block}.{name}.bias"] = draw(WIDTH)
        for name in ("ln1", "ln2"):
            tensors[f"{block}.{name}.weight"] = np.ones(WIDTH, np.float32)
            tensors[f"{block}.{name}.bias"] = np.zeros(WIDTH, np.float32)
        tensors[f"{block}.ffn_up.weight"] = draw(2 * WIDTH, WIDTH)
        tensors[f"{block}.ffn_down.weight"] = draw(WIDTH, 2 * WIDTH)
    return tensors


def _add_vision(writer: gguf.GGUFWriter, kind: str, *, image_size: int) -> None:
    writer.add_type("mmproj")
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type(kind)
    writer.add_vision_projection_dim(N_EMBD)
    writer.add_vision_image_size(image_size)
    writer.add_vision_patch_size(14)
    writer.add_vision_embedding_length(WIDTH)
    writer.add_vision_feed_forward_length(2 * WIDTH)
    writer.add_vision_block_count(2)
    writer.add_vision_head_count(2)
    writer.add_vision_attention_layernorm_eps(1e-5)
    writer.add_vision_image_mean([0.5, 0.5, 0.5])
    writer.add_vision_image_std([0.5, 0.5, 0.5])


def _add_all(writer: gguf.GGUFWriter, tensors: dict[str, Weights]) -> None:
    for name, data in tensors.items():
        writer.add_tensor(name, data)


def write_gridded_model(path: Path, *, chat_template: str | None = None) -> Path:
    """A Qwen2-VL: its positions have three dimensions (M-RoPE)."""
    draw = _drawn(1)

    def fill(writer: gguf.GGUFWriter) -> None:
        writer.add_context_length(1024)
        writer.add_embedding_length(N_EMBD)
        writer.add_block_count(2)
        writer.add_feed_forward_length(2 * N_EMBD)
        writer.add_head_count(4)
        writer.add_head_count_kv(2)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_dimension_sections(_SECTIONS)
        writer.add_vocab_size(len(vocabulary()[0]))
        add_tokenizer(writer, chat_template)
        tensors = {
            name: data * 4 if data.ndim > 1 else data
            for name, data in llama_tensors(embedding_length=N_EMBD, layers=2).items()
        }
        for layer in range(2):
            for name, width in (("attn_q", N_EMBD), ("attn_k", N_EMBD // 2), ("attn_v", N_EMBD // 2)):
                tensors[f"blk.{layer}.{name}.bias"] = draw(width)
        _add_all(writer, tensors)

    return write_gguf(path, "qwen2vl", fill)


def write_gridded(path: Path) -> Path:
    """Qwen2-VL's projector: a token for every 28 x 28 pixels, whatever the picture's shape."""
    draw = _drawn(2)

    def fill(writer: gguf.GGUFWriter) -> None:
        _add_vision(writer, "qwen2vl_merger", image_size=560)
        _add_all(
            writer,
            {
                "v.patch_embd.weight": draw(WIDTH, 3, 14, 14) / 8,
                "v.patch_embd.weight.1": draw(WIDTH, 3, 14, 14) / 8,
                **_layers(draw, "v", 2),
                "v.post_ln.weight": np.ones(WIDTH, np.float32),
                "v.post_ln.bias": np.zeros(WIDTH, np.float32),
                "mm.0.weight": draw(4 * WIDTH, 4 * WIDTH),
                "mm.0.bias": draw(4 * WIDTH),
                "mm.2.weight": draw(N_EMBD, 4 * WIDTH),
                "mm.2.bias": draw(N_EMBD),
            },
        )

    return write_gguf(path, "clip", fill)


def write_whole(path: Path, *, image_size: int = 224) -> Path:
    """Gemma 3's projector: 16 patches make a token, and the tokens of a picture all see each other."""
    draw = _drawn(3)

    def fill(writer: gguf.GGUFWriter) -> None:
        _add_vision(writer, "gemma3", image_size=image_size)
        _add_all(
            writer,
            {
                "v.patch_embd.weight": draw(WIDTH, 3, 14, 14) / 8,
                "v.patch_embd.bias": draw(WIDTH),
                "v.position_embd.weight": draw((image_size // 14) ** 2, WIDTH),
                **_layers(draw, "v", 2),
                "v.post_ln.weight": np.ones(WIDTH, np.float32),
                "v.post_ln.bias": np.zeros(WIDTH, np.float32),
                "mm.input_projection.weight": draw(WIDTH, N_EMBD),
                "mm.soft_emb_norm.weight": np.ones(WIDTH, np.float32),
            },
        )

    return write_gguf(path, "clip", fill)


def write_hearing(path: Path) -> Path:
    """Ultravox's projector over a Whisper encoder: 375 tokens for each 30 seconds.

    It stacks 4 frames, not 8 as Ultravox does, which llama.cpp rounds in two ways and then aborts over.
    """
    draw = _drawn(4)
    stack, mels, hidden = 4, 80, 64

    def fill(writer: gguf.GGUFWriter) -> None:
        writer.add_type("mmproj")
        writer.add_clip_has_audio_encoder(True)
        writer.add_clip_projector_type("ultravox")
        writer.add_audio_projection_dim(N_EMBD)
        writer.add_audio_embedding_length(WIDTH)
        writer.add_audio_feed_forward_length(2 * WIDTH)
        writer.add_audio_block_count(2)
        writer.add_audio_head_count(2)
        writer.add_audio_attention_layernorm_eps(1e-5)
        writer.add_audio_num_mel_bins(mels)
        writer.add_audio_stack_factor(stack)
        _add_all(
            writer,
            {
                "a.conv1d.1.bias": draw(WIDTH, 1),
                "a.conv1d.2.bias": draw(WIDTH, 1),
                "a.position_embd.weight": draw(1500, WIDTH),
                **_layers(draw, "a", 2),
                "a.post_ln.weight": np.ones(WIDTH, np.float32),
                "a.post_ln.bias": np.zeros(WIDTH, np.float32),
                "mm.a.norm_pre.weight": np.ones(WIDTH * stack, np.float32),
                "mm.a.norm_mid.weight": np.ones(hidden, np.float32),
            },
        )
        writer.add_tensor("a.conv1d.1.weight", draw(WIDTH, mels, 3).astype(np.float16))
        writer.add_tensor("a.conv1d.2.weight", draw(WIDTH, WIDTH, 3).astype(np.float16))
        # Last, as llama.cpp's converter has them.
        writer.add_tensor("mm.a.mlp.1.weight", draw(2 * hidden, WIDTH * stack))
        writer.add_tensor("mm.a.mlp.2.weight", draw(N_EMBD, hidden))

    return write_gguf(path, "clip", fill)
