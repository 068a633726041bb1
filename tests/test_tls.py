"""A daemon that serves https: a certificate of its own, real streams, clients that do not read."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.clients import (
    all_that_comes,
    forget_peak,
    large_chat,
    left_by_their_clients,
    metric,
    peak_bytes,
    raw,
    rests_or_is_late,
)
from tests.daemons import Daemon, chat_body, stream_chat, stream_chats_at_once, text_of, until
from tests.remote.certificates import make_certificate

STALL_S = 15.0


@pytest.fixture(scope="module")
def https(tmp_path_factory: pytest.TempPathFactory, starter: Path) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = make_certificate(folder)
    with Daemon(folder, tls_cert=cert, tls_key=key, client_stall_s=STALL_S) as running:
        running.drop("smol", {"parameters": {"init": {"ctx_len": 1024}}}, gguf=starter)
        running.wait_state("smol", "running")
        yield running


def session_of(daemon: Daemon) -> aiohttp.ClientSession:
    assert daemon.tls is not None
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=daemon.tls))


async def test_chats_stream_over_https(https: Daemon) -> None:
    assert https.url.startswith("https://")
    bodies = [chat_body("smol", f"Count to {n}.") | {"max_tokens": 96, "ignore_eos": True} for n in range(4)]
    async with session_of(https) as session:
        answers = await stream_chats_at_once(session, https.url, bodies)
    ends = [chunk["choices"][0]["finish_reason"] for answer in answers for chunk in answer[-1:]]
    assert ends == ["length"] * 4, "what the model says is chance; that all of it comes is not"
    assert all(text_of(answer) for answer in answers)


async def test_plain_http_gets_no_answer_from_it(https: Daemon) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(https.url.replace("https:", "http:") + "/v1/health")
    assert https.call("GET", "/v1/health")[0] == 200


async def test_a_client_that_reads_late_gets_all_of_its_answer_over_https(https: Daemon) -> None:
    late_at = time.monotonic() + STALL_S / 2
    with raw(https, large_chat("smol"), receive_bytes=2048) as sock:
        await rests_or_is_late(https, at=late_at)
        came = await asyncio.to_thread(all_that_comes, sock)
    assert b"data: [DONE]" in came
    assert came.count(b'"top_logprobs"') == 900


async def test_a_client_that_never_reads_over_https_is_cut_and_costs_no_memory(https: Daemon) -> None:
    left_before = left_by_their_clients(https)
    tokens_before = metric(https, "janagent_completion_tokens_total")
    forget_peak(https.pid)
    peak_before = peak_bytes(https.pid)
    asked_at = time.monotonic()
    with raw(https, large_chat("smol", n=2), receive_bytes=2048) as sock:
        await rests_or_is_late(https, at=asked_at + STALL_S / 2)
        is_paused = left_by_their_clients(https) == left_before
        assert is_paused or time.monotonic() - asked_at > STALL_S, "it is paused, not cut"
        async with session_of(https) as session:
            assert text_of(await asyncio.wait_for(stream_chat(session, https.url, chat_body("smol")), 120))
        await asyncio.to_thread(until, lambda: left_by_their_clients(https) == left_before + 1, within_s=180)
        assert time.monotonic() - asked_at > STALL_S, "a client that is only slow has its time"
        tokens = metric(https, "janagent_completion_tokens_total") - tokens_before
        assert tokens < 2 * 900, "the whole answer went into buffers"
        assert b"[DONE]" not in await asyncio.to_thread(all_that_comes, sock)
    assert peak_bytes(https.pid) < peak_before + 8_000_000
