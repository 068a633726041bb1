"""`janagent.http.health`: alive, and asked to stop."""

from janagent import __version__
from tests.http.conftest import Serve, Served

KEY = "sk-right"


async def test_health_says_all_with_the_key_and_only_ok_without(serve: Serve) -> None:
    served = await serve(api_key=KEY)
    assert await served.json("GET", "/v1/health") == (200, {"status": "ok"})
    status, body = await served.json("GET", "/v1/health", headers={"api-key": KEY})
    assert (status, body["status"], body["version"]) == (200, "ok", __version__)
    assert body["counts"] == {"downloaded": 1}
    assert set(body["machine"]) == {
        "memory_used_bytes",
        "memory_budget_bytes",
        "downloads_paused",
        "version",
    }


async def test_shutdown_is_answered_and_then_wanted(served: Served) -> None:
    status, _ = await served.json("POST", "/v1/shutdown")
    assert status == 202
    assert served.runtime.shutdown_wanted.is_set()
