"""The whole loop, for real: a daemon process, the starter model, events instead of sleeps.

drop -> listed -> loaded -> four conversations at once -> edited under load -> deleted; and `kill -9`.
"""

import asyncio
import functools
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import psutil
import pytest

from tests.daemons import (
    Daemon,
    assert_all_gone,
    chat_body,
    stream_chat,
    stream_chats_at_once,
    until,
)
from tests.gguf_files import write_model

T = TypeVar("T")
DRAIN_S = 90
"""Longer than an answer takes on any machine."""


def manifest(**init: Any) -> dict[str, Any]:
    return {"parameters": {"init": {"ctx_len": 512, "n_parallel": 4, **init}}}


def ctx_len_of(daemon: Daemon) -> int:
    """As the daemon has read it."""
    ctx_len: int = (daemon.model("smol") or {})["parameters"]["init"]["ctx_len"]
    return ctx_len


def long_chat(content: str, *, tokens: int) -> dict[str, Any]:
    """A chat of exactly so many tokens, at any speed of the machine."""
    return chat_body("smol", content) | {"max_tokens": tokens, "ignore_eos": True}


async def test_drop_chat_edit_and_delete(tmp_path: Path, starter: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.drop("smol", manifest(), gguf=starter)
        model = await asyncio.to_thread(daemon.wait_state, "smol", "running")
        assert model["binaries"][0]["size_bytes"] == starter.stat().st_size
        async with aiohttp.ClientSession() as session:
            body = long_chat("Tell me about the sea.", tokens=96)
            answers = await stream_chats_at_once(session, daemon.url, [body] * 4)
            assert [answer[-1]["choices"][0]["finish_reason"] for answer in answers] == ["length"] * 4

            async with talking(session, daemon) as talk:
                (first,) = daemon.engines()
                daemon.drop("smol", manifest(ctx_len=768))
                await until_async(
                    lambda: (daemon.model("smol") or {})["context_length"] and not first.is_running()
                )
            assert talk.failures == []
            assert talk.answers > 4

        shutil.rmtree(daemon.models / "smol")
        await asyncio.to_thread(daemon.wait_state, "smol", "")
        until(lambda: not daemon.engines(), what="the engine is gone")
        assert daemon.call("POST", "/v1/chat/completions", body)[0] == 404
        assert daemon.call("GET", "/v1/models")[1]["data"] == []


async def test_ten_saves_a_second_fail_no_request_and_end_with_the_last(
    tmp_path: Path, starter: Path
) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.drop("smol", manifest(), gguf=starter)
        await asyncio.to_thread(daemon.wait_state, "smol", "running")
        async with aiohttp.ClientSession() as session, talking(session, daemon) as talk:
            for number in range(20):
                daemon.drop("smol", manifest(ctx_len=513 + number))
                await asyncio.sleep(0.1)
            await until_async(lambda: ctx_len_of(daemon) == 532)
            await until_async(lambda: len(daemon.engines()) == 1 and talk.is_new_engine(daemon))
        assert talk.failures == []
        shown = daemon.model("smol") or {}
        assert shown["parameters"]["init"]["ctx_len"] == 532
        assert shown.get("error") is None


async def test_twenty_edits_in_a_row_under_four_clients_fail_no_request(
    tmp_path: Path, starter: Path
) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.drop("smol", manifest(), gguf=starter)
        await asyncio.to_thread(daemon.wait_state, "smol", "running")
        async with aiohttp.ClientSession() as session, talking(session, daemon) as talk:
            for number in range(20):
                before = {engine.pid for engine in daemon.engines()}
                daemon.drop("smol", manifest(ctx_len=513 + number))
                await until_async(lambda old=before: {e.pid for e in daemon.engines()} - old)
            await until_async(lambda: len(daemon.engines()) == 1)
        assert talk.failures == []
        assert talk.answers >= 20


async def test_runtime_defaults_apply_to_the_next_request_without_a_restart(
    tmp_path: Path, starter: Path
) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.drop("smol", manifest(), gguf=starter)
        await asyncio.to_thread(daemon.wait_state, "smol", "running")
        (engine,) = daemon.engines()
        daemon.drop(
            "smol", {**manifest(), "parameters": {**manifest()["parameters"], "runtime": {"max_tokens": 3}}}
        )
        until(lambda: (daemon.model("smol") or {})["parameters"].get("runtime"))
        body = {"model": "smol", "messages": [{"role": "user", "content": "Tell me a long story."}]}
        status, answer = daemon.call("POST", "/v1/chat/completions", body)
        assert status == 200
        assert answer["usage"]["completion_tokens"] == 3
        assert answer["choices"][0]["finish_reason"] == "length"
        assert daemon.engines() == [engine]


async def test_kill_9_of_the_daemon_mid_stream_leaves_no_process(tmp_path: Path, starter: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.drop("smol", manifest(), gguf=starter)
        await asyncio.to_thread(daemon.wait_state, "smol", "running")
        until(lambda: len(daemon.children()) == 2, what="an engine and a spare")
        async with aiohttp.ClientSession() as session:
            body = long_chat("Count to a thousand.", tokens=400) | {"stream": True}
            async with session.post(f"{daemon.url}/v1/chat/completions", json=body) as response:
                await response.content.readany()
                children = daemon.kill()
                with pytest.raises(aiohttp.ClientError):
                    await response.read()
        assert_all_gone(children)
        daemon.start()
        daemon.wait_state("smol", "downloaded")
        assert daemon.call("POST", "/v1/chat/completions", chat_body("smol"))[0] == 200


def test_kill_9_of_the_spare_is_made_good_and_disturbs_nobody(tmp_path: Path, starter: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.drop("smol", manifest(), gguf=starter)
        daemon.wait_state("smol", "running")
        (engine,) = daemon.engines()
        spare = until(lambda: [p for p in daemon.children() if p.pid != engine.pid])[0]
        spare.kill()
        assert daemon.call("POST", "/v1/chat/completions", chat_body("smol"))[0] == 200
        until(lambda: {p.pid for p in daemon.children()} - {engine.pid, spare.pid}, what="a new spare")
        assert daemon.engines() == [engine]


async def during_an_answer(daemon: Daemon, end: Callable[[], T]) -> T:
    """What `end` returns, called once an answer of 400 tokens has begun; the answer must come whole."""
    has_begun, pieces = asyncio.Event(), 0

    def count() -> None:
        nonlocal pieces
        pieces += 1
        has_begun.set()

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        body = long_chat("Count to a thousand.", tokens=400)
        answer = group.create_task(stream_chat(session, daemon.url, body, on_text=count))
        await has_begun.wait()
        pieces_before = pieces
        result = await asyncio.to_thread(end)
        chunks = await answer
    assert pieces_before < pieces / 2, "the answer was as good as over"
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    return result


async def test_a_stop_lets_a_running_answer_finish(tmp_path: Path, starter: Path) -> None:
    with Daemon(tmp_path, drain_s=DRAIN_S) as daemon:
        daemon.drop("smol", manifest(), gguf=starter)
        await asyncio.to_thread(daemon.wait_state, "smol", "running")
        stop = functools.partial(daemon.call, "PUT", "/v1/models/smol/stop")
        status, model = await during_an_answer(daemon, stop)
        assert status == 200
        assert model["state"] == "downloaded"
        assert daemon.engines() == []


async def test_a_signal_lets_a_running_answer_finish_and_ends_with_zero(
    tmp_path: Path, starter: Path
) -> None:
    with Daemon(tmp_path, drain_s=DRAIN_S) as daemon:
        daemon.drop("smol", manifest(), gguf=starter)
        await asyncio.to_thread(daemon.wait_state, "smol", "running")
        assert await during_an_answer(daemon, daemon.stop) == 0


def test_start_stop_and_delete_by_the_api(tmp_path: Path, starter: Path) -> None:
    with Daemon(tmp_path, hot_load="never") as daemon:
        daemon.drop("smol", manifest(), gguf=starter)
        daemon.wait_state("smol", "downloaded")
        status, model = daemon.call("PUT", "/v1/models/smol/start", {"model_parameters": {"ctx_len": 256}})
        assert (status, model["state"]) == (200, "running")
        long = chat_body("smol", "word " * 300)
        assert (
            daemon.call("POST", "/v1/chat/completions", long)[1]["error"]["code"] == "context_length_exceeded"
        )
        assert daemon.call("PUT", "/v1/models/smol/stop")[1]["state"] == "downloaded"
        assert daemon.call("POST", "/v1/chat/completions", long)[0] == 200, "the manifest's ctx_len again"
        status, answer = daemon.call("DELETE", "/v1/models/smol")
        assert (status, answer) == (200, {"id": "smol", "object": "model", "deleted": True})
        assert daemon.call("GET", "/v1/models/smol")[0] == 404
        assert list(daemon.models.iterdir()) == []
        assert daemon.engines() == []


def test_a_second_daemon_says_who_holds_the_root(tmp_path: Path) -> None:
    with Daemon(tmp_path) as first:
        second = Daemon(tmp_path, root=first.root)
        with pytest.raises(AssertionError, match=f"process {first.pid} on {first.url}"):
            second.start()
        second._process = None


def test_memory_makes_room_for_what_is_asked_for(tmp_path: Path) -> None:
    with Daemon(tmp_path, hot_load="never", memory_budget="160MB") as daemon:
        for name in ("one", "two"):
            folder = daemon.models / name
            folder.mkdir()
            write_model(folder / f"{name}.gguf")
        daemon.wait_state("one", "downloaded")
        daemon.wait_state("two", "downloaded")
        assert (
            daemon.call("POST", "/v1/completions", {"model": "one", "prompt": "a", "max_tokens": 2})[0] == 200
        )
        assert daemon.state("one") == "running"
        assert (
            daemon.call("POST", "/v1/completions", {"model": "two", "prompt": "a", "max_tokens": 2})[0] == 200
        )
        assert (daemon.state("one"), daemon.state("two")) == ("downloaded", "running")


def test_an_idle_model_is_unloaded_and_its_memory_given_back(tmp_path: Path, starter: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.drop("smol", {**manifest(), "metadata": {"idle_unload_s": 3}}, gguf=starter)
        daemon.wait_state("smol", "running")
        daemon.wait_state("smol", "downloaded")
        assert daemon.engines() == []
        assert daemon.call("POST", "/v1/chat/completions", chat_body("smol"))[0] == 200


def test_what_is_dropped_is_listed_by_its_events(tmp_path: Path, starter: Path) -> None:
    """The folder is not looked at otherwise for an hour. tests/benchmarks measure how soon."""
    with Daemon(tmp_path, hot_load="never", rescan_s=3600) as daemon:
        daemon.drop("smol", manifest(), gguf=starter)
        daemon.wait_state("smol", "downloaded", within_s=60)


class Talk:
    """Four clients that stream chats without pause."""

    def __init__(self, engines: list[psutil.Process]) -> None:
        self.answers = 0
        self.failures: list[str] = []
        self._first = {engine.pid for engine in engines}

    def is_new_engine(self, daemon: Daemon) -> bool:
        return not self._first & {engine.pid for engine in daemon.engines()}


@asynccontextmanager
async def talking(session: aiohttp.ClientSession, daemon: Daemon) -> AsyncIterator[Talk]:
    talk, is_over = Talk(daemon.engines()), asyncio.Event()

    async def client(number: int) -> None:
        while not is_over.is_set():
            body = chat_body("smol", f"Story number {number}:", max_tokens=24)
            try:
                await stream_chat(session, daemon.url, body)
                talk.answers += 1
            except (aiohttp.ClientError, AssertionError) as error:
                talk.failures.append(repr(error))

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(client(number))
        yield talk
        is_over.set()


async def until_async(condition: Any, *, within_s: float = 120) -> None:
    deadline = time.monotonic() + within_s
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, f"not within {within_s} s"
        await asyncio.sleep(0.05)


def test_the_folder_is_never_written_to(tmp_path: Path, starter: Path) -> None:
    with Daemon(tmp_path) as daemon:
        text = '{ # mine\n  parameters: {init: {ctx_len: "512",}},\n}'
        folder = daemon.drop("smol", text, gguf=starter)
        before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
        daemon.wait_state("smol", "running")
        daemon.call("POST", "/v1/chat/completions", chat_body("smol"))
        daemon.stop()
        assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
        assert (folder / "smol.json").read_text() == text
        assert sorted(os.listdir(daemon.root)) == ["models"]
        assert json.dumps(sorted(os.listdir(daemon.models))) == '["smol"]'
