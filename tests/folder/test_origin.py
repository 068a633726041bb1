"""`janagent.folder.origin`, seen through manifests: what an origin gives away."""

from typing import Any

import pytest

from janagent.folder.derived import source_of
from tests.folder.manifests import manifest, message, read


@pytest.mark.parametrize(
    ("fields", "import_format", "is_remote"),
    [
        ({}, "default", False),
        ({"origin": "mys/ggml_llava"}, "default", False),
        ({"origin": "TheBloke/x-GGUF"}, "thebloke", False),
        ({"origin": "https://huggingface.co/TheBloke/x-GGUF/tree/main"}, "thebloke", False),
        ({"origin": "bartowski/Meta-Llama-3.1-8B-Instruct-GGUF"}, "thebloke", False),
        ({"origin": "Qwen/Qwen2.5-7B-Instruct-gguf@main"}, "thebloke", False),
        ({"origin": "https://huggingface.co/unsloth/x-GGUF/resolve/main/x.gguf"}, "thebloke", False),
        ({"origin": "hf.co/unsloth/x-GGUF@v1"}, "thebloke", False),
        ({"origin": "https://h.example/unsloth/x-GGUF"}, "default", False),
        ({"origin": "a/b-GGUF-imatrix"}, "default", False),
        ({"origin": "a-GGUF/b"}, "default", False),
        ({"origin": "a/b-GGUF", "import_format": "default"}, "default", False),
        ({"origin": "janhq/x"}, "janhq", False),
        ({"origin": "janhq/x-GGUF"}, "janhq", False),
        ({"origin": "TheBloke/x", "import_format": "default"}, "default", False),
        ({"origin": "https://h.example/x.gguf"}, "default", False),
        ({"origin": "https://api.openai.com/v1"}, "openai", True),
        ({"origin": "api.openai.com"}, "openai", True),
        ({"origin": "https://docs-test-001.openai.azure.com/"}, "azure_openai", True),
        ({"origin": "https://vllm.example:8000/v1", "import_format": "openai"}, "openai", True),
        ({"origin": "http://localhost:8000/v1", "metadata": {"engine": "api"}}, "openai", True),
        ({"origin": "https://x.openai.azure.com", "metadata": {"engine": "api"}}, "azure_openai", True),
        (
            {"origin": "https://h.example", "import_format": "default", "metadata": {"engine": "api"}},
            "openai",
            True,
        ),
        ({"origin": "https://api.openai.com.evil.example/v1"}, "default", False),
        ({"origin": "a/b", "metadata": {"engine": "llamacpp"}}, "default", False),
    ],
)
def test_the_import_format_is_recognised_from_the_origin(
    fields: dict[str, Any], import_format: str, is_remote: bool
) -> None:
    found = manifest(**fields)
    assert (found.effective_import_format, found.is_remote) == (import_format, is_remote)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"import_format": "openai"}, "origin: not set; a remote model needs"),
        ({"metadata": {"engine": "api"}, "origin": "a/b"}, 'origin: "a/b" is no API; a remote model needs'),
        (
            {"import_format": "openai", "origin": "https://h.example", "metadata": {"engine": "llamacpp"}},
            'metadata.engine: "llamacpp" is not possible; allowed: api',
        ),
        (
            {"import_format": "thebloke", "origin": "https://h.example", "metadata": {"engine": "api"}},
            'metadata.engine: "api" is not possible; allowed: llamacpp',
        ),
    ],
)
def test_values_that_contradict_each_other_are_refused(fields: dict[str, Any], expected: str) -> None:
    assert expected in message(read(**fields))


@pytest.mark.parametrize(
    ("download", "name"),
    [
        ("x.Q2_K.gguf", "x.Q2_K.gguf"),
        ("x.gguf?download=true", "x.gguf"),
        ("sub/x.gguf", "sub/x.gguf"),
        ("https://huggingface.co/a/b/resolve/main/x.gguf?download=true", "x.gguf"),
        ("https://huggingface.co/a/b/resolve/main/sub/x%20y.gguf", "sub/x y.gguf"),
        ("https://h.example/deep/down/x.gguf?sig=1", "x.gguf"),
    ],
)
def test_the_file_that_a_download_names(download: str, name: str) -> None:
    assert manifest(download_url=download).download_name == name


@pytest.mark.parametrize(
    ("origin", "owner", "host"),
    [
        ("TheBloke/x", "TheBloke", None),
        ("TheBloke/x@refs/pr/1", "TheBloke", None),
        ("https://huggingface.co/mys/x", "mys", "huggingface.co"),
        ("hf.co/mys/x", "mys", "hf.co"),
        ("https://A.openai.azure.com:443/", "a.openai.azure.com", "a.openai.azure.com"),
    ],
)
def test_whose_an_origin_is(origin: str, owner: str, host: str | None) -> None:
    found = manifest(origin=origin)
    assert (found.origin_owner, found.origin_host) == (owner, host)


@pytest.mark.parametrize(
    ("fields", "has_source"),
    [
        ({"origin": "a/b"}, True),
        ({"origin": "a/b@v1.0"}, True),
        ({"origin": "https://h.example/x.gguf"}, True),
        ({"origin": "https://h.example/"}, False),
        ({"origin": "https://h.example/", "download_url": "x.gguf"}, True),
        ({"origin": "https://h.example/", "files": ["x.gguf"]}, True),
        ({"download_url": "https://h.example/x.gguf"}, True),
        ({"download_url": "x.gguf"}, False),
        ({"origin": "https://api.openai.com/v1", "download_url": "x.gguf"}, False),
    ],
)
def test_where_files_can_be_had(fields: dict[str, Any], has_source: bool) -> None:
    assert manifest(**fields).has_source is has_source


def test_a_revision_is_part_of_the_origin_and_shown() -> None:
    assert manifest(origin="a/b@refs/pr/1").origin == "a/b@refs/pr/1"
    assert source_of(manifest(origin="a/b@v1")) == "a/b@v1"
    assert source_of(manifest(origin="https://user:secret@h.example/x?sig=1")) == "h.example/x"
    assert "allowed: owner/repo, owner/repo@revision" in message(read(origin="a/b@"))
