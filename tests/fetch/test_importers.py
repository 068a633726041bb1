"""From a spec to the files of a repo."""

from typing import Any

import pytest

from janagent.children.wire import FetchSpec
from janagent.fetch.faults import FetchError
from janagent.fetch.hub import Hub
from janagent.fetch.importers import make_plan, plan_of
from janagent.fetch.plan import RemoteFile
from janagent.fetch.source import Source
from janagent.folder.defaults import NO_DEFAULTS
from tests.fetch.hub import TestHub

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


NOBODY = Hub("http://127.0.0.1:9", "hf_x")


@pytest.mark.parametrize(
    ("fields", "files"),
    [
        ({"origin": "https://e.example/d/x.gguf?k=1"}, {"x.gguf": "https://e.example/d/x.gguf?k=1"}),
        ({"download_url": "https://e.example/d/x.gguf"}, {"x.gguf": "https://e.example/d/x.gguf"}),
        (
            {"origin": "https://e.example/d/", "download_url": "x.gguf?download=true"},
            {"x.gguf": "https://e.example/d/x.gguf"},
        ),
        (
            {"origin": "https://e.example/d/x.gguf", "files": ("x.gguf", "mmproj.gguf")},
            {"x.gguf": "https://e.example/d/x.gguf", "mmproj.gguf": "https://e.example/d/mmproj.gguf"},
        ),
        (
            {"origin": "https://e.example", "download_url": "x.gguf", "files": ("x.gguf", "d/p.gguf")},
            {"x.gguf": "https://e.example/x.gguf", "d/p.gguf": "https://e.example/d/p.gguf"},
        ),
        (
            {"origin": "owner/repo", "download_url": "https://e.example/x.gguf"},
            {"x.gguf": "https://e.example/x.gguf"},
        ),
        (
            {
                "origin": "https://o.example/",
                "download_url": "https://e.example/x.gguf",
                "files": ("p.gguf",),
            },
            {"x.gguf": "https://e.example/x.gguf", "p.gguf": "https://o.example/p.gguf"},
        ),
    ],
)
async def test_files_at_plain_addresses_come_without_the_hub_and_its_token(
    fields: Any, files: dict[str, str]
) -> None:
    plan = await make_plan(spec(**fields), NOBODY)
    assert plan.files == tuple(RemoteFile(name, url) for name, url in files.items())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"origin": "https://e.example/d/"}, "name its files"),
        ({"origin": "https://e.example/d/", "files": ("*.gguf",)}, "is a pattern"),
        ({"origin": "https://e.example/d/x.gguf", "files": (".janagent/x",)}, "must not be written"),
        ({"files": ("x.gguf",)}, "names no repo"),
    ],
)
async def test_a_plain_address_that_does_not_say_which_file_is_refused(fields: Any, words: str) -> None:
    with pytest.raises(FetchError, match=words) as caught:
        await make_plan(spec(**fields), NOBODY)
    assert caught.value.is_permanent


SPLIT = ["Q8_0/m-Q8_0-00001-of-00002.gguf", "Q8_0/m-Q8_0-00002-of-00002.gguf"]


@pytest.mark.parametrize(
    ("fields", "names_there"),
    [
        ({"origin": "{url}/a/b"}, ["m-Q4_K_M.gguf"]),
        ({"origin": "a/b@v1"}, ["old.gguf"]),
        ({"origin": "{url}/a/b/tree/v1"}, ["old.gguf"]),
        ({"origin": "{url}/a/b/blob/v1/old.gguf"}, ["old.gguf"]),
        (
            {"origin": "{url}/a/b/resolve/main/" + SPLIT[0] + "?download=true"},
            ["m-Q8_0-00001", "m-Q8_0-00002"],
        ),
        ({"origin": "a/b", "download_url": SPLIT[1]}, ["Q8_0/m-Q8_0-00001", "Q8_0/m-Q8_0-00002"]),
        ({"download_url": "{url}/a/b/resolve/main/" + SPLIT[0]}, ["m-Q8_0-00001", "m-Q8_0-00002"]),
        ({"origin": "c/d", "download_url": "{url}/a/b/resolve/v1/old.gguf"}, ["old.gguf"]),
        ({"origin": "a/b", "download_url": "m-Q4_K_M.gguf", "files": ("*.md",)}, ["m-Q4_K_M.gguf", "R.md"]),
        ({"origin": "a/b", "files": ("*.gguf",)}, ["m-Q4_K_M.gguf"]),
        ({"origin": "a/b", "files": ("Q8_0/*",)}, ["Q8_0/m-Q8_0-00001", "Q8_0/m-Q8_0-00002"]),
        ({"origin": "a/b", "import_format": "default"}, ["m-Q8_0-00001", "m-Q8_0-00002"]),
        (
            {"origin": "a/b", "files": ("R.md",), "download_url": "{url}/a/b/resolve/v1/old.gguf"},
            ["old.gguf", "R.md"],
        ),
    ],
)
async def test_every_form_of_a_hub_s_address_means_its_repo_revision_and_file(
    fields: dict[str, Any], names_there: list[str]
) -> None:
    """Local names are those by which the catalog looks: beside the manifest, unless a path was written."""
    async with TestHub() as hub:
        now = {"m-Q4_K_M.gguf": b"GGUF1", **dict.fromkeys(SPLIT, b"GGUF2"), "R.md": b"#"}
        if fields.get("import_format") == "default":
            del now["m-Q4_K_M.gguf"]
        hub.add_repo("a/b", now)
        hub.add_repo("a/b", {"old.gguf": b"GGUF0"}, revision="v1")
        said = {
            key: value.format(url=hub.url) if isinstance(value, str) else value
            for key, value in fields.items()
        }
        plan = await make_plan(spec(**{"import_format": "thebloke", **said}), Hub(hub.url))
    assert [file.name.removesuffix(".gguf").removesuffix("-of-00002") for file in plan.files] == [
        name.removesuffix(".gguf") for name in names_there
    ]
    assert all(file.is_hub and file.url.startswith(hub.url) for file in plan.files)


async def test_what_was_chosen_lies_beside_the_manifest_though_the_repo_has_it_in_a_folder() -> None:
    repo = ["BF16/m-BF16.gguf", "Q4/m-Q4_K_M-00001-of-00001.gguf", "vision/mmproj-f16.gguf"]
    assert names(repo, import_format="thebloke") == ["m-Q4_K_M-00001-of-00001.gguf", "mmproj-f16.gguf"]


JANHQ = {"origin": "janhq/x", "import_format": "janhq"}


@pytest.mark.parametrize(
    ("files", "ctx_len"),
    [
        ({"model.json": b'{"settings": {"ctx_len": 512}}', "model.yml": b"ctx_len: 64"}, 512),
        ({"model.yml": b"ctx_len: 64"}, 64),
        ({"model.yml": b"ctx_len: 100000000000"}, None),
        ({"model.yml": b"ctx_len: 10000000\ntop_p: 0.5"}, None),
        ({"model.json": b"{"}, None),
        ({"model.json": b""}, None),
        ({"model.json": b" " * 200_000}, None),
        ({"sub/model.json": b'{"settings": {"ctx_len": 512}}'}, None),
        ({}, None),
    ],
)
async def test_janhq_chooses_and_takes_the_defaults_of_the_repo(
    files: dict[str, bytes], ctx_len: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    async with TestHub() as hub:
        hub.add_repo("janhq/x", {"m.Q4_K_M.gguf": b"GGUF1", "m.Q8_0.gguf": b"GGUF22", **files})
        plan = await make_plan(spec(**JANHQ), Hub(hub.url))
    assert [file.name for file in plan.files] == ["m.Q4_K_M.gguf"]
    assert plan.defaults.init.ctx_len == ctx_len
    is_told = bool(caplog.records) or any(name.startswith("sub") for name in files) or not files
    assert is_told == (ctx_len is None)


async def test_the_choice_is_made_by_the_manifest_alone_not_by_what_the_repo_proposes() -> None:
    async with TestHub() as hub:
        hub.add_repo(
            "janhq/x", {"m.Q4_K_M.gguf": b"GGUF1", "m.Q2_K.gguf": b"G", "model.yml": b"ctx_len: 9000000"}
        )
        plan = await make_plan(spec(**JANHQ), Hub(hub.url))
    assert [file.name for file in plan.files] == ["m.Q4_K_M.gguf"]


async def test_thebloke_takes_no_defaults_and_a_hub_in_trouble_is_asked_again_later() -> None:
    async with TestHub() as hub:
        hub.add_repo("janhq/x", {"m.gguf": b"GGUF1", "model.yml": b"ctx_len: 64"})
        plan = await make_plan(spec(origin="janhq/x", import_format="thebloke"), Hub(hub.url))
        assert plan.defaults == NO_DEFAULTS
        file = hub.file("janhq/x", "model.yml")
        file.fail_status, file.fail_on_hub = 503, True
        with pytest.raises(FetchError) as caught:
            await make_plan(spec(**JANHQ), Hub(hub.url))
    assert not caught.value.is_permanent
