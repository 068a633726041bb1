"""`janagent.http.models`: list, show, start, stop, delete, logs."""

from pathlib import Path

import pytest

from tests.http.conftest import Serve, Served, put, settled_model


async def test_the_list_is_sorted_and_openai_shaped(root: Path, serve: Serve) -> None:
    put(root, "zephyr")
    put(root, "alpha")
    served = await serve()
    status, body = await served.json("GET", "/v1/models")
    assert (status, body["object"]) == (200, "list")
    assert [model["id"] for model in body["data"]] == ["alpha", "tiny", "zephyr"]
    assert all(model["object"] == "model" for model in body["data"])


async def test_the_filters_tell_states_apart(root: Path, serve: Serve) -> None:
    put(root, "absent", {"origin": "someone/absent"}, gguf=False)
    put(root, "broken", {"origin": "x", "parameters": {"init": {"ctx_len": "many"}}}, gguf=False)
    served = await serve()
    await served.json("PUT", "/v1/models/tiny/start")

    async def ids(query: str) -> list[str]:
        return [model["id"] for model in (await served.json("GET", f"/v1/models?{query}"))[1]["data"]]

    assert await ids("") == ["absent", "broken", "tiny"]
    assert await ids("filter=all") == ["absent", "broken", "tiny"]
    assert await ids("filter=downloaded") == ["tiny"]
    assert await ids("state=running") == ["tiny"]
    assert await ids("filter=downloading") == []


async def test_the_list_and_the_single_object_agree(served: Served) -> None:
    _, listed = await served.json("GET", "/v1/models")
    _, single = await served.json("GET", "/v1/models/tiny")
    assert listed["data"] == [single]


async def test_a_broken_manifest_shows_its_error_and_is_409_to_use(root: Path, serve: Serve) -> None:
    put(root, "broken", {"origin": "x", "parameters": {"init": {"ctx_len": "many"}}}, gguf=False)
    served = await serve()
    _, model = await served.json("GET", "/v1/models/broken")
    assert model["state"] == "invalid"
    assert "ctx_len" in model["error"]["message"]
    body = {"model": "broken", "messages": [{"role": "user", "content": "hi"}]}
    status, error = await served.error("POST", "/v1/chat/completions", json=body)
    assert (status, error["code"]) == (409, "model_invalid")
    assert "ctx_len" in error["message"]


async def test_a_model_without_its_binary_is_409_model_missing(root: Path, serve: Serve) -> None:
    put(root, "absent", {"origin": "someone/absent"}, gguf=False)
    served = await serve()
    _, model = await served.json("GET", "/v1/models/absent")
    assert model["state"] == "missing"
    assert model["error"]["message"]
    body = {"model": "absent", "input": "hi"}
    status, error = await served.error("POST", "/v1/embeddings", json=body)
    assert (status, error["code"]) == (409, "model_missing")


@pytest.mark.parametrize("form", ["deep/er/nested", "deep%2Fer%2Fnested", "/deep/er/nested", "nested"])
async def test_ids_with_slashes_are_found_encoded_or_not(root: Path, serve: Serve, form: str) -> None:
    settled_model(root / "models" / "deep" / "er" / "nested.gguf")
    served = await serve()
    status, model = await served.json("GET", f"/v1/models/{form}")
    assert (status, model["id"]) == (200, "nested")


@pytest.mark.parametrize("ending", ["start", "stop", "logs"])
async def test_a_model_named_like_a_reserved_ending_is_reached_encoded(
    root: Path, serve: Serve, ending: str
) -> None:
    settled_model(root / "models" / "tiny" / f"{ending}.gguf")
    served = await serve()
    status, model = await served.json("GET", f"/v1/models/tiny%2F{ending}")
    assert (status, model["id"]) == (200, ending)


async def test_start_waits_until_running_and_stop_until_stopped(served: Served) -> None:
    status, model = await served.json("PUT", "/v1/models/tiny/start")
    assert (status, model["state"]) == (200, "running")
    assert len(served.runtime.engines()) == 1
    status, model = await served.json("PUT", "/v1/models/tiny/stop")
    assert (status, model["state"]) == (200, "downloaded")
    assert served.runtime.engines() == []


async def test_start_without_waiting_is_202(served: Served) -> None:
    status, model = await served.json("PUT", "/v1/models/tiny/start?wait=false")
    assert status == 202
    assert model["state"] in ("starting", "running")


async def test_start_parameters_hold_until_stop(served: Served) -> None:
    body = {"id": "tiny", "engine": "llamacpp", "model_parameters": {"ctx_len": 256, "temperature": 0.9}}
    status, model = await served.json("PUT", "/v1/models/tiny/start", json=body)
    assert status == 200
    assert model["parameters"] == {"init": {"ctx_len": 256}, "runtime": {"temperature": 0.9}}
    async with await served.chat() as response:
        assert (await response.json())["body"]["temperature"] == 0.9
    _, model = await served.json("PUT", "/v1/models/tiny/stop")
    assert model["parameters"] == {"init": {}, "runtime": {}}


async def test_nested_start_parameters_mean_the_same(served: Served) -> None:
    body = {"model_parameters": {"init": {"ctx_len": 256}, "runtime": {"top_k": 3}}}
    _, model = await served.json("PUT", "/v1/models/tiny/start", json=body)
    assert model["parameters"] == {"init": {"ctx_len": 256}, "runtime": {"top_k": 3}}


async def test_delete_takes_the_files_and_the_entry(served: Served) -> None:
    status, body = await served.json("DELETE", "/v1/models/tiny")
    assert (status, body) == (200, {"id": "tiny", "object": "model", "deleted": True})
    assert not (served.models / "tiny").exists()
    assert served.models.is_dir()
    assert (await served.json("GET", "/v1/models"))[1]["data"] == []


async def test_delete_of_a_linked_binary_is_409_and_names_the_link(
    root: Path, serve: Serve, tmp_path: Path
) -> None:
    outside = settled_model(tmp_path / "outside.gguf")
    (root / "models" / "linked").mkdir()
    (root / "models" / "linked" / "linked.gguf").symlink_to(outside)
    served = await serve()
    status, error = await served.error("DELETE", "/v1/models/linked")
    assert status == 409
    assert "linked.gguf" in error["message"]
    assert outside.exists()


async def test_looking_never_starts_an_engine(served: Served) -> None:
    for path in ("/v1/models", "/v1/models/tiny", "/v1/health", "/metrics", "/v1/models/tiny/logs"):
        async with served.client.get(path) as response:
            assert response.status == 200
            await response.read()
    assert served.runtime.engines() == []
