"""Which GPUs a model's layers go to, by lists of devices as ggml describes them."""

import platform

import llama_cpp
import pytest

from janagent.engine import devices
from janagent.engine.devices import Device, Type, chosen, is_lack_of_memory, taken_bytes

MIB = 1 << 20
GEFORCE = Device("NVIDIA GeForce RTX 4070", "CUDA", Type.GPU, 11000 * MIB, 12282 * MIB, "0000:01:00.0")
SAME_BY_VULKAN = Device(
    "NVIDIA GeForce RTX 4070", "Vulkan", Type.GPU, 11500 * MIB, 12282 * MIB, "0000:01:00.0"
)
SECOND = Device("NVIDIA GeForce RTX 3060", "CUDA", Type.GPU, 11800 * MIB, 12288 * MIB, "0000:02:00.0")
RADEON_GRAPHICS = Device("AMD Radeon Graphics", "Vulkan", Type.INTEGRATED_GPU, 15000 * MIB, 16000 * MIB)
SAME_BY_OPENCL = Device("gfx1103", "OpenCL", Type.INTEGRATED_GPU, 15000 * MIB, 16000 * MIB)
APPLE_M2 = Device("Apple M2", "MTL", Type.GPU, 10922 * MIB, 10922 * MIB)
SERVER = Device("192.168.0.5:50052", "RPC", Type.GPU, 8000 * MIB, 8000 * MIB)


def test_every_real_gpu_is_used_and_an_integrated_one_beside_them_is_not() -> None:
    assert chosen([RADEON_GRAPHICS, GEFORCE, SECOND]) == (GEFORCE, SECOND)


def test_an_integrated_gpu_is_used_where_there_is_no_other() -> None:
    assert chosen([RADEON_GRAPHICS]) == (RADEON_GRAPHICS,)


def test_a_gpu_that_two_backends_see_counts_once() -> None:
    assert chosen([GEFORCE, SAME_BY_VULKAN]) == (GEFORCE,)
    assert chosen([RADEON_GRAPHICS, SAME_BY_OPENCL]) == (RADEON_GRAPHICS,)


def test_gpus_without_a_bus_address_are_not_taken_for_one_another() -> None:
    assert chosen([APPLE_M2, APPLE_M2]) == (APPLE_M2, APPLE_M2)


def test_another_machine_is_no_gpu_of_this_one() -> None:
    assert chosen([SERVER, GEFORCE]) == (GEFORCE,)


def test_integrated_gpus_and_apples_chips_share_the_main_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert RADEON_GRAPHICS.shares_ram
    assert not GEFORCE.shares_ram
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert APPLE_M2.shares_ram
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert not APPLE_M2.shares_ram, "an Intel Mac with a graphics card"


@pytest.mark.parametrize(
    "words",
    [
        "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 16128.00 MiB on device 0: cudaMalloc failed: "
        "out of memory",
        "CUDA error: out of memory",
        "ggml_vulkan: Device memory allocation of size 2147483648 failed. vk::Device::allocateMemory: "
        "ErrorOutOfDeviceMemory",
        "failed to allocate compute pp buffers",
        "llama_model_load: error loading model: unable to allocate CUDA0 buffer",
    ],
)
def test_what_llama_cpp_says_when_memory_is_short_is_understood(words: str) -> None:
    assert is_lack_of_memory(words)


@pytest.mark.parametrize(
    "words", ["missing tensor 'blk.0.ffn_up.weight'", "unknown model architecture: 'memory'"]
)
def test_other_failures_are_not_taken_for_it(words: str) -> None:
    assert not is_lack_of_memory(words)


def test_what_a_load_took_is_the_difference_and_never_another_engines_share() -> None:
    """Free bytes of an H200 while an 8B model, then beside it a second one, was loaded."""
    before, alone, both = [145_355_243_520], [132_237_950_976], [121_373_065_216]
    assert taken_bytes(before, alone, planned_bytes=13_252_000_000) == 13_117_292_544
    assert taken_bytes(before, both, planned_bytes=13_252_000_000) == 13_252_000_000
    assert taken_bytes(alone, before, planned_bytes=13_252_000_000) == 0, "somebody else went"


def test_this_machine_is_asked_and_agrees_with_llama_cpp() -> None:
    found = devices.gpus()
    assert bool(found) is bool(llama_cpp.llama_supports_gpu_offload())
    for device in found:
        assert device.total_bytes > 0
        assert device.free_bytes <= device.total_bytes
        assert device.backend in devices.backends()
