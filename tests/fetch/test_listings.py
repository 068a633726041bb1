"""What is taken of well-known repos, whose names and sizes are data in `listings`."""

import json
from pathlib import Path
from typing import Any

import pytest

from janagent.children.wire import FetchSpec
from janagent.fetch.faults import FetchError
from janagent.fetch.importers import plan_of
from janagent.fetch.plan import RemoteFile
from janagent.fetch.source import Source
from janagent.folder.estimate import Budget
from janagent.folder.gguf import Header, Kind
from janagent.folder.modelsets import Candidate
from janagent.folder.pairing import Claim, Offer, choose
from janagent.folder.parameters import InitParameters
from tests.folder.manifests import manifest

GB = 10**9
FOLDER = Path(__file__).parent / "listings"
LISTINGS = {said["repo"]: said for said in (json.loads(path.read_text()) for path in FOLDER.glob("*.json"))}

ZEPHYR = "TheBloke/zephyr-7B-beta-GGUF"
MISTRAL = "TheBloke/Mistral-7B-Instruct-v0.2-GGUF"
MIXTRAL = "TheBloke/Mixtral-8x7B-Instruct-v0.1-GGUF"
LLAMA = "bartowski/Meta-Llama-3.1-8B-Instruct-GGUF"
QWEN = "Qwen/Qwen2.5-7B-Instruct-GGUF"
FLASH = "unsloth/Qwen3.8-Flash-Next-GGUF"
LLAVA = "mys/ggml_llava-v1.5-13b"
SMOLVLM = "ggml-org/SmolVLM2-2.2B-Instruct-GGUF"


def taken(repo: str, *, ram_gb: float = 64, gpu_gb: float = 0, **said: Any) -> list[str]:
    """The local names of what a manifest with this origin brings."""
    listing = LISTINGS[repo]
    wanted = manifest(origin=repo, **said)
    spec = FetchSpec(
        key="m.json",
        model_id="m",
        folder="/f",
        record_path="/r",
        origin=wanted.origin,
        import_format=wanted.effective_import_format.value,
        download_url=wanted.download_url,
        files=wanted.files,
        ram_bytes=int(ram_gb * GB),
        gpu_bytes=int(gpu_gb * GB),
        ctx_len=wanted.init.ctx_len,
        n_parallel=wanted.init.n_parallel,
    )
    files = [RemoteFile(name, f"hub/{name}", size) for name, size in listing["files"].items()]
    figures = listing["dimensions"]
    header = Header(version=3, architecture="llama", required_bytes=1, **figures) if figures else None
    return [file.name for file in plan_of(spec, Source(repo=repo), files, header=header).files]


def parts(stem: str, count: int) -> list[str]:
    return [f"{stem}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1)]


FLASH_PROJECTOR = ["mmproj-F16.gguf"]
SMOLVLM_PROJECTOR = ["mmproj-SmolVLM2-2.2B-Instruct-f16.gguf"]
LLAVA_PROJECTOR = ["mmproj-model-f16.gguf"]


def test_every_listing_says_where_it_is_from() -> None:
    assert set(LISTINGS) == {ZEPHYR, MISTRAL, MIXTRAL, LLAMA, QWEN, FLASH, LLAVA, SMOLVLM}
    assert all(len(said["source"]) > 40 for said in LISTINGS.values())


# import_format


@pytest.mark.parametrize(
    ("repo", "import_format", "names"),
    [
        (ZEPHYR, None, ["zephyr-7b-beta.Q4_K_M.gguf"]),
        (ZEPHYR, "thebloke", ["zephyr-7b-beta.Q4_K_M.gguf"]),
        (ZEPHYR, "janhq", ["zephyr-7b-beta.Q4_K_M.gguf"]),
        (LLAMA, None, ["Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf"]),
        (QWEN, None, parts("qwen2.5-7b-instruct-q4_k_m", 2)),
        (SMOLVLM, None, ["SmolVLM2-2.2B-Instruct-Q4_K_M.gguf", *SMOLVLM_PROJECTOR]),
        (LLAVA, "thebloke", ["ggml-model-q4_k.gguf", *LLAVA_PROJECTOR]),
        (
            LLAVA,
            None,
            [
                ".gitattributes",
                "README.md",
                "ggml-model-f16.gguf",
                "ggml-model-q4_k.gguf",
                "ggml-model-q5_k.gguf",
                *LLAVA_PROJECTOR,
            ],
        ),
    ],
)
def test_the_import_format_decides_whether_all_or_one_is_taken(
    repo: str, import_format: str | None, names: list[str]
) -> None:
    assert taken(repo, **({"import_format": import_format} if import_format else {})) == names


@pytest.mark.parametrize("repo", sorted(set(LISTINGS) - {LLAVA, FLASH}))
def test_default_takes_all_but_json_of_any_repo(repo: str) -> None:
    everything = [name for name in LISTINGS[repo]["files"] if not name.endswith(".json")]
    assert taken(repo, import_format="default") == everything


def test_default_chooses_where_all_models_lie_in_folders() -> None:
    assert taken(FLASH, import_format="default") == taken(FLASH, import_format="thebloke")


# download_url


@pytest.mark.parametrize(
    ("repo", "download_url", "names"),
    [
        (ZEPHYR, "zephyr-7b-beta.Q2_K.gguf", ["zephyr-7b-beta.Q2_K.gguf"]),
        (ZEPHYR, "zephyr-7b-beta.Q8_0.gguf?download=true", ["zephyr-7b-beta.Q8_0.gguf"]),
        (QWEN, "qwen2.5-7b-instruct-q5_k_m-00002-of-00002.gguf", parts("qwen2.5-7b-instruct-q5_k_m", 2)),
        (QWEN, "qwen2.5-7b-instruct-fp16-00001-of-00004.gguf", parts("qwen2.5-7b-instruct-fp16", 4)),
        (
            FLASH,
            "UD-IQ1_S/Qwen3.8-Flash-Next-UD-IQ1_S-00001-of-00003.gguf",
            [*parts("UD-IQ1_S/Qwen3.8-Flash-Next-UD-IQ1_S", 3), *FLASH_PROJECTOR],
        ),
        (LLAVA, "ggml-model-q5_k.gguf", ["ggml-model-q5_k.gguf", *LLAVA_PROJECTOR]),
    ],
)
def test_download_url_names_the_file_whatever_the_machine(
    repo: str, download_url: str, names: list[str]
) -> None:
    for ram_gb in (1, 1000):
        assert taken(repo, ram_gb=ram_gb, gpu_gb=ram_gb, download_url=download_url) == names


@pytest.mark.parametrize(
    ("repo", "download_url", "near"),
    [
        (ZEPHYR, "zephyr-7b-beta.Q4_K.gguf", "zephyr-7b-beta.Q4_K_"),
        (MIXTRAL, "mixtral-8x7b-instruct-v0.1.Q4_K_S.gguf", "mixtral-8x7b-instruct-v0.1.Q4_K_M"),
    ],
)
def test_a_name_that_a_repo_does_not_have_brings_near_ones(repo: str, download_url: str, near: str) -> None:
    with pytest.raises(FetchError, match=near):
        taken(repo, download_url=download_url)


# The choice for the machine


@pytest.mark.parametrize(
    ("repo", "ram_gb", "gpu_gb", "name"),
    [
        (ZEPHYR, 1, 0, "zephyr-7b-beta.Q2_K.gguf"),
        (ZEPHYR, 3.8, 0, "zephyr-7b-beta.Q3_K_S.gguf"),
        (ZEPHYR, 4.5, 0, "zephyr-7b-beta.Q3_K_L.gguf"),
        (ZEPHYR, 6.4, 0, "zephyr-7b-beta.Q4_K_M.gguf"),  # 8 GB of RAM
        (ZEPHYR, 100, 0, "zephyr-7b-beta.Q4_K_M.gguf"),
        (ZEPHYR, 25, 7.2, "zephyr-7b-beta.Q4_K_M.gguf"),  # a card of 8 GB
        (ZEPHYR, 25, 9, "zephyr-7b-beta.Q6_K.gguf"),
        (ZEPHYR, 25, 14.4, "zephyr-7b-beta.Q8_0.gguf"),  # of 16 GB
        (MISTRAL, 12.8, 0, "mistral-7b-instruct-v0.2.Q4_K_M.gguf"),
        (MIXTRAL, 12.8, 0, "mixtral-8x7b-instruct-v0.1.Q2_K.gguf"),
        (MIXTRAL, 25.6, 0, "mixtral-8x7b-instruct-v0.1.Q3_K_M.gguf"),  # 32 GB
        (MIXTRAL, 51.2, 0, "mixtral-8x7b-instruct-v0.1.Q4_K_M.gguf"),  # 64 GB
        (MIXTRAL, 12.8, 21.6, "mixtral-8x7b-instruct-v0.1.Q4_K_M.gguf"),  # 16 GB and a card of 24 GB
        (MIXTRAL, 51.2, 72, "mixtral-8x7b-instruct-v0.1.Q8_0.gguf"),
        (LLAMA, 6.4, 0, "Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf"),
        (LLAMA, 5.5, 0, "Meta-Llama-3.1-8B-Instruct-Q4_K_S.gguf"),
        (LLAMA, 5.2, 0, "Meta-Llama-3.1-8B-Instruct-IQ4_XS.gguf"),
        (LLAMA, 4.9, 0, "Meta-Llama-3.1-8B-Instruct-Q3_K_M.gguf"),
        (LLAMA, 25, 10, "Meta-Llama-3.1-8B-Instruct-Q6_K.gguf"),
        (LLAMA, 25, 21.6, "Meta-Llama-3.1-8B-Instruct-Q8_0.gguf"),
        (QWEN, 25, 0, "qwen2.5-7b-instruct-q4_k_m-00001-of-00002.gguf"),
        (QWEN, 4.9, 0, "qwen2.5-7b-instruct-q3_k_m.gguf"),
        (QWEN, 25, 14.4, "qwen2.5-7b-instruct-q6_k-00001-of-00002.gguf"),
        (FLASH, 25, 0, "Qwen3.8-Flash-Next-UD-IQ1_S-00001-of-00003.gguf"),
        (FLASH, 102, 0, "Qwen3.8-Flash-Next-UD-IQ4_XS-00001-of-00003.gguf"),
        (FLASH, 205, 0, "Qwen3.8-Flash-Next-UD-Q4_K_XL-00001-of-00004.gguf"),
        (FLASH, 205, 288, "Qwen3.8-Flash-Next-Q8_0-00001-of-00006.gguf"),
        (LLAVA, 12.8, 0, "ggml-model-q4_k.gguf"),
        (SMOLVLM, 3.2, 0, "SmolVLM2-2.2B-Instruct-Q4_K_M.gguf"),
        (SMOLVLM, 3.2, 7.2, "SmolVLM2-2.2B-Instruct-Q8_0.gguf"),
    ],
)
def test_what_suits_the_machine_is_taken(repo: str, ram_gb: float, gpu_gb: float, name: str) -> None:
    found = taken(repo, ram_gb=ram_gb, gpu_gb=gpu_gb, import_format="thebloke")
    assert found[0] == name


def test_a_split_quantization_comes_whole_and_with_the_projector() -> None:
    assert taken(FLASH, ram_gb=25) == [*parts("Qwen3.8-Flash-Next-UD-IQ1_S", 3), *FLASH_PROJECTOR]


def test_a_long_context_costs_bits() -> None:
    said = {"parameters": {"init": {"ctx_len": 32768, "n_parallel": 4}}}
    assert taken(ZEPHYR, ram_gb=25) == ["zephyr-7b-beta.Q4_K_M.gguf"]
    assert taken(ZEPHYR, ram_gb=21.5, **said) == ["zephyr-7b-beta.Q3_K_L.gguf"]


def test_the_specification_s_own_settings_fit_a_machine_of_8_gb() -> None:
    said = {"parameters": {"init": {"ctx_len": 2048, "ngl": 100, "n_parallel": 4}}}
    assert taken(ZEPHYR, ram_gb=6.4, **said) == ["zephyr-7b-beta.Q4_K_M.gguf"]


# The catalog, where all of a repo lies in one folder


def header_in(listing: dict[str, Any], name: str) -> Header:
    figures = listing["dimensions"]
    if "mmproj" in name:
        return Header(3, "clip", 1, is_projector=True, projector_embedding_length=figures["embedding_length"])
    return Header(3, "llama", 1, **figures)


def understood(repo: str, *, budget: Budget, init: InitParameters) -> list[str]:
    """What the catalog takes a manifest to mean that has the whole repo beside it."""
    listing = LISTINGS[repo]
    candidates = [
        Candidate(name, Kind.PROJECTOR if "mmproj" in name else Kind.MODEL, size, header_in(listing, name))
        for name, size in listing["files"].items()
        if name.endswith(".gguf")
    ]
    found = choose(Claim(("unlike",), init=init), Offer(candidates), budget=lambda: budget)
    assert found.model is not None
    return [found.model.names[0], *([found.projector] if found.projector else [])]


@pytest.mark.parametrize("repo", [ZEPHYR, MISTRAL, MIXTRAL, LLAMA, LLAVA, SMOLVLM])
@pytest.mark.parametrize("ram_gb", [1, 2.2, 3.5, 4.2, 4.8, 5.3, 6.4, 9, 14, 22, 28, 60])
@pytest.mark.parametrize("gpu_gb", [0, 7.2, 14.4, 80])
@pytest.mark.parametrize("init", [{}, {"ctx_len": 8192, "n_parallel": 2}])
def test_a_fetch_takes_what_the_catalog_would_choose(
    repo: str, ram_gb: float, gpu_gb: float, init: dict[str, int]
) -> None:
    fetched = taken(repo, ram_gb=ram_gb, gpu_gb=gpu_gb, import_format="thebloke", parameters={"init": init})
    budget = Budget(int(ram_gb * GB), int(gpu_gb * GB))
    assert fetched == understood(repo, budget=budget, init=InitParameters(**init))
