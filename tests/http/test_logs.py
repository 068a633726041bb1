"""`janagent.http.logs`: what engines wrote."""

import asyncio

from tests.http.conftest import Served


async def test_logs_show_what_the_engine_wrote(served: Served) -> None:
    await served.json("PUT", "/v1/models/tiny/start")
    async with served.client.get("/v1/models/tiny/logs") as response:
        assert response.content_type == "text/plain"
        assert "starting engine" in await response.text()


async def test_followed_logs_go_on_while_the_engine_works(served: Served) -> None:
    async with served.client.get("/v1/models/tiny/logs?follow=true") as response:
        await served.json("PUT", "/v1/models/tiny/start")
        async with asyncio.timeout(60):
            while b"serving tiny" not in await response.content.readline():
                pass


async def test_followed_logs_end_cleanly_with_the_server(served: Served) -> None:

    async with served.client.get("/v1/models/tiny/logs?follow=true") as response:
        await served.api.streams.stop(None)  # type: ignore[arg-type]
        async with asyncio.timeout(60):
            await response.read()
