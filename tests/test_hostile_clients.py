"""Clients that misbehave, against a real daemon with the real model: the others are served all the same."""

import asyncio
import contextlib
import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import pytest

from tests.clients import all_that_comes, large_chat, left_by_their_clients, metric, raw, rests_or_is_late
from tests.daemons import Daemon, chat_body, stream_chat, stream_chats_at_once, text_of, until

HOSTILE_IDS = {
    "up": "..",
    "far up": "../../etc/passwd",
    "up from a model": "smol/..",
    "up, encoded": "%2e%2e%2fetc",
    "NUL": "a%00b",
    "emoji": "%F0%9F%98%80",
    "empty part": "a//b",
    "no UTF-8": "%FF",
    "long": "x" * 5000,
}


STALL_S = 20.0


async def idle(daemon: Daemon) -> None:
    await asyncio.to_thread(until, lambda: metric(daemon, "janagent_engine_requests_live") == 0)


async def counted(daemon: Daemon) -> int:
    """How many tokens were computed so far. Engines tell that once a second; with one more token they have
    told of all before it."""
    before = metric(daemon, "janagent_completion_tokens_total")
    one_more = chat_body("smol", max_tokens=1)
    assert (await asyncio.to_thread(daemon.call, "POST", "/v1/chat/completions", one_more))[0] == 200
    await asyncio.to_thread(until, lambda: metric(daemon, "janagent_completion_tokens_total") > before)
    return metric(daemon, "janagent_completion_tokens_total")


async def test_a_client_that_leaves_during_prefill_gets_no_token_computed(daemon: Daemon) -> None:
    await idle(daemon)
    before = await counted(daemon)
    text = " ".join(f"word{number}" for number in range(220))
    body = chat_body("smol", text) | {"stream": True, "max_tokens": 100, "ignore_eos": True}
    with raw(daemon, body, receive_bytes=65536):
        await asyncio.sleep(0.15)
    await idle(daemon)
    await asyncio.sleep(1.1)  # engines count once a second
    assert await counted(daemon) - before < 10
    assert (await asyncio.to_thread(daemon.call, "POST", "/v1/chat/completions", chat_body("smol")))[0] == 200


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, starter: Path) -> Iterator[Daemon]:
    """It waits less long for its clients than the 60 s of contract 5, as `client_stall_s` says."""
    with Daemon(tmp_path_factory.mktemp("impatient"), client_stall_s=STALL_S) as running:
        running.drop("smol", {"parameters": {"init": {"ctx_len": 1024}}}, gguf=starter)
        running.wait_state("smol", "running")
        yield running


async def test_clients_that_never_read_hold_up_nobody_and_are_cut(impatient: Daemon) -> None:
    daemon = impatient
    await idle(daemon)
    left_before = left_by_their_clients(daemon)
    short = chat_body("smol", ignore_eos=True)
    with contextlib.ExitStack() as stack:
        asked_at = time.monotonic()
        socks = [stack.enter_context(raw(daemon, large_chat("smol"), receive_bytes=2048)) for _ in range(3)]
        async with aiohttp.ClientSession() as session:
            assert text_of(await asyncio.wait_for(stream_chat(session, daemon.url, short), 120))
            await rests_or_is_late(daemon, at=asked_at + STALL_S / 2)
            is_paused = left_by_their_clients(daemon) == left_before
            assert is_paused or time.monotonic() - asked_at > STALL_S, "they are paused, not cut"
            assert text_of(await asyncio.wait_for(stream_chat(session, daemon.url, short), 120))
        await asyncio.to_thread(until, lambda: left_by_their_clients(daemon) == left_before + 3, within_s=180)
        assert time.monotonic() - asked_at > STALL_S, "a client that is only slow has its time"
        for sock in socks:
            came = await asyncio.to_thread(all_that_comes, sock)
            assert came.startswith(b"HTTP/1.1 200 ")
            assert b"[DONE]" not in came
    bodies = [chat_body("smol") | {"max_tokens": 64, "ignore_eos": True}] * 4
    async with aiohttp.ClientSession() as session:
        await stream_chats_at_once(session, daemon.url, bodies)


async def test_a_client_that_reads_late_gets_all_of_its_answer(daemon: Daemon) -> None:
    late_at = time.monotonic() + 30  # no later than half of what a client has by default
    with raw(daemon, large_chat("smol"), receive_bytes=2048) as sock:
        await rests_or_is_late(daemon, at=late_at)
        came = await asyncio.to_thread(all_that_comes, sock)
    assert b"data: [DONE]" in came
    assert len(came) > 1_000_000
    assert came.count(b'"top_logprobs"') == 900


def ask(daemon: Daemon, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, Any]]:
    """Any bytes as path and body, which no client library would send; the status and the error."""
    parts = urlsplit(daemon.url)
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as sock:
        sock.sendall(head.encode() + body)
        with contextlib.closing(http.client.HTTPResponse(sock, method=method)) as response:
            response.begin()
            return response.status, json.loads(response.read())["error"]


def everything(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, as it is."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def odd_names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon of their own for models with odd names, and files around it that are nobody's business."""
    folder = tmp_path_factory.mktemp("odd")
    for place in (folder / "root" / "keep.txt", folder / "root" / "models" / "keep" / "keep.txt"):
        place.parent.mkdir(parents=True)
        place.write_text("mine")
    with Daemon(folder) as running:
        yield running


@pytest.mark.parametrize(
    ("name", "said_id", "asked"),
    [("\U0001f600 smile", "", "\U0001f600 smile"), ("climber", "../..", "../.."), ("rooted", "/etc", "/etc")],
    ids=["an emoji in the file's name", "two folders up", "an absolute path"],
)
def test_a_model_of_an_odd_name_is_listed_chats_and_is_deleted_alone(
    odd_names: Daemon, starter: Path, name: str, said_id: str, asked: str
) -> None:
    def mine() -> dict[str, bytes]:
        return everything(odd_names.models) | {"keep.txt": (odd_names.root / "keep.txt").read_bytes()}

    before = mine()
    folder = odd_names.drop(name, {"id": said_id, "parameters": {"init": {"ctx_len": 256}}}, gguf=starter)
    odd_names.wait_state(name, "running")
    (listed,) = [m for m in odd_names.call("GET", "/v1/models")[1]["data"] if m["id"] == name]
    assert asked.lstrip("/") in (name, *listed["aliases"])
    status, answer = odd_names.call("POST", "/v1/chat/completions", chat_body(asked))
    assert status == 200, answer
    assert answer["model"] == name
    path = f"/v1/models/{quote(asked, safe='')}"
    assert odd_names.call("GET", path)[1]["id"] == name
    status, answer = odd_names.call("DELETE", path)
    assert (status, answer) == (200, {"id": name, "object": "model", "deleted": True})
    assert not folder.exists()
    until(lambda: mine() == before, what="nothing else is touched")


@pytest.mark.parametrize("model_id", HOSTILE_IDS.values(), ids=HOSTILE_IDS)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_hostile_id_in_a_path_is_no_model_and_no_file(daemon: Daemon, method: str, model_id: str) -> None:
    files = sorted(daemon.root.rglob("*"))
    status, error = ask(daemon, method, f"/v1/models/{model_id}")
    assert status in (400, 404), error
    assert "root:" not in error["message"]
    assert sorted(daemon.root.rglob("*")) == files


@pytest.mark.parametrize("model_id", ["..", "../smol", "a\0b", "\U0001f600", "/etc/passwd", ""])
def test_a_hostile_id_in_a_body_is_an_unknown_model(daemon: Daemon, model_id: str) -> None:
    status, answer = daemon.call("POST", "/v1/chat/completions", chat_body(model_id))
    assert status in (400, 404)
    assert answer["error"]["code"] in ("model_not_found", "invalid_parameter", "invalid_request")


@pytest.mark.parametrize("body", [b"", b"hello", b"{", b"[1]", b"\xff\xfe{}", b'{"model": "smol"', b"null"])
def test_a_body_that_is_no_json_object_is_400(daemon: Daemon, body: bytes) -> None:
    status, error = ask(daemon, "POST", "/v1/chat/completions", body)
    assert (status, error["code"]) == (400, "invalid_json")
