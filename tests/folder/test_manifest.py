"""`janagent.folder.manifest`: what a manifest's bytes come to."""

import json
import time
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from janagent.folder.manifest import (
    DEFAULT,
    MAX_MANIFEST_BYTES,
    ImportFormat,
    Manifest,
    ManifestError,
    apply_start_parameters,
    read_manifest,
)
from janagent.folder.parameters import InitParameters, RuntimeParameters
from tests.folder.manifests import init, manifest, message, read, runtime

DATA = Path(__file__).parent.parent / "data"


def example(name: str) -> Manifest:
    reading = read_manifest((DATA / name).read_bytes())
    assert reading.fault is None
    assert reading.warnings == ()
    assert reading.is_manifest_like
    assert reading.manifest is not None
    return reading.manifest


def test_the_specification_s_local_example_reads_as_written() -> None:
    zephyr = example("model-zephyr-7B.json")
    assert zephyr.shown() == {
        "origin": "TheBloke/zephyr-7B-beta-GGUF",
        "import_format": "thebloke",
        "download_url": "zephyr-7b-beta.Q2_K.gguf",
        "parameters": {
            "init": {
                "ctx_len": 2048,
                "ngl": 100,
                "embedding": True,
                "n_parallel": 4,
                "pre_prompt": "A chat between a curious user and an artificial intelligence",
                "user_prompt": "USER: ",
                "ai_prompt": "ASSISTANT: ",
            },
            "runtime": {"temperature": 0.7, "token_limit": 2048},
        },
        "metadata": {"engine": "llamacpp"},
    }
    assert (zephyr.created, zephyr.owned_by) == (1686935002, "TheBloke")
    assert zephyr.runtime.request_defaults() == {"temperature": 0.7, "max_tokens": 2048}
    assert not zephyr.is_remote


def test_the_specification_s_example_with_several_binaries_reads_as_written() -> None:
    llava = example("model-llava-v1.5-ggml.json")
    assert (llava.origin, llava.import_format, llava.download_url) == (
        "mys/ggml_llava-v1.5-13b",
        "default",
        None,
    )


def test_the_specification_s_remote_example_reads_as_written() -> None:
    azure = example("model-azure-openai-gpt4-turbo.json")
    assert azure.is_remote
    assert azure.effective_import_format is ImportFormat.AZURE_OPENAI
    assert azure.id == "/openai.azure.com/docs-test-001/gpt4-turbo"
    assert azure.init == InitParameters(api_version="2023-05-15")
    assert azure.shown()["parameters"] == {
        "init": {"api-version": "2023-05-15"},
        "runtime": {
            "temperature": 0.7,
            "max_tokens": 2048,
            "presence_penalty": 0.0,
            "top_p": 1.0,
            "stream": True,
        },
    }


def test_stream_is_shown_but_never_a_default_of_a_request() -> None:
    reading = manifest(**runtime(stream="true", seed=3))
    assert reading.runtime.stream is True
    assert reading.runtime.request_defaults() == {"seed": 3}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "line 1, column 1"),
        (b'{"a": 1\n "b": 2}', "line 2, column 2"),
        (b"\xff\xfe{\x00}\x00", "UTF-16"),
        ('{"origin": "a/b"}'.encode("utf-16-be"), "UTF-16"),
        ('{"origin": "a/b"}'.encode("utf-16-le"), "UTF-16"),
        (b'{"origin": "\xe9"}', "not UTF-8 text (at byte 13)"),
        (bytes(range(256)) * 16, "not UTF-8 text (at byte 129)"),
        (b"\x7fELF\x02\x01\x01" + bytes(100), "NUL"),
        (b'{"a":' * 10_000, "nested more than 64 deep"),
        (b"[" * 1_000_000, "nested more than 64 deep"),
    ],
)
def test_what_cannot_be_parsed_is_invalid_and_says_why(data: bytes, expected: str) -> None:
    begin = time.thread_time()
    reading = read_manifest(data)
    assert expected in message(reading)
    assert reading.manifest is None
    assert reading.is_manifest_like
    assert time.thread_time() - begin < 0.5


def test_a_file_over_one_mebibyte_is_not_even_parsed() -> None:
    reading = read_manifest(b'{"origin": "a/b", "x": "' + b"x" * 50_000_000 + b'"}')
    assert "larger than 1 MiB" in message(reading)
    assert not reading.is_manifest_like
    assert read_manifest(b'{"origin": "a/b"}' + b" " * (MAX_MANIFEST_BYTES - 17)).fault is None


@pytest.mark.parametrize("data", [b"[]", b"5", b'"x"', b"null"])
def test_another_json_value_is_no_manifest(data: bytes) -> None:
    reading = read_manifest(data)
    assert "one object" in message(reading)
    assert not reading.is_manifest_like


@pytest.mark.parametrize(
    "fields",
    [
        {"origin": "a/b"},
        {"import_format": "default"},
        {"download_url": "x"},
        init(),
        runtime(),
        {"metadata": {"engine": "api"}},
    ],
)
def test_an_object_with_one_of_our_fields_is_a_manifest(fields: dict[str, Any]) -> None:
    assert read(**fields).is_manifest_like


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"architectures": ["X"]},
        {"name": "p", "version": "1"},
        {"metadata": {"total_size": 5}},
        {"parameters": {}},
    ],
)
def test_a_foreign_object_is_none(fields: dict[str, Any]) -> None:
    assert not read(**fields).is_manifest_like


@given(
    st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_no_bytes_raise(data: bytes) -> None:
    reading = read_manifest(data)
    assert reading.fault is not None or reading.manifest is not None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["a/b", "https://[", "0.7"]),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
FIELDS = st.dictionaries(
    st.sampled_from(["origin", "download_url", "files", "id", "created", "x", "init", "metadata"]), JSON
)


@given(FIELDS, st.dictionaries(st.sampled_from(["ctx_len", "API-KEY", "kv_type", "unknown"]), JSON))
def test_no_value_raises(fields: dict[str, Any], init_fields: dict[str, Any]) -> None:
    reading = read_manifest(json.dumps({**fields, "parameters": {"init": init_fields}}).encode())
    assert reading.fault is not None or reading.manifest is not None
    if reading.manifest is not None:
        json.dumps(reading.manifest.shown())


def test_start_parameters_go_over_the_manifest_s_flat_or_nested() -> None:
    below = manifest(parameters={"init": {"ctx_len": 512, "ngl": 1}, "runtime": {"top_k": 5}})
    flat = apply_start_parameters(below.init, below.runtime, {"ctx_len": "1024", "temperature": "0.5"})
    nested = apply_start_parameters(
        below.init, below.runtime, {"init": {"ctx_len": 1024}, "runtime": {"temperature": 0.5}}
    )
    assert flat == nested
    assert flat == (InitParameters(ctx_len=1024, ngl=1), RuntimeParameters(temperature=0.5, top_k=5))


def test_start_parameters_that_mean_not_set_change_nothing() -> None:
    below = InitParameters(ctx_len=512)
    assert apply_start_parameters(below, RuntimeParameters(), {"ctx_len": "", "runtime": None})[0] == below


@pytest.mark.parametrize(
    ("given_parameters", "param", "expected"),
    [
        ({"ctx_length": 5}, "ctx_length", "ctx_length: unknown, did you mean ctx_len?"),
        ({"init": {"ctx_length": 5}}, "init.ctx_length", "did you mean ctx_len?"),
        ({"init": {"top_k": 5}}, "init.top_k", "did you mean runtime.top_k?"),
        ({"ctx_len": -1}, "ctx_len", "ctx_len: -1 is not possible"),
        ({"runtime": {"top_p": 9}}, "runtime.top_p", "runtime.top_p: 9 is not possible"),
        ({"init": []}, "init", "allowed: an object"),
        ({"API-KEY": ["sk-1"]}, "API-KEY", "API-KEY: *** is not possible"),
    ],
)
def test_a_start_parameter_that_cannot_be_is_named(
    given_parameters: dict[str, Any], param: str, expected: str
) -> None:
    with pytest.raises(ManifestError) as caught:
        apply_start_parameters(DEFAULT.init, DEFAULT.runtime, given_parameters)
    assert caught.value.param == param
    assert expected in str(caught.value)


def test_a_manifest_is_compared_by_value_and_cannot_be_changed() -> None:
    assert manifest(origin="a/b", x=1) == manifest(origin="a/b", x=1)
    assert manifest(origin="a/b", x=1) != manifest(origin="a/b", x=2)
    with pytest.raises(FrozenInstanceError):
        manifest(origin="a/b").origin = "c/d"


@pytest.mark.parametrize("origin", ["https://api.openai.com/v1", "https://x.openai.azure.com/"])
def test_an_api_gives_no_files_whatever_engine_is_named(origin: str) -> None:
    said = manifest(origin=origin, metadata={"engine": "llamacpp"})
    assert (said.is_remote, said.has_source) == (False, False)
    assert not manifest(origin=origin, download_url="m.gguf", metadata={"engine": "llamacpp"}).has_source
