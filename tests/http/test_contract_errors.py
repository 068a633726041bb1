"""Every error of contract 3 that a running system can be brought to, over HTTP."""

import asyncio
from pathlib import Path
from typing import Any

from janagent.core.status import State
from tests.http.conftest import Serve, Served, eventually, put, settled_model

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}


async def refused(served: Served, model: str, **fields: Any) -> tuple[int, dict[str, Any], str | None]:
    """(status, error, Retry-After) of a chat that must fail."""
    body = {**CHAT, "model": model, **fields}
    async with served.client.post("/v1/chat/completions", json=body) as response:
        answer = await response.json()
        assert set(answer["error"]) == {"message", "type", "param", "code"}
        return response.status, answer["error"], response.headers.get("Retry-After")


async def test_a_model_that_can_never_fit_is_507_with_the_figures(serve: Serve) -> None:
    served = await serve(memory_budget="1MB")
    status, error, _ = await refused(served, "tiny")
    assert (status, error["code"]) == (507, "insufficient_memory")
    assert "MB" in error["message"] or "GB" in error["message"]
    status, error = await served.error("PUT", "/v1/models/tiny/start")
    assert (status, error["code"]) == (507, "insufficient_memory")


async def test_memory_held_by_a_busy_model_is_503_after_the_wait(root: Path, serve: Serve) -> None:
    settled_model(root / "models" / "other" / "other.gguf")
    served = await serve(memory_budget="150MB", load_wait_s=0.5)
    async with await served.chat("drip", stream=True) as response:
        await response.content.readany()
        status, error, retry_after = await refused(served, "other")
        assert (status, error["code"]) == (503, "memory_busy")
        assert retry_after is not None
        assert int(retry_after) >= 1


async def test_a_load_that_fails_is_502_with_the_engines_own_words(root: Path, serve: Serve) -> None:
    put(root, "unloadable")
    served = await serve()
    for _ in range(2):
        status, error, _ = await refused(served, "unloadable")
        assert (status, error["code"]) == (502, "engine_failed")
        assert "tensor 'x' is missing" in error["message"]
    _, model = await served.json("GET", "/v1/models/unloadable")
    assert model["state"] == "failed"
    assert "tensor 'x' is missing" in model["error"]["message"]
    status, error = await served.error("PUT", "/v1/models/unloadable/start")
    assert (status, error["code"]) == (502, "engine_failed")


async def test_a_model_that_keeps_dying_is_503_with_a_time_to_retry(served: Served) -> None:
    codes = []
    for _ in range(4):
        status, error, retry_after = await refused(served, "tiny", odd="die_first")
        codes.append((status, error["code"]))
        if error["code"] == "engine_backoff":
            assert retry_after is not None
            assert int(retry_after) >= 1
            break
    assert codes[0] == (502, "engine_failed")
    assert codes[-1] == (503, "engine_backoff")


async def test_a_full_queue_is_429_with_a_time_to_retry(served: Served) -> None:
    status, error, retry_after = await refused(served, "tiny", odd="refuse")
    assert (status, error["type"], retry_after) == (429, "rate_limit_error", "7")


async def test_a_model_deleted_while_a_request_waits_for_it_is_404(root: Path, serve: Serve) -> None:
    put(root, "slow")
    served = await serve()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        waiting = group.create_task(refused(served, "slow"))
        await eventually(lambda: bool(served.runtime.engines()))
        status, _ = await served.json("DELETE", "/v1/models/slow")
        assert status == 200
    status, error, _ = waiting.result()
    assert (status, error["code"]) == (404, "model_not_found")


async def test_a_client_that_leaves_during_the_load_leaves_nothing_behind(root: Path, serve: Serve) -> None:
    put(root, "slow")
    served = await serve()
    asking = asyncio.ensure_future(refused(served, "slow"))  # noqa: TID251
    await eventually(lambda: bool(served.runtime._waiting))
    asking.cancel()
    await eventually(lambda: not served.runtime._waiting)
    await eventually(lambda: served.api.metrics.in_flight == 0)


async def test_a_request_after_the_shutdown_began_is_503(served: Served) -> None:
    await served.runtime.drain()
    status, error, retry_after = await refused(served, "tiny")
    assert (status, error["code"]) == (503, "shutting_down")
    assert retry_after is not None


async def test_a_root_that_goes_away_is_409_and_comes_back(root: Path, serve: Serve) -> None:
    served = await serve()
    key = served.runtime.resolve("tiny")
    (root / "models").rename(root / "elsewhere")
    await eventually(lambda: served.runtime.status(key).state is State.MISSING)
    status, error, _ = await refused(served, "tiny")
    assert (status, error["code"]) == (409, "model_missing")
    (root / "elsewhere").rename(root / "models")
    await eventually(lambda: served.runtime.status(key).state is State.DOWNLOADED)
    async with await served.chat() as response:
        assert response.status == 200
