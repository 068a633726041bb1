from typing import Any

import pytest

from janagent.folder.manifest import read_manifest
from janagent.remote.address import Address, address_of


def address(origin: str, import_format: str = "openai", **init: str) -> Address:
    import json

    text = {"origin": origin, "import_format": import_format, "parameters": {"init": init}}
    manifest = read_manifest(json.dumps(text).encode()).manifest
    assert manifest is not None
    return address_of(manifest, manifest.init, model_id="stem")


@pytest.mark.parametrize(
    ("origin", "url"),
    [
        ("https://api.openai.com", "https://api.openai.com/v1/chat/completions"),
        ("api.openai.com", "https://api.openai.com/v1/chat/completions"),
        ("https://api.openai.com/v1/", "https://api.openai.com/v1/chat/completions"),
        ("http://gpu.local:8000", "http://gpu.local:8000/v1/chat/completions"),
        ("localhost:1234", "http://localhost:1234/v1/chat/completions"),
        ("192.168.1.5:8000/v1", "http://192.168.1.5:8000/v1/chat/completions"),
        ("http://[::1]:8000", "http://[::1]:8000/v1/chat/completions"),
        ("https://host.example/serve/llm", "https://host.example/serve/llm/v1/chat/completions"),
        ("https://host.example/serve/llm/v1", "https://host.example/serve/llm/v1/chat/completions"),
        ("https://host.example/v1beta/openai/", "https://host.example/v1beta/openai/chat/completions"),
        ("https://host.example/chat/completions", "https://host.example/chat/completions"),
        ("https://host.example/v1?team=a", "https://host.example/v1/chat/completions?team=a"),
        ("https://host.example/über/v1", "https://host.example/%C3%BCber/v1/chat/completions"),
        ("https://host.example/a%2Fb/v1", "https://host.example/a%2Fb/v1/chat/completions"),
        ("https://me:pw@host.example", "https://host.example/v1/chat/completions"),
    ],
)
def test_a_base_url_of_any_shape_leads_to_the_endpoint(origin: str, url: str) -> None:
    assert str(address(origin).url("chat/completions")) == url


def test_the_full_url_of_an_endpoint_leads_to_its_neighbours() -> None:
    assert str(address("https://host.example/v1/rerank").url("rerank")) == "https://host.example/v1/rerank"
    assert str(address("https://host.example/v1").url("rerank")) == "https://host.example/v1/rerank"


AZURE = "https://docs-test-001.openai.azure.com"
DEPLOYMENTS = f"{AZURE}/openai/deployments"
DATED = "embeddings?api-version=2024-10-21"


@pytest.mark.parametrize(
    ("origin", "init", "url"),
    [
        (f"{AZURE}/", {"DEPLOYMENT-NAME": "gpt4", "api-version": "2023-05-15"},
         f"{DEPLOYMENTS}/gpt4/embeddings?api-version=2023-05-15"),
        (AZURE, {"DEPLOYMENT-NAME": "a b/c"},
         f"{DEPLOYMENTS}/a%20b%2Fc/{DATED}"),
        (AZURE, {"api-version": "2023-05-15"}, f"{DEPLOYMENTS}/stem/embeddings?api-version=2023-05-15"),
        (f"{AZURE}/openai", {"MODEL-NAME": "m"}, f"{DEPLOYMENTS}/m/{DATED}"),
        (f"{DEPLOYMENTS}/d1", {}, f"{DEPLOYMENTS}/d1/{DATED}"),
        (f"{DEPLOYMENTS}/d1/chat/completions?api-version=2024-06-01", {},
         f"{DEPLOYMENTS}/d1/embeddings?api-version=2024-06-01"),
        (f"{AZURE}/openai/v1", {"DEPLOYMENT-NAME": "d"}, f"{AZURE}/openai/v1/embeddings"),
        ("https://gate.example/team", {"DEPLOYMENT-NAME": "d", "api-version": "1"},
         "https://gate.example/team/openai/deployments/d/embeddings?api-version=1"),
    ],
)  # fmt: skip
def test_azure_s_addresses(origin: str, init: dict[str, str], url: str) -> None:
    assert str(address(origin, "azure_openai", **init).url("embeddings")) == url


@pytest.mark.parametrize(
    ("init", "model"),
    [
        ({}, "stem"),
        ({"DEPLOYMENT-NAME": "d"}, "d"),
        ({"MODEL-NAME": "m"}, "m"),
        ({"MODEL-NAME": "m", "DEPLOYMENT-NAME": "d"}, "m"),
    ],
)
def test_the_name_over_there(init: dict[str, str], model: str) -> None:
    assert address("http://localhost:1", **init).model == model
    assert address(AZURE, "azure_openai", **init).model == model


def test_who_is_shown_which_header() -> None:
    assert address("http://localhost:1").headers("k") == {"Authorization": "Bearer k"}
    assert address("http://localhost:1").headers("") == {}
    assert address(AZURE, "azure_openai").headers("k") == {"api-key": "k"}
    assert address("https://me:p%40w@host.example").headers("") == {"Authorization": "Basic bWU6cEB3"}
    assert address("https://me:pw@host.example").headers("k") == {"Authorization": "Bearer k"}


@pytest.mark.parametrize(
    ("origin", "import_format", "needs"),
    [
        ("https://api.openai.com", "openai", True),
        (AZURE, "azure_openai", True),
        ("http://gpu.local:8000", "openai", False),
    ],
)
def test_where_nobody_is_let_in_without_a_key(origin: str, import_format: str, needs: Any) -> None:
    assert address(origin, import_format).needs_key is needs


def test_nothing_secret_is_in_what_is_printed() -> None:
    found = address("https://me:pa55@host.example/v1?key=s3cret")
    assert "pa55" not in repr(found)
    assert "s3cret" not in repr(found)
    assert found.host == "host.example"


def test_what_an_upstream_is_told_is_secret_in_each_of_its_forms() -> None:
    told = address("https://me:pass%2Fword@host/v1?sig=abc&api-version=1")
    assert told.secrets("") == ["bWU6cGFzcy93b3Jk", "me:pass/word", "pass/word", "abc"]
    assert told.secrets("sk-1")[0] == "sk-1"
    assert address(AZURE, "azure_openai").secrets("k-1")[0] == "k-1"
