"""From a spec to the files of a repo."""

from typing import Any

import pytest

from janagent.children.wire import FetchSpec
from janagent.fetch.faults import FetchError
from janagent.fetch.hub import Hub
from janagent.fetch.importers import make_plan, plan_of
from janagent.fetch.plan import RemoteFile
from janagent.fetch.source import Source

LLAVA = [
    "README.md",
    ".gitattributes",
    "config.json",
    "ggml-model-q4_k.gguf",
    "ggml-model-f16.gguf",
    "mmproj-model-f16.gguf",
]


def spec(**fields: Any) -> FetchSpec:
    return FetchSpec(
        key="m.json", model_id="m", folder="/f", record_path="/r", ram_bytes=64 * 10**9, **fields
    )


def names(names_of_repo: list[str], **fields: Any) -> list[str]:
    files = [RemoteFile(name, "", 10**9) for name in names_of_repo]
    return [file.name for file in plan_of(spec(**fields), Source(repo="a/b"), files).files]


def test_default_takes_the_whole_repo_but_no_json() -> None:
    assert names(LLAVA) == [name for name in LLAVA if name != "config.json"]


def test_files_narrow_the_repo_and_may_name_json() -> None:
    assert names(LLAVA, files=("*q4_k.gguf", "config.json")) == ["config.json", "ggml-model-q4_k.gguf"]


def test_a_named_file_brings_the_projector_along() -> None:
    wanted = ["ggml-model-f16.gguf", "mmproj-model-f16.gguf"]
    assert names(LLAVA, download_url="ggml-model-f16.gguf?download=true") == wanted


def test_a_named_part_brings_all_parts() -> None:
    parts = [f"m.Q4_K_M-{part:05d}-of-00002.gguf" for part in (1, 2)]
    assert names([*parts, "m.Q2_K.gguf"], download_url=parts[0]) == parts


def test_thebloke_takes_one_quantization() -> None:
    assert names(["m.Q2_K.gguf", "m.Q4_K_M.gguf", "x.json"], import_format="thebloke") == ["m.Q4_K_M.gguf"]


@pytest.mark.parametrize(
    ("repo", "fields", "code"),
    [
        (["model.safetensors"], {}, "no_gguf"),
        (LLAVA, {"download_url": "ggml-model-q5_k.gguf"}, "file_not_found"),
    ],
)
def test_what_cannot_be_had_is_said_before_anything_is_fetched(repo: Any, fields: Any, code: str) -> None:
    with pytest.raises(FetchError) as caught:
        names(repo, **fields)
    assert (caught.value.code, caught.value.is_permanent) == (code, True)


def test_a_name_that_is_not_there_brings_the_nearest_ones() -> None:
    with pytest.raises(FetchError, match=r"nearest names are ggml-model-q4_k\.gguf"):
        names(LLAVA, download_url="ggml-model-q5_k.gguf")


async def test_a_file_elsewhere_comes_without_the_hub_and_its_token() -> None:
    plan = await make_plan(spec(origin="https://example.com/d/x.gguf?k=1"), Hub("http://127.0.0.1:9", "hf_x"))
    assert plan.files == (RemoteFile("x.gguf", "https://example.com/d/x.gguf?k=1"),)
