"""Writes small real GGUF files for tests: models that llama.cpp loads, their relatives, and broken ones.

Facts about the format: ggml's gguf.md. The random-weight llama has a sentencepiece-style vocabulary with byte
tokens, so any text can be tokenised; what it says is noise, but it is llama.cpp that says it.
"""

import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float32]

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LFS_POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 4368439584\n"
)
HTML_PAGE = b"\n<!DOCTYPE html>\n<html><head><title>404</title></head><body>Entry not found</body></html>\n"
LEGACY_GGML = b"tjgg" + struct.pack("<I", 3) + bytes(60)
PYTORCH_ZIP = b"PK\x03\x04" + bytes(26) + b"archive/data.pkl" + bytes(64)
PYTORCH_PICKLE = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + bytes(64)
SAFETENSORS = struct.pack("<Q", 2) + b"{}" + bytes(8)
BIG_ENDIAN = b"GGUF" + struct.pack(">IQQ", 3, 0, 0) + bytes(64)

_FILE_TYPES = {
    member.name.replace("MOSTLY_", "").replace("ALL_", ""): member.value for member in gguf.LlamaFileType
}
_REAL_TYPES = {"F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"}


def vocabulary() -> tuple[list[str], list[float], list[int]]:
    """Tokens, scores and types: 3 specials, 256 bytes, printable characters, ChatML marks."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    types = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    types += [gguf.TokenType.BYTE] * 256
    characters = ["▁", *(chr(code) for code in range(33, 127)), "▁the", "▁a", "ing"]
    tokens += [*characters, "<|im_start|>", "<|im_end|>"]
    types += [gguf.TokenType.NORMAL] * len(characters) + [gguf.TokenType.CONTROL] * 2
    return tokens, [-float(index) for index in range(len(tokens))], [int(kind) for kind in types]


def add_tokenizer(writer: gguf.GGUFWriter, chat_template: str | None = None) -> None:
    """The vocabulary, and what the tokenizer needs."""
    tokens, scores, types = vocabulary()
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    if chat_template is not None:
        writer.add_chat_template(chat_template)


def _add_llama(
    writer: gguf.GGUFWriter,
    *,
    name: str,
    quantization: str,
    context_length: int,
    embedding_length: int,
    layers: int,
    chat_template: str | None,
) -> None:
    writer.add_type("model")
    writer.add_name(name)
    writer.add_context_length(context_length)
    writer.add_embedding_length(embedding_length)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(2 * embedding_length)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(embedding_length // 4)
    writer.add_vocab_size(len(vocabulary()[0]))
    if quantization in _FILE_TYPES:
        writer.add_file_type(_FILE_TYPES[quantization])
    add_tokenizer(writer, chat_template)


def llama_tensors(*, embedding_length: int = 64, layers: int = 1, seed: int = 0) -> dict[str, Weights]:
    """The tensors of a llama with random weights, in the order llama.cpp's own converter writes them."""
    random = np.random.default_rng(seed)
    width, kv_width, vocab = embedding_length, embedding_length // 2, len(vocabulary()[0])

    def weights(*shape: int) -> Weights:
        return (random.standard_normal(shape) * 0.08).astype(np.float32)

    tensors: dict[str, Weights] = {"token_embd.weight": weights(vocab, width)}
    for layer in range(layers):
        block = f"blk.{layer}"
        tensors |= {
            f"{block}.attn_norm.weight": np.ones(width, np.float32),
            f"{block}.attn_q.weight": weights(width, width),
            f"{block}.attn_k.weight": weights(kv_width, width),
            f"{block}.attn_v.weight": weights(kv_width, width),
            f"{block}.attn_output.weight": weights(width, width),
            f"{block}.ffn_norm.weight": np.ones(width, np.float32),
            f"{block}.ffn_gate.weight": weights(2 * width, width),
            f"{block}.ffn_up.weight": weights(2 * width, width),
            f"{block}.ffn_down.weight": weights(width, 2 * width),
        }
    return tensors | {
        "output_norm.weight": np.ones(width, np.float32),
        "output.weight": weights(vocab, width),
    }


def _add_tensors(writer: gguf.GGUFWriter, tensors: Mapping[str, Weights], quantization: str) -> None:
    """Matrices in the real number format where the gguf package can quantize it, else F32."""
    kind = gguf.GGMLQuantizationType[quantization if quantization in _REAL_TYPES else "F32"]
    for name, data in tensors.items():
        if data.ndim < 2 or kind == gguf.GGMLQuantizationType.F32:
            writer.add_tensor(name, data)
        else:
            writer.add_tensor(name, gguf.quants.quantize(data, kind), raw_dtype=kind)


def write_gguf(path: Path, architecture: str, fill: Callable[[gguf.GGUFWriter], None]) -> Path:
    """A file of `architecture` with the header fields and tensors that `fill` adds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, architecture)
    fill(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_model(
    path: Path,
    *,
    quantization: str = "F32",
    name: str = "tiny",
    context_length: int = 512,
    embedding_length: int = 64,
    layers: int = 1,
    seed: int = 0,
    chat_template: str | None = None,
    customize: Callable[[gguf.GGUFWriter], None] | None = None,
    tensors: Mapping[str, Weights] | None = None,
) -> Path:
    """A whole random-weight llama of about 300 KB that llama.cpp loads and generates with.

    `quantization` is what the header says (`general.file_type`); the matrices are really in it for F32, F16,
    BF16, Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0, else in F32. `customize` may add further header fields, `tensors`
    are weights in place of random ones.
    """

    def fill(writer: gguf.GGUFWriter) -> None:
        _add_llama(
            writer,
            name=name,
            quantization=quantization,
            context_length=context_length,
            embedding_length=embedding_length,
            layers=layers,
            chat_template=chat_template,
        )
        if customize is not None:
            customize(writer)
        drawn = llama_tensors(embedding_length=embedding_length, layers=layers, seed=seed)
        _add_tensors(writer, tensors or drawn, quantization)

    return write_gguf(path, "llama", fill)


def write_split(
    folder: Path, stem: str, *, parts: int = 3, quantization: str = "F32", chat_template: str | None = None
) -> list[Path]:
    """The same llama as a split set `<stem>-0000M-of-0000N.gguf`, as llama.cpp's gguf-split leaves one.

    Part 1 holds all of the header; the others only the `split.*` fields, without an architecture.
    """
    tensors = llama_tensors()
    names = list(tensors)
    paths = []
    for part in range(parts):
        share = {name: tensors[name] for name in names[part::parts]}
        path = folder / f"{stem}-{part + 1:05d}-of-{parts:05d}.gguf"

        def fill(writer: gguf.GGUFWriter, part: int = part, share: Mapping[str, Weights] = share) -> None:
            if part == 0:
                _add_llama(
                    writer,
                    name=stem,
                    quantization=quantization,
                    context_length=512,
                    embedding_length=64,
                    layers=1,
                    chat_template=chat_template,
                )
            else:
                del writer.kv_data[0]["general.architecture"]
            writer.add_uint16("split.no", part)
            writer.add_uint16("split.count", parts)
            writer.add_int32("split.tensors.count", len(names))
            _add_tensors(writer, share, quantization)

        paths.append(write_gguf(path, "llama", fill))
    return paths


def write_projector(
    path: Path,
    *,
    embedding_length: int = 64,
    quantization: str = "F16",
    image_size: int = 56,
    seed: int = 0,
    layers: int = 2,
    width: int = 32,
) -> Path:
    """A whole random-weight CLIP with a LLaVA 1.5 projector (`mlp`): a token for every 14 x 14 pixels of
    `image_size` squared. As LLaVA does, it leaves out the last of its layers.

    Tensor names and shapes: llama.cpp's tools/mtmd/clip.cpp and models/llava.cpp.
    """
    patch, n_patches = 14, (image_size // 14) ** 2

    def fill(writer: gguf.GGUFWriter) -> None:
        writer.add_type("mmproj")
        writer.add_clip_has_vision_encoder(True)
        writer.add_clip_projector_type("mlp")
        writer.add_vision_projection_dim(embedding_length)
        writer.add_vision_image_size(image_size)
        writer.add_vision_patch_size(patch)
        writer.add_vision_embedding_length(width)
        writer.add_vision_feed_forward_length(4 * width)
        writer.add_vision_block_count(layers)
        writer.add_vision_head_count(max(2, width // 64))
        writer.add_vision_attention_layernorm_eps(1e-5)
        writer.add_vision_image_mean([0.5, 0.5, 0.5])
        writer.add_vision_image_std([0.5, 0.5, 0.5])
        writer.add_file_type(_FILE_TYPES[quantization])
        tensors = _clip_tensors(
            np.random.default_rng(seed), width=width, layers=layers, patch=patch, n_patches=n_patches
        )
        _add_tensors(writer, tensors, quantization)
        # Last, as llama.cpp's converter has them: the width of the model that the projector is for.
        random = np.random.default_rng(seed + 1)
        last = {
            "mm.0.weight": random.standard_normal((embedding_length, width)).astype(np.float32),
            "mm.0.bias": np.zeros(embedding_length, np.float32),
            "mm.2.weight": random.standard_normal((embedding_length, embedding_length)).astype(np.float32)
            / 8,
            "mm.2.bias": np.zeros(embedding_length, np.float32),
        }
        _add_tensors(writer, last, quantization)

    return write_gguf(path, "clip", fill)


def _clip_tensors(
    random: np.random.Generator, *, width: int, layers: int, patch: int, n_patches: int
) -> dict[str, Weights]:
    """A vision transformer."""

    def weights(*shape: int) -> Weights:
        return (random.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    tensors: dict[str, Weights] = {
        "v.patch_embd.weight": (random.standard_normal((width, 3, patch, patch)) / patch).astype(np.float32),
        # One-dimensional in no CLIP, and a matrix that llama.cpp takes rows of: F32 in any file.
        "v.position_embd.weight": weights(n_patches, width),
        "v.pre_ln.weight": np.ones(width, np.float32),
        "v.pre_ln.bias": np.zeros(width, np.float32),
    }
    for layer in range(layers):
        block = f"v.blk.{layer}"
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            tensors[f"{block}.{name}.weight"] = weights(width, width)
        for name in ("ln1", "ln2"):
            tensors[f"{block}.{name}.weight"] = np.ones(width, np.float32)
            tensors[f"{block}.{name}.bias"] = np.zeros(width, np.float32)
        tensors[f"{block}.ffn_up.weight"] = weights(4 * width, width)
        tensors[f"{block}.ffn_down.weight"] = weights(width, 4 * width)
    return tensors


ADAPTER_RANK, ADAPTER_ALPHA = 4, 8.0


def adapter_pairs(*, embedding_length: int = 64, seed: int = 1) -> dict[str, tuple[Weights, Weights]]:
    """The matrices (A, B) of an adapter for two matrices of the tiny llama: what is added is B @ A."""
    random = np.random.default_rng(seed)
    shapes = {
        "blk.0.attn_q.weight": (embedding_length, embedding_length),
        "blk.0.ffn_down.weight": (embedding_length, 2 * embedding_length),
    }

    def weights(*shape: int) -> Weights:
        return (random.standard_normal(shape) * 0.2).astype(np.float32)

    return {
        name: (weights(ADAPTER_RANK, inward), weights(outward, ADAPTER_RANK))
        for name, (outward, inward) in shapes.items()
    }


def write_adapter(
    path: Path,
    *,
    architecture: str = "llama",
    pairs: Mapping[str, tuple[Weights, Weights]] | None = None,
    customize: Callable[[gguf.GGUFWriter], None] | None = None,
) -> Path:
    """A LoRA adapter, of rank 4 and for the tiny llama unless `pairs` says otherwise."""

    def fill(writer: gguf.GGUFWriter) -> None:
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", ADAPTER_ALPHA)
        if customize is not None:
            customize(writer)
        for name, (a, b) in (adapter_pairs() if pairs is None else pairs).items():
            writer.add_tensor(f"{name}.lora_a", a)
            writer.add_tensor(f"{name}.lora_b", b)

    return write_gguf(path, architecture, fill)


def write_vocab_only(path: Path) -> Path:
    """A vocabulary without a single tensor, like llama.cpp's `ggml-vocab-*.gguf`."""

    def fill(writer: gguf.GGUFWriter) -> None:
        writer.add_name("vocab")
        add_tokenizer(writer, None)

    return write_gguf(path, "llama", fill)


def write_truncated(path: Path, source: Path, *, fraction: float) -> Path:
    """The first `fraction` of `source`, as an interrupted copy leaves it."""
    data = source.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    return path


def write_tail_hole(path: Path, source: Path, *, fraction: float) -> Path:
    """`source` in full length, with only its first `fraction` written: a preallocated copy under way."""
    data = source.read_bytes()
    with path.open("wb") as file:
        file.write(data[: int(len(data) * fraction)])
        file.truncate(len(data))
    return path


def write_unloadable(path: Path) -> Path:
    """Fine by its header and length, but a tensor is missing: llama.cpp refuses it with a message."""

    def fill(writer: gguf.GGUFWriter) -> None:
        _add_llama(
            writer,
            name="broken",
            quantization="F32",
            context_length=512,
            embedding_length=64,
            layers=1,
            chat_template=None,
        )
        tensors = llama_tensors()
        del tensors["blk.0.ffn_up.weight"]
        _add_tensors(writer, tensors, "F32")

    return write_gguf(path, "llama", fill)


def write_aborts_on_load(path: Path) -> Path:
    """Fine by its header; llama.cpp aborts its whole process while loading (two tokens are the same text)."""
    tokens = vocabulary()[0]
    tokens[300] = tokens[301]

    def twice(writer: gguf.GGUFWriter) -> None:
        del writer.kv_data[0]["tokenizer.ggml.tokens"]
        writer.add_token_list(tokens)

    return write_model(path, customize=twice)


def write_aborts_on_decode(path: Path) -> Path:
    """Loads, then llama.cpp aborts its whole process on the first decode (a negative epsilon)."""

    def negative(writer: gguf.GGUFWriter) -> None:
        del writer.kv_data[0]["llama.attention.layer_norm_rms_epsilon"]
        writer.add_layer_norm_rms_eps(-1.0)

    return write_model(path, customize=negative)


def string(text: str) -> bytes:
    """A GGUF string: length as u64, then UTF-8."""
    return struct.pack("<Q", len(text.encode())) + text.encode()


def raw(*, tensors: int = 0, fields: int = 0, body: bytes = b"", version: int = 3) -> bytes:
    """A GGUF by hand: magic, version and the two counts, then `body`."""
    return b"GGUF" + struct.pack("<IQQ", version, tensors, fields) + body


def hostile_headers() -> dict[str, bytes]:
    """Headers that lie about sizes, by what they claim; all are to be refused at once, whatever follows."""
    name = string("general.architecture") + struct.pack("<I", 8) + string("llama")
    array = string("tokenizer.ggml.tokens") + struct.pack("<I", 9)
    tensor = (
        string("t") + struct.pack("<I", 2) + struct.pack("<QQ", 1 << 40, 1 << 40) + struct.pack("<IQ", 0, 0)
    )
    rest = bytes(4096)
    return {
        "2^60 tensors": raw(tensors=1 << 60, fields=1, body=name + rest),
        "2^60 fields": raw(fields=1 << 60, body=name + rest),
        "a key of 2^60 bytes": raw(fields=1, body=struct.pack("<Q", 1 << 60) + rest),
        "a string of 2^63 bytes": raw(
            fields=1, body=string("general.name") + struct.pack("<IQ", 8, 1 << 63) + rest
        ),
        "an array of 2^60 strings": raw(fields=2, body=name + array + struct.pack("<IQ", 8, 1 << 60) + rest),
        "an array of 2^60 numbers": raw(fields=2, body=name + array + struct.pack("<IQ", 5, 1 << 60) + rest),
        "an array of arrays": raw(fields=2, body=name + array + struct.pack("<IQ", 9, 1) + rest),
        "an unknown value type": raw(
            fields=2, body=name + string("general.name") + struct.pack("<I", 77) + rest
        ),
        "a tensor of 2^82 bytes": raw(tensors=1, fields=1, body=name + tensor + rest),
        "a tensor of 99 dimensions": raw(
            tensors=1, fields=1, body=name + string("t") + struct.pack("<I", 99) + rest
        ),
    }
