"""LoRA adapters: what llama.cpp makes of them is what the merged weights give."""

from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
import pytest

from janagent.children.wire import Adapter, ExitCode, Failed
from janagent.engine.adapters import AdapterError, load_adapters
from janagent.engine.context import ContextOptions, Decoded, open_context
from janagent.engine.llama_log import EngineLog
from janagent.engine.model import load_model
from tests.daemons import Daemon, until
from tests.engine.bert import write_bert
from tests.engine.engines import Engine, client_of
from tests.gguf_files import (
    ADAPTER_ALPHA,
    ADAPTER_RANK,
    Weights,
    adapter_pairs,
    llama_tensors,
    write_adapter,
    write_model,
)

OTHER = adapter_pairs(seed=2)


def logits(path: Path, *adapters: Adapter) -> npt.NDArray[np.float32]:
    """Of the last token of a short text."""
    model = load_model(str(path), n_gpu_layers=0, on_progress=lambda _fraction: None)
    load_adapters(model, adapters)
    context = open_context(model, ContextOptions(n_ctx=256, n_batch=64, n_seq_max=1, n_threads=1))
    context.clear_batch()
    last = context.add_tokens(model.tokenize("the cat", special=False), position=0, seq_id=0, want_last=True)
    assert context.decode() is Decoded.OK
    return context.logits(last).copy()


def merged(*scaled: tuple[dict[str, tuple[Weights, Weights]], float]) -> dict[str, Weights]:
    """The tiny llama's weights with adapters added: W + scale * alpha / rank * B @ A."""
    tensors = llama_tensors()
    for pairs, scale in scaled:
        for name, (a, b) in pairs.items():
            tensors[name] = tensors[name] + np.float32(scale * ADAPTER_ALPHA / ADAPTER_RANK) * (b @ a)
    return tensors


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, -1.0])
def test_an_adapter_does_what_merging_it_would(tmp_path: Path, engine_log: EngineLog, scale: float):
    base = write_model(tmp_path / "base.gguf")
    adapter = Adapter(path=str(write_adapter(tmp_path / "lora.gguf")), scale=scale)
    whole = write_model(tmp_path / "merged.gguf", tensors=merged((adapter_pairs(), scale)))
    got, plain = logits(base, adapter), logits(base)
    np.testing.assert_allclose(got, logits(whole), atol=2e-3)
    assert (np.abs(got - plain).max() > 0.05) == (scale != 0)


def test_several_adapters_add_up_each_as_strong_as_told(tmp_path: Path, engine_log: EngineLog):
    base = write_model(tmp_path / "base.gguf")
    first = Adapter(path=str(write_adapter(tmp_path / "a.gguf")), scale=0.5)
    second = Adapter(path=str(write_adapter(tmp_path / "b.gguf", pairs=OTHER)), scale=2.0)
    whole = write_model(tmp_path / "merged.gguf", tensors=merged((adapter_pairs(), 0.5), (OTHER, 2.0)))
    np.testing.assert_allclose(logits(base, first, second), logits(whole), atol=5e-3)


async def test_embeddings_are_computed_with_it_too(tmp_path: Path):
    adapter = Adapter(path=str(write_adapter(tmp_path / "lora.gguf")))
    whole = write_model(tmp_path / "merged.gguf", tensors=merged((adapter_pairs(), 1.0)))
    vectors = []
    for path, adapters in (
        (write_model(tmp_path / "m.gguf"), ()),
        (tmp_path / "m.gguf", (adapter,)),
        (whole, ()),
    ):
        with Engine() as engine:
            engine.start(path, adapters=adapters)
            async with client_of(engine) as client:
                shown = await client.ok("embeddings", input="the cat")
        vectors.append(np.array(shown["data"][0]["embedding"]))
    plain, adapted, expected = vectors
    np.testing.assert_allclose(adapted, expected, atol=1e-3)
    assert np.abs(adapted - plain).max() > 0.01


def test_an_adapter_for_other_sizes_is_a_load_failure_in_llama_cpp_s_words(tmp_path: Path):
    wide = write_adapter(tmp_path / "wide.gguf", pairs=adapter_pairs(embedding_length=128))
    with Engine() as engine:
        engine.give(engine.spec(write_model(tmp_path / "m.gguf"), adapters=(Adapter(path=str(wide)),)))
        message = engine.wait_for(Failed).message
        assert engine.exit_status() == ExitCode.LOAD_FAILED
    assert "wide.gguf" in message
    assert "incorrect shape" in message


def test_an_adapter_of_another_architecture_or_kind_is_refused(tmp_path: Path, engine_log: EngineLog):
    base = write_model(tmp_path / "m.gguf")
    strange = write_adapter(tmp_path / "strange.gguf", architecture="qwen2")
    activated = write_adapter(
        tmp_path / "activated.gguf",
        customize=lambda writer: writer.add_key_value(
            "adapter.alora.invocation_tokens",
            [5],
            gguf.GGUFValueType.ARRAY,
            sub_type=gguf.GGUFValueType.UINT32,
        ),
    )
    with pytest.raises(AdapterError, match="activated LoRA"):
        logits(base, Adapter(path=str(activated)))
    for path in (strange, tmp_path / "absent.gguf", write_bert(tmp_path / "bert.gguf")):
        with pytest.raises(AdapterError, match=path.name):
            logits(base, Adapter(path=str(path)))


def test_an_edit_of_the_scale_starts_an_engine_that_has_it(tmp_path: Path):
    with Daemon(tmp_path, hot_load="dropped") as daemon:
        folder = daemon.models / "m"
        write_model(folder / "m.gguf")
        write_adapter(folder / "lora.gguf")

        def vector(scale: object) -> npt.NDArray[np.float64]:
            before = {engine.pid for engine in daemon.engines()}
            init = {"ctx_len": 256} if scale is None else {"ctx_len": 256, "lora_scale": scale}
            daemon.drop("m", {"files": ["m.gguf", "lora.gguf"], "parameters": {"init": init}})
            until(lambda: {engine.pid for engine in daemon.engines()} - before)
            until(lambda: not before & {engine.pid for engine in daemon.engines()})
            shown = daemon.wait_state("m", "running")
            assert [binary["role"] for binary in shown["binaries"]] == ["model", "adapter"]
            status, answer = daemon.call("POST", "/v1/embeddings", {"model": "m", "input": "the cat"})
            assert status == 200, answer
            return np.array(answer["data"][0]["embedding"])

        off, whole, named = vector(0), vector(None), vector({"lora": 0.0})
    np.testing.assert_allclose(named, off, atol=1e-6)
    assert np.abs(whole - off).max() > 0.01
