"""How much memory a model takes."""

from dataclasses import replace
from typing import Any

import pytest

from janagent.engine.encoder import KEPT_BYTES
from janagent.folder.estimate import (
    MEDIA_BYTES,
    Budget,
    common_header,
    fitted,
    kv_bytes_per_token,
    media_bytes,
)
from janagent.folder.gguf import Header
from janagent.folder.parameters import InitParameters

GB = 10**9
LLAMA_8B = Header(
    version=3,
    architecture="llama",
    required_bytes=1,
    context_length=131072,
    block_count=32,
    embedding_length=4096,
    head_count=32,
    head_count_kv=8,
    key_length=128,
    value_length=128,
    vocab_size=128256,
)
"""The figures of Llama 3.1 8B (its published config)."""


def test_kv_cache_of_a_token_is_what_llama_cpp_says() -> None:
    assert kv_bytes_per_token(LLAMA_8B, None) == 32 * 8 * 256 * 2
    assert kv_bytes_per_token(LLAMA_8B, "q8_0") == 32 * 8 * 256 * 34 / 32


def test_kv_cache_is_counted_when_the_header_leaves_the_lengths_out() -> None:
    """As most do: SmolLM2-135M has 30 layers, 576 wide, 9 heads, 3 of them for keys."""
    unsaid = replace(LLAMA_8B, key_length=None, value_length=None)
    smol = replace(unsaid, block_count=30, embedding_length=576, head_count=9, head_count_kv=3)
    assert kv_bytes_per_token(smol, None) == 30 * 3 * (64 + 64) * 2
    assert kv_bytes_per_token(replace(smol, head_count_kv=None), None) == 30 * 9 * (64 + 64) * 2
    assert kv_bytes_per_token(replace(smol, is_recurrent=True), None) == 0


def test_what_sees_a_text_whole_has_no_cache_and_buffers_for_the_longest_text() -> None:
    base = Header(
        version=3,
        architecture="bert",
        required_bytes=1,
        context_length=512,
        block_count=12,
        embedding_length=768,
        head_count=12,
        vocab_size=30522,
        is_encoder=True,
    )
    found = fitted(GB, base, InitParameters(ctx_len=4096), budget=Budget(64 * GB))
    assert found.need.kv == 0
    assert 512 * 30522 * 4 < found.need.buffers < 200_000_000
    longer = fitted(
        GB, replace(base, context_length=8192), InitParameters(ctx_len=8192), budget=Budget(64 * GB)
    )
    assert longer.need.buffers > 8192 * 30522 * 4


def test_settings_that_are_open_give_way_and_those_that_are_set_do_not() -> None:
    budget = Budget(int(6.5 * GB))
    open_ones = fitted(5 * GB, LLAMA_8B, InitParameters(), budget=budget)
    assert (open_ones.ctx_len, open_ones.n_parallel, open_ones.is_fitting) == (4096, 1, True)
    asked = InitParameters(ctx_len=4096, n_parallel=4)
    assert not fitted(5 * GB, LLAMA_8B, asked, budget=budget).is_fitting


def test_what_the_gpu_does_not_hold_is_in_main_memory() -> None:
    found = fitted(5 * GB, LLAMA_8B, InitParameters(), budget=Budget(64 * GB, 4 * GB))
    assert 0 < found.ngl < found.layers == 33
    assert found.need.gpu <= 4 * GB
    assert found.need.ram > 2 * GB


LLAVA_PROJECTOR = Header(
    version=3,
    architecture="clip",
    required_bytes=1,
    has_vision=True,
    image_patches=576,
    patch_size=14,
    vision_width=1024,
)
"""CLIP ViT-L/14 at 336 pixels, as LLaVA 1.5 has it."""


def test_a_projector_takes_what_it_remembers_and_its_buffers() -> None:
    assert media_bytes(None) == 0
    assert MEDIA_BYTES == KEPT_BYTES, "what the engine keeps"
    assert MEDIA_BYTES + 30_000_000 < media_bytes(LLAVA_PROJECTOR) < MEDIA_BYTES + 80_000_000
    init = InitParameters(ctx_len=2048, n_parallel=1)
    blind = fitted(5 * GB, LLAMA_8B, init, budget=Budget(64 * GB)).need
    seeing = fitted(5 * GB, LLAMA_8B, init, budget=Budget(64 * GB), media=media_bytes(LLAVA_PROJECTOR)).need
    assert seeing.ram - blind.ram == media_bytes(LLAVA_PROJECTOR)
    assert "pictures 0." in seeing.words()
    assert "pictures" not in blind.words()


def test_a_model_of_unknown_dimensions_is_taken_for_a_common_one_of_its_size() -> None:
    small, large = common_header(1e9), common_header(70e9)
    assert kv_bytes_per_token(small, None) == 16 * 8 * 128 * 2
    assert kv_bytes_per_token(large, None) == 80 * 8 * 256 * 2


# -- GPUs, against what the driver said that a worker held -----------------------------------------


LLAMA_1B = replace(
    LLAMA_8B,
    block_count=16,
    embedding_length=2048,
    key_length=64,
    value_length=64,
    embedding_bytes=128256 * 2048 * 2,
)
"""Llama 3.2 1B in f16: its embedding matrix serves as the output matrix too."""
LLAMA_8B_Q8 = replace(LLAMA_8B, embedding_bytes=558_170_112, output_bytes=558_170_112)
WIDE = replace(
    LLAMA_1B,
    block_count=26,
    embedding_length=2304,
    head_count=18,
    head_count_kv=6,
    key_length=128,
    value_length=128,
    vocab_size=256_000,
    embedding_bytes=256_000 * 2304 * 2,
)
"""A vocabulary as large as Gemma's, in f16."""


@pytest.mark.parametrize(
    ("weights", "header", "init", "gpu", "ram"),
    [
        (2_474_739_520, LLAMA_1B, {}, 3_806_330_880, 1_155_645_440),
        (2_474_739_520, LLAMA_1B, {"kv_type": "q8_0"}, 3_554_672_640, 1_160_413_184),
        (2_474_739_520, LLAMA_1B, {"kv_type": "q5_1"}, 3_470_786_560, 1_158_623_232),
        (
            2_474_739_520,
            LLAMA_1B,
            {"ctx_len": 8192, "n_parallel": 2, "flash_attn": False},
            4_397_727_744,
            1_234_075_648,
        ),
        (2_474_739_520, LLAMA_1B, {"ngl": 9}, 2_587_885_568, 2_400_268_288),
        (2_474_739_520, LLAMA_1B, {"ngl": 1}, 1_348_468_736, 3_619_885_056),
        (5_234_735_168, WIDE, {}, 7_344_226_304, 1_843_924_992),
        (8_535_918_880, LLAMA_8B_Q8, {}, 10_871_635_968, 1_026_310_144),
        (
            8_535_918_880,
            LLAMA_8B_Q8,
            {"ctx_len": 16384, "n_parallel": 8, "kv_type": "q8_0"},
            18_318_622_720,
            1_065_295_872,
        ),
        (8_535_918_880, LLAMA_8B_Q8, {"ctx_len": 8192, "flash_attn": False}, 13_679_722_496, 1_257_635_840),
        (8_535_918_880, LLAMA_8B_Q8, {"ngl": 16}, 5_827_985_408, 6_105_858_048),
    ],
)
def test_the_estimate_covers_what_a_worker_took_of_an_h200_and_hardly_more(
    weights: int, header: Header, init: dict[str, Any], gpu: int, ram: int
) -> None:
    """Bytes after prompts of 3,000 tokens in each conversation; main memory with the embedding context."""
    found = fitted(weights, header, InitParameters(**init), budget=Budget(64 * GB, 64 * GB))
    assert gpu <= found.need.gpu < 1.05 * gpu + 100_000_000
    assert ram <= found.ram < 1.1 * ram + 300_000_000


def test_an_output_matrix_takes_the_first_layer() -> None:
    on_gpu = [
        fitted(2_474_739_520, LLAMA_1B, InitParameters(ngl=ngl), budget=Budget(64 * GB, 64 * GB)).need.gpu
        for ngl in (0, 1, 2, 17)
    ]
    assert on_gpu[0] == 0
    assert on_gpu[1] > LLAMA_1B.embedding_bytes
    assert on_gpu[3] - on_gpu[2] == pytest.approx(15 * (on_gpu[2] - on_gpu[1]), rel=1e-6)


def test_where_gpus_have_no_memory_of_their_own_all_counts_as_main_memory() -> None:
    apart = fitted(5 * GB, LLAMA_8B, InitParameters(), budget=Budget(32 * GB, 20 * GB))
    shared = fitted(5 * GB, LLAMA_8B, InitParameters(), budget=Budget(32 * GB, 20 * GB, is_gpu_in_ram=True))
    assert (apart.ngl, shared.ngl) == (33, 33)
    assert shared.ram == apart.ram + apart.need.gpu
    scarce = fitted(5 * GB, LLAMA_8B, InitParameters(), budget=Budget(8 * GB, 6 * GB, is_gpu_in_ram=True))
    assert scarce.is_fitting
    assert scarce.n_parallel < 4
    assert str(Budget(32 * GB, 20 * GB, is_gpu_in_ram=True)) == "32.0 GB, 20.0 GB of it for the GPU"
