"""Walks a GGUF header: fields and tensor table in, plain values out (ggml's gguf.md and gguf.cpp).

Never reads tensor data, never allocates what a header claims, and never maps the file: a mapping of a file
that someone truncates kills the process. Neighbour: `gguf`, which knows what the fields mean.
"""

import re
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from janagent.folder.ggml_tables import TENSOR_TYPES

_WINDOW_BYTES = 1 << 20
_MAX_HEADER_BYTES = 256 << 20
_MAX_STRING_BYTES = 64 << 20
_MAX_KEY_BYTES = 65_535
_MAX_FIELDS = 1 << 16
_MAX_TENSORS = 1 << 17
_MAX_ARRAY = 1 << 26
_MAX_STRINGS = 1 << 22
_MAX_FILE_BYTES = 1 << 50
_KEPT_STRING_BYTES = 1024
_KEPT_ARRAY = 4096
_LONGEST_KEPT_KEY = 128
_TOKEN_MATRICES = (b"token_embd.weight", b"output.weight")
"""Limits far above every real model (the largest vocabularies have half a million strings, models that were
never merged some 50,000 tensors), so that a hostile header costs at most about a second."""

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_TYPE_AND_OFFSET = struct.Struct("<IQ")
_STRING, _ARRAY = 8, 9
_SCALARS = {
    number: struct.Struct("<" + code)
    for number, code in {
        0: "B",
        1: "b",
        2: "H",
        3: "h",
        4: "I",
        5: "i",
        6: "f",
        7: "?",
        10: "Q",
        11: "q",
        12: "d",
    }.items()
}
_DIMENSIONS = [struct.Struct(f"<{count}Q") for count in range(5)]
_KEPT = re.compile(
    r"general\.(?:architecture|type|name|file_type|alignment)|split\.(?:no|count)|adapter\.type"
    r"|tokenizer\.(?:chat_template|ggml\.tokens)|clip\..*(?:projector_type|projection_dim|has_\w+_encoder)"
    r"|clip\.vision\.(?:image_size|patch_size)"
    r"|.*\.(?:context_length|block_count|embedding_length|vocab_size|expert_count|expert_used_count|pooling_type)"
    r"|.*\.attention\.(?:head_count|head_count_kv|key_length|value_length|sliding_window|causal)|.*\.ssm\.state_size"
)


class CutOff(Exception):
    """The file ends inside its header."""


class Corrupt(Exception):
    """The header says what no header can; the message is a clause for a person."""


class _Source:
    """A forward-only reader with a small window on the file, bounded by the size it had when opened."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self.position = 0
        self._file = file
        self._size = size_bytes
        self._window = b""
        self._start = 0

    def _offset(self, count: int) -> int:
        """Where the next `count` bytes lie within the window, which moves when it does not hold them."""
        offset = self.position - self._start
        if offset + count <= len(self._window):
            return offset
        if self.position + count > self._size:
            raise CutOff
        if self.position > _MAX_HEADER_BYTES:
            raise Corrupt(f"has a header of more than {_MAX_HEADER_BYTES >> 20} MiB")
        self._file.seek(self.position)
        self._window = self._file.read(max(_WINDOW_BYTES, count))
        self._start = self.position
        if len(self._window) < count:
            raise CutOff
        return 0

    def unpack(self, form: struct.Struct) -> tuple[Any, ...]:
        offset = self._offset(form.size)  # before the window is looked up: it may move
        values = form.unpack_from(self._window, offset)
        self.position += form.size
        return values

    def take(self, count: int) -> bytes:
        offset = self._offset(count)
        self.position += count
        return self._window[offset : offset + count]

    def skip(self, count: int) -> None:
        if self.position + count > self._size:
            raise CutOff
        self.position += count

    def string(self, *, limit: int, what: str) -> bytes:
        """A string that has to be short. Raises Corrupt when it is longer than `limit`."""
        (length,) = self.unpack(_U64)
        if length > limit:
            raise Corrupt(f"claims a {what} of {length} bytes")
        return self.take(length)

    def skip_strings(self, count: int) -> None:
        """Pass over `count` strings. This loop is most of the cost of reading a header."""
        length_at, width = _U64.unpack_from, _U64.size
        while count:
            offset = self._offset(width)
            window, last = self._window, len(self._window) - width
            while count and offset <= last:
                offset += width + length_at(window, offset)[0]
                count -= 1
            if offset > last + width + _MAX_STRING_BYTES:
                raise Corrupt("claims a string longer than any token")
            self.position = self._start
            self.skip(offset)


@dataclass(slots=True)
class Table:
    """What is kept of the tensor table of one file."""

    end: int = 0
    """Bytes of tensor data, counted from where it begins."""
    elements: int = 0
    bytes_by_type: dict[str, int] = field(default_factory=dict)
    projections: dict[str, tuple[int, ...]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of the matrices for tokens, by name."""
    has_classifier: bool = False
    """A tensor of a classifier head, which turns the state of a text into scores."""
    unknown_types: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Contents:
    """A whole header, as it is written."""

    version: int
    tensor_count: int
    fields: dict[str, Any]
    """Those that matter here. Of an array: its numbers where they are few, and its length under `<key>#`."""
    table: Table
    required_bytes: int
    """Length that the file must have."""


def read_contents(file: BinaryIO, size_bytes: int) -> Contents:
    """The header of a file that begins with the magic. Raises CutOff or Corrupt, and OSError from reading."""
    source = _Source(file, size_bytes)
    version, tensor_count, field_count = _read_counts(source)
    fields: dict[str, Any] = {}
    _read_fields(source, field_count, into=fields)
    alignment = _alignment(fields)
    table = _read_tensors(source, tensor_count, alignment)
    data_start = -(-source.position // alignment) * alignment if tensor_count else source.position
    return Contents(version, tensor_count, fields, table, data_start + table.end)


def read_beginning(file: BinaryIO, size_bytes: int) -> Contents:
    """As much of a header as the first `size_bytes` hold: its fields up to there, and no tensor table.

    Raises CutOff where not even the counts are there, or Corrupt.
    """
    source = _Source(file, size_bytes)
    version, tensor_count, field_count = _read_counts(source)
    fields: dict[str, Any] = {}
    with suppress(CutOff):
        _read_fields(source, field_count, into=fields)
    return Contents(version, tensor_count, fields, Table(), 0)


def _read_counts(source: _Source) -> tuple[int, int, int]:
    """Version, number of tensors, number of fields."""
    source.skip(4)
    (version,) = source.unpack(_U32)
    if version and not version & 0xFFFF:
        raise Corrupt("is a big-endian GGUF, made for another kind of processor")
    if version not in (2, 3):
        raise Corrupt(f"has GGUF version {version}; llama.cpp reads 2 and 3")
    tensor_count, field_count = (*source.unpack(_U64), *source.unpack(_U64))
    if tensor_count > _MAX_TENSORS:
        raise Corrupt(f"claims {tensor_count} tensors")
    if field_count > _MAX_FIELDS:
        raise Corrupt(f"claims {field_count} header fields")
    return version, tensor_count, field_count


def _read_fields(source: _Source, count: int, *, into: dict[str, Any]) -> None:
    """The fields that matter. Of an array, its numbers when they are few, else its length as `<key>#`."""
    strings = 0
    for _ in range(count):
        key = source.string(limit=_MAX_KEY_BYTES, what="field name").decode("utf-8", "replace")
        (kind,) = source.unpack(_U32)
        kept = len(key) <= _LONGEST_KEPT_KEY and _KEPT.fullmatch(key) is not None
        if kind == _STRING:
            (length,) = source.unpack(_U64)
            if length > _MAX_STRING_BYTES:
                raise Corrupt(f"claims a text of {length} bytes")
            end = source.position + length
            if kept:
                into[key] = source.take(min(length, _KEPT_STRING_BYTES)).decode("utf-8", "replace")
            source.skip(end - source.position)
        elif kind == _ARRAY:
            (item,), (length,) = source.unpack(_U32), source.unpack(_U64)
            strings += length if item == _STRING else 0
            if length > _MAX_ARRAY or strings > _MAX_STRINGS:
                raise Corrupt(f"claims a list of {length} values")
            _read_array(source, item, length, into=into if kept else {}, key=key)
        else:
            (value,) = source.unpack(_scalar(kind))
            if kept:
                into[key] = value


def _read_array(source: _Source, item: int, length: int, *, into: dict[str, Any], key: str) -> None:
    into[key + "#"] = length
    if item == _STRING:
        source.skip_strings(length)
        return
    form = _scalar(item)
    if into and length <= _KEPT_ARRAY:
        values = source.take(length * form.size)
        into[key] = tuple(value for (value,) in form.iter_unpack(values))
    else:
        source.skip(length * form.size)


def _scalar(kind: int) -> struct.Struct:
    try:
        return _SCALARS[kind]
    except KeyError:
        raise Corrupt(f"has a field of type {kind}, which does not exist") from None


def _alignment(fields: dict[str, Any]) -> int:
    alignment = fields.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise Corrupt("has an alignment that is no power of two")
    return alignment


def _read_tensors(source: _Source, count: int, alignment: int) -> Table:
    """Walk the tensor table, checking what llama.cpp checks: shapes, types, and offsets without gaps."""
    table = Table()
    for _ in range(count):
        name = source.string(limit=_KEPT_STRING_BYTES, what="tensor name")
        (rank,) = source.unpack(_U32)
        if rank > 4:
            raise Corrupt(f"has a tensor of {rank} dimensions")
        shape = source.unpack(_DIMENSIONS[rank])
        kind, offset = source.unpack(_TYPE_AND_OFFSET)
        elements = 1
        for extent in shape:
            elements *= extent
        table.elements += elements
        if offset % alignment or (
            not table.unknown_types and offset != -(-table.end // alignment) * alignment
        ):
            raise Corrupt("has tensors with gaps or overlaps")
        if (known := TENSOR_TYPES.get(kind)) is None:
            table.unknown_types.add(kind)
            length = 0
        else:
            type_name, block, block_bytes = known
            if shape and shape[0] % block:
                raise Corrupt(f"has a tensor that does not fit its number format {type_name}")
            length = elements // block * block_bytes
            table.bytes_by_type[type_name] = table.bytes_by_type.get(type_name, 0) + length
            if name in _TOKEN_MATRICES:
                table.sizes[name.decode()] = length
        table.end = max(table.end, offset + length)
        if table.end > _MAX_FILE_BYTES:
            raise Corrupt("claims a tensor larger than any disk")
        if name.startswith((b"mm.", b"resampler.")):
            table.projections[name.decode("utf-8", "replace")] = shape
        elif name.startswith(b"cls."):
            table.has_classifier = True
    return table
