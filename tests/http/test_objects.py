"""`janagent.http.objects`: the model object."""

import json
from dataclasses import replace
from pathlib import Path

import gguf

from janagent.core.status import ModelStatus, State
from janagent.folder.entry import Condition, ModelEntry
from janagent.folder.fault import Fault
from janagent.folder.manifest import DEFAULT
from janagent.http.objects import Renderer, model_object
from tests.engine.bert import write_bert, write_reranker
from tests.engine.projectors import write_hearing
from tests.gguf_files import write_projector
from tests.http.conftest import Serve, put

KEY_MANIFEST = {
    "origin": "https://me:pw@hub.example/tiny?sig=abc&download=true",
    "parameters": {"init": {"ctx_len": "512"}, "runtime": {"temperature": "0.5", "top_p": ".."}},
    "metadata": {"note": "mine", "hub_token": "hf_123"},
    "state": "running",
    "error": {"code": "spoofed"},
    "homepage": "kept",
}


STATUS = ModelStatus(
    entry=ModelEntry(
        key="a/b.json",
        id="b",
        aliases=("a/b",),
        path="models/a/b.json",
        manifest=DEFAULT,
        has_manifest=True,
        condition=Condition.MISSING,
    ),
    state=State.MISSING,
    error=Fault("missing", "nothing at https://me:pw@hub.example/b"),
)


async def test_the_model_object_has_the_contracts_fields(root: Path, serve: Serve) -> None:
    put(root, "tiny", KEY_MANIFEST)
    served = await serve()
    status, model = await served.json("GET", "/v1/models/tiny")
    assert status == 200
    assert set(model) >= {
        "id", "object", "created", "owned_by", "aliases", "origin", "parameters", "metadata", "state", "path",
        "binaries", "size_bytes", "architecture", "quantization", "context_length", "input_modalities",
    }  # fmt: skip
    assert (model["id"], model["object"], model["state"]) == ("tiny", "model", "downloaded")
    assert model["path"] == "models/tiny/tiny.json"
    assert model["parameters"] == {"init": {"ctx_len": 512}, "runtime": {"temperature": 0.5}}
    assert model["architecture"] == "llama"
    assert model["input_modalities"] == ["text"]
    assert model["capabilities"] == ["chat", "json", "tools", "embeddings"]
    size = (served.models / "tiny" / "tiny.gguf").stat().st_size
    assert model["binaries"] == [
        {"path": "models/tiny/tiny.gguf", "size_bytes": size, "role": "model", "shared": False}
    ]
    assert model["size_bytes"] == size
    assert isinstance(model["created"], int)


async def test_secrets_are_hidden_and_unknown_fields_kept_but_never_ours(root: Path, serve: Serve) -> None:
    put(root, "tiny", KEY_MANIFEST)
    served = await serve()
    _, model = await served.json("GET", "/v1/models/tiny")
    assert model["origin"] == "https://***@hub.example/tiny?sig=***&download=true"
    assert model["metadata"]["hub_token"] == "***"
    assert model["metadata"]["note"] == "mine"
    assert model["homepage"] == "kept"
    assert model["state"] == "downloaded"
    assert "error" not in model
    async with served.client.get("/v1/models") as response:
        text = await response.text()
    assert "hf_123" not in text
    assert "abc" not in text


def test_what_does_not_apply_is_left_out() -> None:
    shown = model_object(replace(STATUS, error=None))
    absent = {"error", "progress", "warnings", "size_bytes", "architecture", "quantization", "context_length"}
    assert not absent & set(shown)
    assert (shown["binaries"], shown["owned_by"], shown["object"]) == ([], "local", "model")


def test_errors_and_warnings_are_redacted_too() -> None:
    shown = model_object(replace(STATUS, warnings=("try https://h.example/?key=hunter2",)))
    assert shown["error"] == {"code": "missing", "message": "nothing at https://***@hub.example/b"}
    assert shown["warnings"] == ["try https://h.example/?key=***"]


def test_a_kept_rendering_follows_every_change() -> None:
    renderer = Renderer()
    for status in (
        STATUS,
        replace(STATUS, state=State.DOWNLOADED, error=None),
        replace(STATUS, warnings=("one",)),
        replace(STATUS, progress={"done_bytes": 5, "total_bytes": 10}),
        replace(STATUS, overrides=(("ctx_len", 99),)),
        replace(STATUS, entry=replace(STATUS.entry, created=5)),
        STATUS,
    ):
        assert json.loads(renderer.render(status)) == model_object(status)
        assert renderer.render(status) is renderer.render(status)


def test_start_parameters_are_shown_over_the_manifests() -> None:
    shown = model_object(replace(STATUS, overrides=(("ctx_len", 99), ("temperature", 0.1))))
    assert shown["parameters"] == {"init": {"ctx_len": 99}, "runtime": {"temperature": 0.1}}


def test_models_that_are_gone_are_not_kept_for_ever() -> None:
    renderer = Renderer()
    for number in range(1000):
        entry = replace(STATUS.entry, key=f"{number}.json")
        renderer.render_all([replace(STATUS, entry=entry)], known=1)
    assert len(renderer._kept) < 200


async def test_a_model_with_a_projector_sees(root: Path, serve: Serve) -> None:
    put(root, "tiny", {})
    write_projector(root / "models" / "tiny" / "mmproj.gguf")
    put(root, "ears", {"parameters": {"init": {"embedding": False}}})
    write_hearing(root / "models" / "ears" / "mmproj.gguf")
    served = await serve()
    _, tiny = await served.json("GET", "/v1/models/tiny")
    assert [binary["role"] for binary in tiny["binaries"]] == ["model", "projector"]
    assert tiny["input_modalities"] == ["text", "image"]
    assert tiny["capabilities"] == ["chat", "json", "tools", "embeddings", "vision"]
    _, ears = await served.json("GET", "/v1/models/ears")
    assert ears["input_modalities"] == ["text", "audio"]
    assert ears["capabilities"] == ["chat", "json", "tools", "audio"]


async def test_what_a_model_cannot_do_is_not_among_its_capabilities(root: Path, serve: Serve) -> None:
    put(root, "mute", {"parameters": {"init": {"embedding": False}}})
    folder = root / "models" / "vectors"
    folder.mkdir()
    write_bert(folder / "vectors.gguf")
    write_reranker(folder / "ranks.gguf")
    write_bert(folder / "headless.gguf", pooling=gguf.PoolingType.RANK)
    served = await serve()
    _, mute = await served.json("GET", "/v1/models/mute")
    assert mute["capabilities"] == ["chat", "json", "tools"]
    _, vectors = await served.json("GET", "/v1/models/vectors")
    assert vectors["capabilities"] == ["embeddings"]
    _, ranks = await served.json("GET", "/v1/models/ranks")
    assert ranks["capabilities"] == ["rerank"]
    _, headless = await served.json("GET", "/v1/models/headless")
    assert headless["capabilities"] == []
