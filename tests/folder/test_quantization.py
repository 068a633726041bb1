"""Tags in names, and which quantization suits a machine."""

import re
from dataclasses import dataclass
from typing import Any

import pytest

from janagent.folder.estimate import Budget
from janagent.folder.gguf import Header
from janagent.folder.parameters import InitParameters
from janagent.folder.quantization import Terms, best_for, family_of, tag_of, tags_match

GB = 10**9
PLENTY = Budget(1 << 50)
MISTRAL_7B = Header(
    version=3,
    architecture="llama",
    required_bytes=1,
    context_length=32768,
    block_count=32,
    embedding_length=4096,
    head_count=32,
    head_count_kv=8,
    vocab_size=32000,
)
"""Its cache takes 131,072 bytes a token."""


@dataclass(frozen=True)
class Offered:
    tag: str | None
    size_bytes: int


ZEPHYR = [  # TheBloke/zephyr-7B-beta-GGUF, GB
    Offered(tag, int(size * GB))
    for tag, size in {
        "Q2_K": 3.08,
        "Q3_K_S": 3.16,
        "Q3_K_M": 3.52,
        "Q4_0": 4.11,
        "Q4_K_S": 4.14,
        "Q4_K_M": 4.37,
        "Q5_K_M": 5.13,
        "Q6_K": 5.94,
        "Q8_0": 7.70,
    }.items()
]


def best(ram_gb: float, gpu_gb: float = 0, header: Header | None = MISTRAL_7B, **init: Any) -> str | None:
    budget = Budget(int(ram_gb * GB), int(gpu_gb * GB))
    return best_for(ZEPHYR, Terms(budget, InitParameters(**init), header))[0].tag


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("zephyr-7b-beta.Q2_K", "Q2_K"),
        ("llama-70b-finetune-q5", "Q5"),
        ("x-IQ3_XXS", "IQ3_XXS"),
        ("model-f16", "F16"),
        ("model.fp16", "F16"),
        ("m-bf16", "BF16"),
        ("UD-Q4_K_XL", "Q4_K_XL"),
        ("gpt-oss-mxfp4", "MXFP4"),
        ("q4_k_m_v2", "Q4_K_M"),
        ("seq2seq", None),
        ("llama2-7b", None),
    ],
)
def test_tags(name: str, tag: str | None) -> None:
    assert tag_of(name) == tag


@pytest.mark.parametrize(
    ("one", "other", "are_same"),
    [
        ("m-Q4_K_M", "M.q8_0", True),
        ("m-UD-Q4_K_XL", "m-BF16", True),
        ("m.i1-IQ3_M", "m.Q2_K", True),
        ("m-7b-Q4_0", "m-13b-Q4_0", False),
        ("mtp-m-Q4_K_M", "m-Q4_K_M", False),
        ("m-Q4_0_8_8", "m-Q4_0", False),  # for one kind of processor; llama.cpp reads it no more
    ],
)
def test_quantizations_of_one_model_have_names_that_differ_in_the_tag_alone(
    one: str, other: str, are_same: bool
) -> None:
    assert (family_of(one) == family_of(other)) is are_same


def test_a_short_tag_matches_its_variants_only() -> None:
    assert tags_match("Q2", "Q2_K")
    assert tags_match("Q4_K_M", "Q4_K_M")
    assert not tags_match("Q2", "IQ2_XS")
    assert not tags_match("Q4_K_M", "Q4_K_S")
    assert not tags_match("Q2", None)


@pytest.mark.parametrize(
    ("ram_gb", "gpu_gb", "tag"),
    [
        (64, 0, "Q4_K_M"),
        (64, 12, "Q8_0"),  # 7.70 and 2.15 for four conversations of 4096 tokens, and buffers
        (64, 9, "Q6_K"),
        (64, 4, "Q4_K_M"),
        (5.1, 0, "Q4_K_M"),  # with one conversation of 2048 tokens: the manifest left both open
        (4.75, 0, "Q4_K_S"),
        (4.2, 0, "Q3_K_M"),
        (3.8, 0, "Q3_K_S"),
        (1, 0, "Q2_K"),
    ],
)
def test_the_choice_depends_on_the_machine(ram_gb: float, gpu_gb: float, tag: str) -> None:
    assert best(ram_gb, gpu_gb) == tag


def test_the_manifest_s_context_and_conversations_are_part_of_what_has_to_fit() -> None:
    assert best(9, ctx_len=4096, n_parallel=4) == "Q4_K_M"
    assert best(8.8, ctx_len=8192, n_parallel=4) == "Q4_K_S"
    assert best(8.8, ctx_len=8192, n_parallel=4, kv_type="q8_0") == "Q4_K_M"
    assert best(9, ctx_len=32768, n_parallel=4) == "Q2_K"
    assert best(64, 12, ctx_len=16384, n_parallel=2) == "Q6_K"


def test_a_manifest_that_keeps_layers_off_the_gpu_gets_no_larger_one_for_it() -> None:
    assert best(64, 24, ngl=0) == "Q4_K_M"
    assert best(64, 24, ngl=100) == "Q8_0"


def test_a_projector_takes_room_too() -> None:
    """Its weights, and the pictures that are remembered."""
    budget = Budget(int(5.1 * GB))
    assert best_for(ZEPHYR, Terms(budget, header=MISTRAL_7B))[0].tag == "Q4_K_M"
    assert best_for(ZEPHYR, Terms(budget, header=MISTRAL_7B, projector_bytes=GB))[0].tag == "Q3_K_S"


def test_without_a_header_the_size_tells_enough() -> None:
    assert best(64, header=None) == "Q4_K_M"
    assert best(64, 14, header=None) == "Q8_0"
    assert best(4.3, header=None) == "Q3_K_M"
    assert best(0.1, header=None) == "Q2_K"


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (("Q8_0", "Q4_K_S", "Q4_K_M"), "Q4_K_M"),
        (("Q8_0", "Q5_K_M", "Q2_K"), "Q5_K_M"),
        (("Q5_0", "Q4_0", "Q5_K_S"), "Q4_0"),
        (("F16", "Q8_0", "Q2_K"), "Q8_0"),
        (("Q2_K", "Q3_K_M"), "Q3_K_M"),
        ((None, "Q2_K"), None),
        (("IQ4_XS", "Q4_K_XL", "Q6_K"), "Q4_K_XL"),
        (("IQ4_XS", "Q6_K"), "IQ4_XS"),
    ],
)
def test_four_bits_come_first_then_more_then_fewer(
    tags: tuple[str | None, ...], expected: str | None
) -> None:
    choices = [Offered(tag, GB) for tag in tags]
    assert best_for(choices, Terms(PLENTY))[0].tag == expected


@pytest.mark.parametrize(
    ("ram_gb", "gpu_gb", "words"),
    [
        (64, 12, r"all of it fits the GPU \(10\.\d of 12\.0 GB\)"),
        (64, 0, r"the best balance; it needs \d\.\d GB with 4 x 4096 tokens, and models may use 64\.0 GB"),
        (4.2, 0, r"Q4_K_M needs 4\.\d GB with 1 x 2048 tokens, and models may use 4\.2 GB"),
        (1, 0, r"the smallest, though it may not fit the 1\.0 GB"),
    ],
)
def test_the_reason_is_said(ram_gb: float, gpu_gb: float, words: str) -> None:
    terms = Terms(Budget(int(ram_gb * GB), int(gpu_gb * GB)), header=MISTRAL_7B)
    _, reason = best_for(ZEPHYR, terms)
    assert re.fullmatch(f"{words}.*", reason)
