"""`janagent.http.events`: the stream of changes."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp

from janagent.feed import QUEUE_LIMIT, MachineChanged
from janagent.http.context import Limits
from tests.gguf_files import write_model
from tests.http.conftest import Serve, Served, eventually


@dataclass(frozen=True)
class Event:
    id: int
    name: str
    data: Any


async def parsed(response: aiohttp.ClientResponse) -> AsyncIterator[Event]:
    """Events in order; comments are left out."""
    text = ""
    async for line in response.content:
        text += line.decode()
        if not text.endswith("\n\n"):
            continue
        fields = dict(part.split(": ", 1) for part in text.strip().split("\n") if not part.startswith(":"))
        text = ""
        if fields:
            yield Event(int(fields["id"]), fields["event"], json.loads(fields["data"]))


async def first(served: Served) -> Event:
    async with served.client.get("/v1/events") as response:
        return await anext(parsed(response))


async def test_the_first_event_is_a_snapshot_of_models_and_machine(served: Served) -> None:
    event = await first(served)
    assert event.name == "snapshot"
    assert [model["id"] for model in event.data["models"]] == ["tiny"]
    assert event.data["models"][0] == (await served.json("GET", "/v1/models/tiny"))[1]
    assert set(event.data["machine"]) == {
        "memory_used_bytes",
        "memory_budget_bytes",
        "downloads_paused",
        "version",
    }


async def test_a_reconnect_gets_a_new_snapshot_with_a_higher_id(served: Served) -> None:
    before = await first(served)
    again = await first(served)
    assert again.name == "snapshot"
    assert again.id > before.id


async def test_a_model_that_starts_and_one_that_goes_are_told_in_order(served: Served) -> None:
    async with asyncio.timeout(60), served.client.get("/v1/events") as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        stream = parsed(response)
        last = await anext(stream)
        await served.json("PUT", "/v1/models/tiny/start?wait=false")
        states: list[str] = []
        while "running" not in states:
            event = await anext(stream)
            assert event.id > last.id
            last = event
            if event.name == "model":
                states.append(event.data["state"])
        assert states[0] == "starting"
        await served.json("DELETE", "/v1/models/tiny")
        while (event := await anext(stream)).name != "removed":
            pass
        assert event.data == {"id": "tiny"}


async def test_a_dropped_model_is_told(served: Served) -> None:
    async with asyncio.timeout(60), served.client.get("/v1/events") as response:
        stream = parsed(response)
        await anext(stream)
        write_model(served.models / "dropped.gguf")
        while True:
            event = await anext(stream)
            if event.name == "model" and event.data["id"] == "dropped":
                break
        assert event.data["object"] == "model"


async def test_a_comment_comes_when_nothing_happens(serve: Serve) -> None:
    served = await serve(limits=Limits(heartbeat_s=0.05))
    async with asyncio.timeout(60), served.client.get("/v1/events") as response:
        comments = 0
        async for line in response.content:
            comments += line.startswith(b":")
            if comments == 3:
                return


async def test_a_listener_that_fell_behind_gets_a_fresh_snapshot(served: Served) -> None:
    async with asyncio.timeout(60), served.client.get("/v1/events") as response:
        stream = parsed(response)
        assert (await anext(stream)).name == "snapshot"
        for _ in range(QUEUE_LIMIT + 10):  # without a pause, so that the handler cannot take one of them
            served.runtime._feed.tell(MachineChanged(served.runtime.machine()))
        names = [(await anext(stream)).name]
        while names[-1] != "snapshot":
            names.append((await anext(stream)).name)
        assert len(names) < 20


async def test_the_stream_ends_cleanly_with_the_server(served: Served) -> None:
    async with asyncio.timeout(60), served.client.get("/v1/events") as response:
        await anext(parsed(response))
        served.runtime._feed.close()
        await response.read()


async def test_a_listener_that_left_costs_nothing(served: Served) -> None:
    await first(served)
    await eventually(lambda: not served.runtime._feed._listeners)
