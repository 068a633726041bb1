"""Reads what a binary is from its first bytes: its kind and, for a GGUF, the header up to the tensor table.

Owns what the fields of a GGUF header mean, and what the look-alikes are (pointers, error pages, old formats).
Knows nothing of folders, file names or manifests. Neighbours: `gguf_reader` walks the header, `catalog` asks.
"""

import errno
import io
import os
import re
import stat
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

from janagent.folder.ggml_tables import (
    ENCODERS,
    FILE_TYPE_GUESSED,
    FILE_TYPES,
    HYBRID,
    PROJECTION_TENSORS,
    RECURRENT,
    TRANSPOSED_PROJECTORS,
)
from janagent.folder.gguf_reader import Contents, Corrupt, CutOff, Table, read_beginning, read_contents

RANK = 4
"""`pooling_type` of a model that tells how well documents answer a query."""
_STACKED = re.compile(r"mm\.(\d+)\.weight")


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
    embedding_bytes: int = 0
    """Of the matrix that turns tokens into numbers; 0 when this file has none, as later parts of a set."""
    output_bytes: int = 0
    """Of the one that turns numbers into tokens; 0 where the embedding matrix serves for it too."""
    expert_count: int | None = None
    expert_used_count: int | None = None
    pooling_type: int | None = None
    """llama.cpp's number: 0 none, 1 mean, 2 cls, 3 last, 4 rank."""
    causal: bool | None = None
    is_encoder: bool = False
    """Sees a text whole and keeps no KV cache: BERT and the like."""
    has_classifier: bool = False
    """Has a head that turns a text into scores. Of a split set, whose later parts may hold it: assumed."""
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
    image_patches: int | None = None
    """Of a projector: how many patches a picture of its usual size has."""
    patch_size: int | None = None
    """Of a projector: the sides of a patch in pixels."""
    vision_width: int | None = None
    """Of a projector: what `embedding_length` is of a model."""
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
    """Look at the head of `path`. Never raises for anything that the file or the file system does."""
    try:
        # A FIFO of a model's name must not block the scan.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return Inspection(Kind.OTHER, message="is not a regular file")
            with open(descriptor, "rb", buffering=0, closefd=False) as file:
                return _inspect(file, status.st_size)
        finally:
            os.close(descriptor)
    except OSError as error:
        return Inspection(
            Kind.UNREADABLE, message=f"cannot be read: {error.strerror or type(error).__name__}"
        )
    except ValueError:
        return Inspection(Kind.UNREADABLE, message="cannot be read: no file can have this name")


def header_of_beginning(head: bytes) -> Header | None:
    """What the first bytes of a model say, for when the rest is not at hand; None if that is too little.

    llama.cpp's converters write the dimensions before the vocabulary, so some kilobytes are enough. The
    figures that come of the tensor table (length, parameters) are 0.
    """
    if not head.startswith(b"GGUF"):
        return None
    try:
        header = _header(read_beginning(io.BytesIO(head), len(head)))
    except (CutOff, Corrupt):
        return None
    return header if header.block_count and header.embedding_length else None


def _inspect(file: BinaryIO, size_bytes: int) -> Inspection:
    head = file.read(4096)
    if not size_bytes or not head:
        return Inspection(Kind.EMPTY, message="is empty")
    if not head.startswith(b"GGUF"):
        return _not_gguf(head, size_bytes)
    try:
        return _judge(read_contents(file, size_bytes))
    except CutOff:
        message = "ends inside its own header: still being written, or cut off"
        return Inspection(Kind.INCOMPLETE_HEADER, message=message)
    except Corrupt as error:
        return Inspection(Kind.CORRUPT, message=f"is damaged or no model: it {error}")


def _not_gguf(head: bytes, size_bytes: int) -> Inspection:
    """Name what people mistake for a model."""
    if b"GGUF".startswith(head) or not head.strip(b"\0"):
        return Inspection(Kind.INCOMPLETE_HEADER, message="holds nothing yet: still being written")
    if head[:4] in (b"lmgg", b"fmgg", b"tjgg", b"algg"):
        message = "is in the GGML format of 2023, which llama.cpp no longer reads: get the model as GGUF"
        return Inspection(Kind.LEGACY_GGML, message=message)
    if head.startswith(b"version https://git-lfs"):
        message = "is a Git LFS pointer, not the model: run `git lfs pull`, or download the file itself"
        return Inspection(Kind.LFS_POINTER, message=message)
    text = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        message = "is a web page, most likely an error page saved in place of the model: download it again"
        return Inspection(Kind.HTML, message=message)
    if (head.startswith(b"PK\x03\x04") and b"/data.pkl" in head) or head.startswith(b"\x80\x02"):
        return Inspection(
            Kind.PYTORCH, message="is a PyTorch file: convert it to GGUF, or get the model as GGUF"
        )
    if len(head) > 9 and 2 <= int.from_bytes(head[:8], "little") <= size_bytes - 8 and head[8:9] == b"{":
        message = "is a safetensors file: convert it to GGUF, or get the model as GGUF"
        return Inspection(Kind.SAFETENSORS, message=message)
    return Inspection(Kind.OTHER, message="is no GGUF file")


def _header(contents: Contents) -> Header:
    fields, table = contents.fields, contents.table
    architecture = _text(fields, "general.architecture") or ""
    prefix = f"{architecture}."
    file_type = _number(fields, "general.file_type")
    split_no, split_count = _split(fields)
    is_recurrent = architecture in RECURRENT
    notes = tuple(
        f"number format {kind} is unknown to this llama.cpp, so the file's full length is not known"
        for kind in sorted(table.unknown_types)
    )
    return Header(
        version=contents.version,
        architecture=architecture,
        required_bytes=contents.required_bytes,
        name=_text(fields, "general.name"),
        quantization=_quantization(file_type, table),
        file_type=file_type,
        context_length=_count(fields, prefix + "context_length"),
        block_count=_count(fields, prefix + "block_count"),
        embedding_length=_count(fields, prefix + "embedding_length"),
        head_count=_count(fields, prefix + "attention.head_count"),
        head_count_kv=_count(fields, prefix + "attention.head_count_kv"),
        key_length=_count(fields, prefix + "attention.key_length"),
        value_length=_count(fields, prefix + "attention.value_length"),
        sliding_window=_count(fields, prefix + "attention.sliding_window"),
        vocab_size=_count(fields, prefix + "vocab_size") or _count(fields, "tokenizer.ggml.tokens#"),
        parameter_count=table.elements,
        embedding_bytes=table.sizes.get("token_embd.weight", 0),
        output_bytes=table.sizes.get("output.weight", 0),
        expert_count=_count(fields, prefix + "expert_count"),
        expert_used_count=_count(fields, prefix + "expert_used_count"),
        pooling_type=_number(fields, prefix + "pooling_type"),
        causal=_flag(fields, prefix + "attention.causal"),
        is_encoder=architecture in ENCODERS,
        has_classifier=table.has_classifier or split_count > 1,
        is_projector=architecture == "clip" or fields.get("general.type") == "mmproj",
        is_adapter=fields.get("general.type") == "adapter" or "adapter.type" in fields,
        is_vocab_only=contents.tensor_count == 0 and split_count == 1,
        is_recurrent=is_recurrent,
        is_hybrid=architecture in HYBRID or (not is_recurrent and prefix + "ssm.state_size" in fields),
        projector_embedding_length=_projection(fields, table),
        has_vision=_flag(fields, "clip.has_vision_encoder") or False,
        has_audio=_flag(fields, "clip.has_audio_encoder") or False,
        image_patches=_patches(fields),
        patch_size=_count(fields, "clip.vision.patch_size"),
        vision_width=_count(fields, "clip.vision.embedding_length"),
        split_no=split_no,
        split_count=split_count,
        tensor_count=contents.tensor_count,
        has_chat_template=bool(_text(fields, "tokenizer.chat_template")),
        notes=notes,
    )


def _judge(contents: Contents) -> Inspection:
    """Which kind of GGUF it is. The later parts of a split set have no architecture, only `split.*`."""
    header = _header(contents)
    if header.split_no > 0:
        return Inspection(Kind.PART, header)
    if not header.architecture:
        purpose = _text(contents.fields, "general.type") or "something else"
        return Inspection(Kind.OTHER, message=f"is a GGUF without an architecture ({purpose}), so no model")
    if header.is_adapter or header.architecture == "controlvector":
        return Inspection(Kind.ADAPTER, header)
    if header.is_projector:
        return Inspection(Kind.PROJECTOR, header)
    if header.is_vocab_only:
        return Inspection(Kind.VOCAB_ONLY, header, "holds only a vocabulary, no weights")
    return Inspection(Kind.MODEL, header)


def _split(fields: dict[str, Any]) -> tuple[int, int]:
    """Number of this part, from 0, and how many there are."""
    number, count = _number(fields, "split.no") or 0, _number(fields, "split.count") or 1
    if not 0 <= number < count:
        raise Corrupt(f"says that it is part {number + 1} of {count}")
    return number, count


def _number(fields: dict[str, Any], key: str) -> int | None:
    value = fields.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _count(fields: dict[str, Any], key: str) -> int | None:
    """A positive whole number; the greatest, where each layer has its own."""
    value = fields.get(key)
    values = value if isinstance(value, tuple) else (value,)
    return max((n for n in values if isinstance(n, int) and not isinstance(n, bool) and n > 0), default=None)


def _flag(fields: dict[str, Any], key: str) -> bool | None:
    value = fields.get(key)
    return value if isinstance(value, bool) else None


def _text(fields: dict[str, Any], key: str) -> str | None:
    value = fields.get(key)
    return value if isinstance(value, str) and value else None


def _quantization(file_type: int | None, table: Table) -> str | None:
    """As the header says, else the number format that holds most of the bytes."""
    if file_type is not None and (name := FILE_TYPES.get(file_type & ~FILE_TYPE_GUESSED)) is not None:
        return name
    return max(table.bytes_by_type, key=lambda name: table.bytes_by_type[name], default=None)


def _projection(fields: dict[str, Any], table: Table) -> int | None:
    """Width of a projector's output, by its last tensor: the header field is wrong in LLaVA 1.5 files."""
    shapes = table.projections
    stacked = [
        (int(match[1]), shape[1])
        for name, shape in shapes.items()
        if (match := _STACKED.fullmatch(name)) and len(shape) == 2
    ]
    if stacked:
        return max(stacked)[1]
    is_transposed = _text(fields, "clip.projector_type") in TRANSPOSED_PROJECTORS
    for name, axis in PROJECTION_TENSORS:
        shape = shapes.get(name, ())
        dimension = 0 if is_transposed and name == "mm.input_projection.weight" else axis
        if len(shape) > dimension:
            return shape[dimension]
    for part in ("vision.", "audio.", ""):
        if (width := _count(fields, f"clip.{part}projection_dim")) is not None:
            return width
    return None


def _patches(fields: dict[str, Any]) -> int | None:
    size, patch = _count(fields, "clip.vision.image_size"), _count(fields, "clip.vision.patch_size")
    return (size // patch) ** 2 if size and patch else None


def tail_is_hole(path: Path | str, size_bytes: int) -> bool:
    """Whether the file's last byte lies in a hole: space was set aside for a copy that is still going on.

    False where the file system cannot tell, or the file cannot be opened.
    """
    seek_data = getattr(os, "SEEK_DATA", None)
    if seek_data is None or size_bytes <= 0:
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError):
        return False
    try:
        os.lseek(descriptor, size_bytes - 1, seek_data)
    except OSError as error:
        return error.errno == errno.ENXIO
    finally:
        os.close(descriptor)
    return False
