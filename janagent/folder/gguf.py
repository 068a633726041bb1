"""Reads what a binary is from its first bytes: kind, and for a GGUF the header up to the tensor table."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Kind(StrEnum):
    """What a file turned out to be, by content."""

    MODEL = "model"
    """A GGUF that llama.cpp may load; the first part of a split set too (`header.split_count` > 1)."""
    PROJECTOR = "projector"
    PART = "part"
    """Part 2..N of a split set (`header.split_no` > 0, which counts from 0)."""
    ADAPTER = "adapter"
    VOCAB_ONLY = "vocab_only"
    LEGACY_GGML = "legacy_ggml"
    LFS_POINTER = "lfs_pointer"
    HTML = "html"
    PYTORCH = "pytorch"
    SAFETENSORS = "safetensors"
    EMPTY = "empty"
    INCOMPLETE_HEADER = "incomplete_header"
    """A GGUF (or only zeros so far) whose header itself is not all there yet."""
    CORRUPT = "corrupt"
    """Calls itself GGUF, but llama.cpp cannot read it: nonsense figures, big-endian, an unknown version."""
    UNREADABLE = "unreadable"
    """The operating system refuses to open or read it."""
    OTHER = "other"
    """Anything else, nothing to do with models as far as the content says."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a GGUF header says. A figure that the header does not give is None (counts: 0)."""

    version: int
    architecture: str
    required_bytes: int
    """Length the file must have, by its tensor table; a lower bound when `notes` says so."""
    name: str | None = None
    quantization: str | None = None
    """As people write it: Q4_K_M, Q8_0, F16, BF16."""
    file_type: int | None = None
    context_length: int | None = None
    """Tokens the model was trained for."""
    block_count: int | None = None
    embedding_length: int | None = None
    head_count: int | None = None
    head_count_kv: int | None = None
    """Most over all layers."""
    key_length: int | None = None
    value_length: int | None = None
    sliding_window: int | None = None
    vocab_size: int | None = None
    parameter_count: int = 0
    """Elements of all tensors of this file."""
    expert_count: int | None = None
    expert_used_count: int | None = None
    pooling_type: int | None = None
    """llama.cpp's number: 0 none, 1 mean, 2 cls, 3 last, 4 rank."""
    causal: bool | None = None
    is_projector: bool = False
    is_adapter: bool = False
    is_vocab_only: bool = False
    is_recurrent: bool = False
    """Mamba, RWKV and the like: no KV cache that grows with the context."""
    is_hybrid: bool = False
    """Some layers recurrent, some attention."""
    projector_embedding_length: int | None = None
    """Of a projector: must equal the model's `embedding_length`."""
    has_vision: bool = False
    """Of a projector: it has an image encoder."""
    has_audio: bool = False
    """Of a projector: it has an audio encoder."""
    split_count: int = 1
    split_no: int = 0
    """Counts from 0."""
    tensor_count: int = 0
    has_chat_template: bool = False
    notes: tuple[str, ...] = ()
    """Sentences on what could not be determined."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What `inspect` found. `message` is a clause for a person ("is a Git LFS pointer ..."), else empty."""

    kind: Kind
    header: Header | None = None
    """Set for MODEL, PROJECTOR, PART, ADAPTER and VOCAB_ONLY."""
    message: str = ""


def inspect(path: Path | str) -> Inspection:
    """Look at the head of `path`. Never raises for anything the file or the file system does."""
    raise NotImplementedError


def tail_is_hole(path: Path | str, size_bytes: int) -> bool:
    """Whether the end of the file is a hole: space was set aside for a copy that is still going on."""
    raise NotImplementedError
