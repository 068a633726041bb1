"""A worker's life: loading, ready, and every way to its end."""

import signal
import socket
from pathlib import Path

import pytest

from janagent.children import wire
from tests.engine.engines import Engine, client_of, user
from tests.gguf_files import HTML_PAGE, write_aborts_on_load, write_model, write_truncated, write_unloadable


def failure(model: Path, **fields: object) -> tuple[int, str]:
    """The exit status and last words of an engine that cannot load `model`."""
    with Engine() as engine:
        engine.give(engine.spec(model, **fields))
        failed = engine.wait_for(wire.Failed)
        return engine.exit_status(), failed.message


def test_a_worker_tells_its_way_from_spare_to_ready(tiny_gguf: Path):
    with Engine() as engine:
        engine.wait_for(wire.Spare)
        engine.start(tiny_gguf, ctx_len=128, n_parallel=2)
        engine.wait_for(wire.Stats)
        kinds = [type(line) for line in engine.lines]
        assert kinds[0] is wire.Spare
        assert kinds.index(wire.Loading) < kinds.index(wire.Ready) < kinds.index(wire.Stats)
        ready = engine.wait_for(wire.Ready)
        assert (ready.ctx_len, ready.n_parallel, ready.warnings) == (128, 2, ())
        progress = [line.progress for line in engine.lines if isinstance(line, wire.Loading)]
        assert progress == sorted(progress)
        assert progress[-1] == 1.0


def test_only_its_owner_may_use_the_socket(tiny_gguf: Path):
    with Engine() as engine:
        engine.start(tiny_gguf)
        assert engine.socket.stat().st_mode & 0o777 == 0o600


def test_a_context_beyond_training_and_a_broken_template_are_warned_about(tmp_path: Path):
    path = write_model(tmp_path / "m.gguf", context_length=128, chat_template="{% if %}")
    with Engine() as engine:
        engine.start(path, ctx_len=256)
        warnings = engine.wait_for(wire.Ready).warnings
    assert any("chat template is broken" in warning for warning in warnings)
    assert any("256" in warning and "128" in warning for warning in warnings)


def test_a_file_that_is_no_model_fails_in_llama_cpps_own_words(tmp_path: Path):
    page = tmp_path / "page.gguf"
    page.write_bytes(HTML_PAGE)
    status, message = failure(page)
    assert status == wire.ExitCode.LOAD_FAILED
    assert "magic" in message


def test_a_model_with_a_missing_tensor_names_it(tmp_path: Path):
    status, message = failure(write_unloadable(tmp_path / "m.gguf"))
    assert status == wire.ExitCode.LOAD_FAILED
    assert "blk.0.ffn_up.weight" in message


def test_a_truncated_model_fails(tmp_path: Path):
    whole = write_model(tmp_path / "whole.gguf")
    status, message = failure(write_truncated(tmp_path / "cut.gguf", whole, fraction=0.7))
    assert status == wire.ExitCode.LOAD_FAILED
    assert message


def test_a_worker_that_finds_less_gpu_memory_than_planned_does_not_try(tiny_gguf: Path):
    with Engine() as engine:
        engine.give(engine.spec(tiny_gguf, ngl=2, gpu_bytes=10**15))
        failed = engine.wait_for(wire.Failed)
        assert failed.is_short_of_gpu
        assert "2 layers need 1000000.0 GB of GPU memory" in failed.message
        assert engine.exit_status() == wire.ExitCode.LOAD_FAILED
        told = [line for line in engine.lines if isinstance(line, wire.GpuMemory)]
        assert len(told) == 1, "the daemon has to know what there is before it plans anew"


def test_a_worker_with_layers_on_gpus_tells_what_is_free_again_and_again(tiny_gguf: Path):
    with Engine() as engine:
        engine.start(tiny_gguf, ngl=2)
        engine.wait_for(wire.GpuMemory, after=1 + len(engine.lines))


def test_a_worker_without_such_layers_asks_no_gpu(tiny_gguf: Path):
    with Engine() as engine:
        engine.start(tiny_gguf, ngl=0)
        engine.wait_for(wire.Stats)
        assert not any(isinstance(line, wire.GpuMemory) for line in engine.lines)


def test_a_missing_file_fails(tmp_path: Path):
    status, message = failure(tmp_path / "nowhere.gguf")
    assert status == wire.ExitCode.LOAD_FAILED
    assert "nowhere.gguf" in message


def test_a_model_that_makes_llama_cpp_abort_while_loading_fails_with_the_reason(tmp_path: Path):
    status, message = failure(write_aborts_on_load(tmp_path / "m.gguf"))
    assert status == wire.ExitCode.LOAD_FAILED
    assert "GGML_ASSERT" in message


def test_a_cache_larger_than_llama_cpp_can_count_fails(tiny_gguf: Path):
    status, message = failure(tiny_gguf, ctx_len=1 << 30, n_parallel=4)
    assert status == wire.ExitCode.LOAD_FAILED
    assert "n_parallel 4" in message


def test_a_socket_that_cannot_be_bound_is_a_bad_spec(tiny_gguf: Path, tmp_path: Path):
    with Engine() as engine:
        spec = engine.spec(tiny_gguf)
        engine.give(spec.model_copy(update={"socket_path": str(tmp_path / ("x" * 120))}))
        assert "cannot listen" in engine.wait_for(wire.Failed).message
        assert engine.exit_status() == wire.ExitCode.BAD_SPEC


def test_sigterm_ends_a_ready_worker_cleanly(tiny_gguf: Path):
    with Engine() as engine:
        engine.start(tiny_gguf)
        engine.process.send_signal(signal.SIGTERM)
        assert engine.exit_status() == wire.ExitCode.OK
        assert not engine.socket.exists()


def test_the_end_of_the_parent_ends_a_ready_worker(tiny_gguf: Path):
    with Engine() as engine:
        engine.start(tiny_gguf)
        engine.hang_up()
        assert engine.exit_status() == wire.ExitCode.PARENT_GONE


def test_the_end_of_the_parent_ends_a_worker_that_is_loading(starter: Path):
    with Engine() as engine:
        engine.give(engine.spec(starter))
        engine.hang_up()
        assert engine.exit_status() == wire.ExitCode.PARENT_GONE
        assert not [line for line in engine.lines if isinstance(line, wire.Failed)]


async def test_a_stale_socket_file_is_replaced(tiny_gguf: Path):
    with Engine() as engine:
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(engine.socket))
        engine.start(tiny_gguf)
        async with client_of(engine) as client:
            await client.ok("chat/completions", messages=user("a"), max_tokens=1)


@pytest.mark.parametrize(
    "fields", [{"kv_type": "q8_0", "flash_attn": True}, {"n_batch": 16, "flash_attn": False}]
)
async def test_the_cache_type_and_the_batch_size_of_the_spec_are_used(
    starter: Path, fields: dict[str, object]
):
    with Engine() as engine:
        engine.start(starter, n_threads=1, **fields)
        async with client_of(engine) as client:
            shown = await client.ok(
                "completions", prompt="The capital of France is", max_tokens=1, temperature=0
            )
        assert shown["choices"][0]["text"] == " Paris"
        if "kv_type" in fields:
            assert "(q8_0)" in engine.log()
        else:
            assert "n_batch               = 16" in engine.log()
