"""`janagent.http.proxy`: between a client and an engine, and what either one's loss means."""

import asyncio
import io
import json
import socket
import time
from typing import Any

import pytest
from multidict import CIMultiDict

from janagent.http.context import Limits
from janagent.http.proxy import passed_on
from tests.http.conftest import Serve, Served, broken_text, eventually

BODY = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}


def log_of(served: Served) -> str:
    return served.runtime.logs(served.runtime.resolve("tiny")).text()


async def raw_request(served: Served, *, odd: str, version: str = "1.1", **fields: Any) -> socket.socket:
    """A client whose socket the test holds itself, with a small receive buffer."""
    body = json.dumps({**BODY, "odd": odd, **fields}).encode()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", served.port))
    head = (
        f"POST /v1/chat/completions HTTP/{version}\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    await loop.sock_sendall(sock, head.encode() + body)
    return sock


async def everything(sock: socket.socket) -> tuple[bytes, bool]:
    """What comes until the end, and whether the end was a reset."""
    loop, parts = asyncio.get_running_loop(), []
    with sock:
        try:
            while part := await asyncio.wait_for(loop.sock_recv(sock, 65536), 60):
                parts.append(part)
        except ConnectionResetError:
            return b"".join(parts), True
    return b"".join(parts), False


async def test_the_engine_gets_the_request_with_the_models_id(served: Served) -> None:
    async with await served.chat(temperature=0.25) as response:
        told = await response.json()
    assert told["path"] == "/v1/chat/completions"
    assert told["body"]["model"] == "tiny"
    assert told["body"]["temperature"] == 0.25
    assert CIMultiDict(told["headers"])["X-Request-Id"] == response.headers["X-Request-Id"]


async def test_a_clients_key_and_cookies_never_reach_an_engine(served: Served) -> None:
    headers = {"Authorization": "Bearer sk-1", "api-key": "k", "Cookie": "a=b"}
    body = {**BODY, "odd": "echo"}
    async with served.client.post("/v1/chat/completions", json=body, headers=headers) as response:
        told = (await response.json())["headers"]
    assert not {"authorization", "api-key", "cookie"} & {name.lower() for name in told}


async def test_an_engines_refusal_arrives_as_it_was_said(served: Served) -> None:
    async with await served.chat("refuse") as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "7")
        assert (await response.json())["error"]["code"] == "queue_full"


async def test_a_request_of_megabytes_reaches_the_engine_whole(served: Served) -> None:
    messages = [{"role": "user", "content": "ä" * 2_000_000}]
    body = {**BODY, "odd": "echo", "messages": messages, "prompt": [*range(400_000)]}
    data = io.BytesIO(json.dumps(body).encode())
    async with served.client.post("/v1/chat/completions", data=data) as response:
        assert (await response.json())["body"] == body


async def test_bytes_and_headers_of_a_stream_arrive_unchanged(served: Served) -> None:
    pieces = [b"data: a\n", b"\n", b"data: \xf0\x9f", b"\x98\x80\n\ndata: [DO", b"NE]\n\n"]
    async with await served.chat("pieces", pieces=[piece.hex() for piece in pieces]) as response:
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["X-Engine"] == "odd"
        assert response.headers["Server"] == "janagent"
        assert await response.read() == b"".join(pieces)


async def test_an_answer_larger_than_any_buffer_arrives_whole(served: Served) -> None:
    async with await served.chat("large", size=20_000_000) as response:
        assert response.headers["Content-Length"] == "20000000"
        assert len(await response.read()) == 20_000_000


@pytest.mark.parametrize("odd", ["die_first", "die_after_head", "die_within_json"])
async def test_an_engine_lost_before_the_first_byte_is_502_with_its_own_words(
    served: Served, odd: str
) -> None:
    async with await served.chat(odd) as response:
        assert response.status == 502
        error = (await response.json())["error"]
    assert (error["code"], error["type"]) == ("engine_failed", "server_error")
    assert "killed" in error["message"]


@pytest.mark.parametrize("odd", ["die_midway", "die_within_event"])
async def test_an_engine_lost_midway_is_an_error_event_and_an_aborted_connection(
    served: Served, odd: str
) -> None:
    async with await served.chat(odd, stream=True) as response:
        assert response.status == 200
        text = await broken_text(response)
    last = text.rstrip(b"\n").rpartition(b"\n\n")[2]
    assert last.startswith(b"data: ")
    assert json.loads(last[6:])["error"]["code"] == "engine_failed"


async def test_an_http_1_0_client_sees_a_reset_and_not_a_clean_end(served: Served) -> None:
    _, is_reset = await everything(await raw_request(served, odd="die_midway", version="1.0"))
    assert is_reset


async def test_the_next_request_after_a_crash_gets_a_new_engine(served: Served) -> None:
    async with await served.chat("die_first") as response:
        assert response.status == 502
    async with await served.chat() as response:
        assert response.status == 200


@pytest.mark.parametrize("odd", ["silent", "drip"])
async def test_a_client_that_vanishes_frees_the_engine_at_once(served: Served, odd: str) -> None:
    with await raw_request(served, odd=odd, stream=True) as sock:
        if odd == "silent":
            await eventually(lambda: "thinking" in log_of(served))
        else:
            await asyncio.get_running_loop().sock_recv(sock, 1000)
    await eventually(lambda: f"client gone during {odd}" in log_of(served))


async def test_a_client_that_never_reads_is_cut_and_frees_the_engine(serve: Serve) -> None:
    served = await serve(limits=Limits(stall_s=0.5))
    with await raw_request(served, odd="forever", stream=True):
        await eventually(lambda: "client gone during forever" in log_of(served))


async def test_a_client_that_reads_slowly_is_not_cut(serve: Serve) -> None:
    served = await serve(limits=Limits(stall_s=2))
    loop = asyncio.get_running_loop()
    with await raw_request(served, odd="forever", stream=True) as sock:
        end = time.monotonic() + 5
        while time.monotonic() < end:
            assert await loop.sock_recv(sock, 200_000)
            await asyncio.sleep(0.05)
        assert "client gone" not in log_of(served)


async def test_a_stream_that_pauses_longer_than_the_stall_limit_is_not_cut(serve: Serve) -> None:
    served = await serve(limits=Limits(stall_s=0.2))
    async with await served.chat("drip", stream=True, every_s=0.7) as response:
        expected = b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
        assert await response.content.readexactly(len(expected)) == expected


async def test_many_streams_go_through_at_once(served: Served) -> None:
    async def one(number: int) -> bytes:
        piece = f"data: {number}\n\n".encode()
        async with await served.chat("pieces", pieces=[piece.hex()] * 50) as response:
            return await response.read()

    answers = await asyncio.gather(*(one(number) for number in range(30)))
    assert answers == [f"data: {number}\n\n".encode() * 50 for number in range(30)]


async def test_a_stop_cuts_what_does_not_finish_and_says_so(served: Served) -> None:
    async with await served.chat("drip", stream=True) as response:
        await response.content.readany()
        stopping = asyncio.ensure_future(served.json("PUT", "/v1/models/tiny/stop"))  # noqa: TID251
        assert b'"engine_failed"' in await broken_text(response)
    status, model = await stopping
    assert (status, model["state"]) == (200, "downloaded")


def test_headers_between_two_hops_are_not_passed_on_whatever_their_case() -> None:
    headers = CIMultiDict(
        [
            ("CONNECTION", "close, X-Odd"),
            ("Transfer-Encoding", "chunked"),
            ("x-odd", "1"),
            ("Content-Type", "application/json"),
            ("Retry-After", "3"),
        ]
    )
    assert dict(passed_on(headers)) == {
        "Content-Type": "application/json",
        "Retry-After": "3",
    }
