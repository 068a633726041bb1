"""Upstreams in trouble: each kind is an error of its own in OpenAI's shape; nothing is asked too often."""

import asyncio
import gzip
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.clients import all_that_comes, raw
from tests.daemons import Daemon, chat_body, stream_chat, text_of, until
from tests.remote.conftest import STALL_S
from tests.remote.models import ask, drop, manifest
from tests.remote.upstream import DONE, KEY, Body, Handler, Upstream, chat, chunk, error, opened, plain


@pytest.fixture
def far(near: Daemon, upstream: Upstream) -> Iterator[str]:
    yield drop(near, upstream)
    near.call("DELETE", "/v1/models/far")


def says(data: bytes, *, abort: bool = True) -> Handler:
    """Answers with exactly these bytes, whatever HTTP says of them."""

    async def answer(request: web.Request, _body: Body) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(data)
        await asyncio.sleep(0.1)
        if abort:
            request.transport.close()
        await asyncio.sleep(3600)
        raise AssertionError

    return answer


def always(make: Callable[[], web.Response]) -> Handler:
    async def answer(_request: web.Request, _body: Body) -> web.StreamResponse:
        return make()

    return answer


async def slow(_request: web.Request, _body: Body) -> web.StreamResponse:
    await asyncio.sleep(3600)
    raise AssertionError


def fault(daemon: Daemon, model: str, **more: Any) -> tuple[int, str, str]:
    """Status, code and message of a chat that does not work."""
    status, answer = ask(daemon, model, **more)
    assert answer["error"].keys() == {"message", "type", "param", "code"}, answer
    return status, answer["error"]["code"], answer["error"]["message"]


# -- no connection --------------------------------------------------------------------------------


def unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def at(daemon: Daemon, origin: str) -> str:
    daemon.drop("nowhere", manifest(origin))
    daemon.wait_state("nowhere", "running")
    until(lambda: (daemon.model("nowhere") or {})["origin"] == origin)
    return "nowhere"


def test_nobody_listens(near: Daemon) -> None:
    port = unused_port()
    status, code, message = fault(near, at(near, f"http://127.0.0.1:{port}"))
    assert (status, code) == (502, "upstream_unreachable")
    assert message == f"nowhere: 127.0.0.1:{port} cannot be reached (Connection refused)"


def test_the_host_does_not_exist(near: Daemon) -> None:
    status, code, message = fault(near, at(near, "http://no-such-host.invalid"))
    assert (status, code) == (502, "upstream_unreachable")
    assert "no-such-host.invalid cannot be found" in message


def test_http_where_https_was_expected(near: Daemon, upstream: Upstream) -> None:
    status, code, message = fault(near, at(near, f"https://localhost:{upstream.port}"))
    assert (status, code) == (502, "upstream_unreachable")
    assert "TLS" in message


def test_it_is_back_after_a_moment(near: Daemon) -> None:
    """A connection that was refused is tried again at once: nothing can have been done twice."""
    answers: list[int] = []
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        model = at(near, f"http://127.0.0.1:{sock.getsockname()[1]}")
        asking = threading.Thread(target=lambda: answers.append(ask(near, model)[0]))
        asking.start()
        time.sleep(0.15)
        sock.listen()  # from here on none is refused, however long the rest takes
        with Upstream(key=KEY, sock=sock):
            asking.join(60)
    assert answers == [200]


# -- no answer ------------------------------------------------------------------------------------


def test_silence_before_the_first_byte(impatient: Daemon, upstream: Upstream) -> None:
    upstream.answer = slow
    far = drop(impatient, upstream)
    begun = time.monotonic()
    status, code, message = fault(impatient, far)
    assert (status, code) == (504, "upstream_timeout")
    assert f"sent nothing for {STALL_S:g} s" in message
    assert time.monotonic() - begun < STALL_S + 30
    assert len(upstream.calls) == 1, "who is slow may be at work: it is not asked again"


def test_a_connection_that_breaks_before_the_answer_is_not_tried_again(
    near: Daemon, upstream: Upstream, far: str
) -> None:
    upstream.answer = says(b"")
    status, code, message = fault(near, far)
    assert (status, code) == (502, "upstream_failed")
    assert "closed the connection before it answered" in message
    assert len(upstream.calls) == 1, "a new connection: the request may have been worked on"


def test_a_kept_connection_that_broke_is_no_failure(near: Daemon, upstream: Upstream, far: str) -> None:
    """Servers close idle connections whenever they like, also while a request is on its way."""
    assert ask(near, far)[0] == 200
    kept = upstream.last.peer

    async def close_once(request: web.Request, body: Body) -> web.StreamResponse:
        assert request.transport is not None
        if request.transport.get_extra_info("peername") == kept:
            request.transport.abort()
            await asyncio.sleep(3600)
        return await plain(request, body)

    upstream.answer = close_once
    assert ask(near, far)[0] == 200
    assert [call.peer == kept for call in upstream.calls] == [True, True, False]


@pytest.mark.parametrize(
    "data",
    [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 2\r\n\r\n"],
)
def test_what_is_no_http(near: Daemon, upstream: Upstream, far: str, data: bytes) -> None:
    upstream.answer = says(data)
    status, code, _ = fault(near, far)
    assert (status, code) == (502, "upstream_failed")


def test_an_answer_that_ends_early(near: Daemon, upstream: Upstream, far: str) -> None:
    upstream.answer = says(
        b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"mo'
    )
    status, code, message = fault(near, far)
    assert (status, code) == (502, "upstream_failed")
    assert "before the answer was complete" in message or "closed the connection" in message


def test_a_page_instead_of_json(near: Daemon, upstream: Upstream, far: str) -> None:
    upstream.answer = always(lambda: web.Response(text="<html>Welcome</html>", content_type="text/html"))
    status, code, message = fault(near, far)
    assert (status, code) == (502, "upstream_failed")
    assert "text/html instead of JSON" in message


# -- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422, 500, 503])
def test_an_error_in_openai_s_shape_is_passed_on_as_it_is(
    near: Daemon, upstream: Upstream, far: str, status: int
) -> None:
    upstream.answer = always(lambda: error(status, "words of its own", code="some_code"))
    got, answer = ask(near, far)
    assert got == status
    assert answer["error"]["message"] == "words of its own"
    assert answer["error"]["code"] == "some_code"
    assert len(upstream.calls) == 1


def test_azure_s_content_filter_is_passed_on_intact(near: Daemon, upstream: Upstream, far: str) -> None:
    filtered = {
        "error": {
            "message": "The response was filtered due to the prompt triggering content management policy.",
            "type": None,
            "param": "prompt",
            "code": "content_filter",
            "status": 400,
            "innererror": {
                "code": "ResponsibleAIPolicyViolation",
                "content_filter_result": {"hate": {"filtered": True, "severity": "high"}},
            },
        }
    }
    upstream.answer = always(lambda: web.json_response(filtered, status=400))
    assert ask(near, far) == (400, filtered)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<html><head><style>x{}</style></head><body><h1>Bad  Gateway</h1></body></html>", "Bad Gateway"),
        ('{"detail": "no such route"}', "no such route"),
        ('{"error": "model is loading"}', "model is loading"),
        ("", ""),
    ],
)
def test_an_error_of_another_shape_is_put_into_openai_s(
    near: Daemon, upstream: Upstream, far: str, text: str, words: str
) -> None:
    upstream.answer = always(lambda: web.Response(text=text, status=502, content_type="text/html"))
    status, code, message = fault(near, far)
    assert (status, code) == (502, "upstream_failed")
    assert message.startswith(f"localhost:{upstream.port} answered 502 Bad Gateway")
    assert words in message


def test_a_limit_is_passed_on_with_its_times_and_not_hammered(
    near: Daemon, upstream: Upstream, far: str
) -> None:
    told = {"Retry_After": "17", "X_RateLimit_Remaining_Requests": "0"}
    upstream.answer = always(lambda: error(429, "Rate limit reached", code="rate_limit_exceeded", **told))

    async def headers_of() -> tuple[int, dict[str, str]]:
        async with aiohttp.ClientSession() as session:
            url = f"{near.url}/v1/chat/completions"
            async with session.post(url, json=chat_body(far)) as response:
                return response.status, dict(response.headers)

    status, headers = asyncio.run(headers_of())
    assert status == 429
    assert headers["Retry-After"] == "17"
    assert headers["X-RateLimit-Remaining-Requests"] == "0"
    assert len(upstream.calls) == 1


def test_the_key_is_wrong(near: Daemon, upstream: Upstream, far: str) -> None:
    upstream.key = "another"
    status, _, message = fault(near, far)
    assert status == 401
    assert message == "Incorrect API key provided: ***.", "the upstream repeats it; we do not"


def test_a_redirect_within_the_host_is_followed(near: Daemon, upstream: Upstream, far: str) -> None:
    async def moved(request: web.Request, body: Body) -> web.StreamResponse:
        if request.path == "/v1/chat/completions":
            return web.Response(status=308, headers={"Location": "/v2/chat/completions"})
        return await plain(request, body)

    upstream.answer = moved
    assert ask(near, far)[0] == 200
    assert upstream.last.headers["Authorization"] == f"Bearer {KEY}"


def test_a_redirect_to_another_host_is_not_followed(near: Daemon, upstream: Upstream, far: str) -> None:
    with Upstream() as other:
        target = f"{other.url}/v1/chat/completions?sig=s3cret"
        upstream.answer = always(lambda: web.Response(status=307, headers={"Location": target}))
        status, code, message = fault(near, far)
        assert (status, code) == (502, "upstream_failed")
        assert other.url in message
        assert "s3cret" not in message
        assert not other.calls


def test_redirects_in_circles_end(near: Daemon, upstream: Upstream, far: str) -> None:
    upstream.answer = always(lambda: web.Response(status=307, headers={"Location": "/v1/chat/completions"}))
    assert fault(near, far)[:2] == (502, "upstream_failed")
    assert len(upstream.calls) < 10


# -- dialects -------------------------------------------------------------------------------------


def test_gzip_that_nobody_asked_for(near: Daemon, upstream: Upstream, far: str) -> None:
    data = gzip.compress(json.dumps(chat("zipped")).encode())
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    upstream.answer = always(lambda: web.Response(body=data, headers=headers))
    status, answer = ask(near, far)
    assert (status, answer["choices"][0]["message"]["content"]) == (200, "zipped")


def test_lower_case_headers(near: Daemon, upstream: Upstream, far: str) -> None:
    data = json.dumps(chat("low")).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(data)
    upstream.answer = says(head + data)
    assert ask(near, far)[1]["choices"][0]["message"]["content"] == "low"


@pytest.mark.parametrize("said", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(
    ("known", "tries"), [("max_tokens", [True, True]), ("max_completion_tokens", [False, True, True])]
)
def test_the_limit_goes_out_under_the_name_that_is_known_there(
    near: Daemon, upstream: Upstream, far: str, said: str, known: str, tries: list[bool]
) -> None:
    """The old name first; what was refused once is remembered."""

    async def strict(request: web.Request, body: Body) -> web.StreamResponse:
        for name in {"max_tokens", "max_completion_tokens"} & body.keys() - {known}:
            return error(400, f"Unrecognized request argument supplied: {name}")
        return await plain(request, body)

    upstream.answer = strict
    for _ in range(2):
        assert ask(near, far, **{said: 9})[0] == 200
    assert [known in call.body for call in upstream.calls] == tries
    assert upstream.last.body[known] == 9


# -- streams --------------------------------------------------------------------------------------


def lines_of(daemon: Daemon, model: str, *, heard: threading.Event | None = None) -> tuple[list[bytes], bool]:
    """(the lines of a streamed chat's body, whether it ended as HTTP says). `heard` is set with its first.

    Over a bare socket, because client libraries drop what they had read when a connection is aborted.
    """
    with raw(daemon, {**chat_body(model), "stream": True}, receive_bytes=1 << 16) as sock:
        begun = b""
        while heard is not None and b"data: " not in begun:
            part = sock.recv(1 << 16)
            assert part, begun
            begun += part
        if heard is not None:
            heard.set()
        head, _, rest = (begun + all_that_comes(sock)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        if size == b"0":
            return body.splitlines(keepends=True), True
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body.splitlines(keepends=True), False


def begun_then(then: Callable[[web.Request, web.StreamResponse], Awaitable[None]]) -> Handler:
    async def answer(request: web.Request, _body: Body) -> web.StreamResponse:
        response = await opened(request)
        await response.write(chunk("begun"))
        await then(request, response)
        return response

    return answer


def cut_once(heard: threading.Event) -> Handler:
    """Begun, and reset when the client has that: what is still on its way is lost by a reset."""

    async def reset(request: web.Request, _response: web.StreamResponse) -> None:
        assert request.transport is not None
        await asyncio.to_thread(heard.wait, 60)
        request.transport.abort()
        await asyncio.sleep(3600)

    return begun_then(reset)


def assert_broken_off(daemon: Daemon, model: str, code: str, *, heard: threading.Event | None = None) -> None:
    lines, is_whole = lines_of(daemon, model, heard=heard)
    assert not is_whole, "a break never looks like an end"
    assert b"begun" in lines[0]
    events = [json.loads(line[6:]) for line in lines if line.startswith(b"data: ")]
    assert events[-1]["error"]["code"] == code
    assert DONE.strip() not in [line.strip() for line in lines]


def test_a_stream_that_is_reset(near: Daemon, upstream: Upstream, far: str) -> None:
    heard = threading.Event()
    upstream.answer = cut_once(heard)
    assert_broken_off(near, far, "upstream_failed", heard=heard)


def test_a_stream_that_falls_silent(impatient: Daemon, upstream: Upstream) -> None:
    async def hang(_request: web.Request, _response: web.StreamResponse) -> None:
        await asyncio.sleep(3600)

    upstream.answer = begun_then(hang)
    assert_broken_off(impatient, drop(impatient, upstream), "upstream_timeout")
    assert upstream.gone.acquire(timeout=30), "the upstream is told to stop"


def test_a_stream_without_length_or_chunks_that_is_cut(near: Daemon, upstream: Upstream, far: str) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    upstream.answer = says(head + chunk("begun"))
    assert_broken_off(near, far, "upstream_failed")


def test_the_same_with_its_last_event_is_whole(near: Daemon, upstream: Upstream, far: str) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    upstream.answer = says(head + chunk("begun") + DONE)
    lines, is_whole = lines_of(near, far)
    assert is_whole
    assert lines[-2] == DONE.splitlines(keepends=True)[0]


def test_a_stream_that_ends_before_it_begins(near: Daemon, upstream: Upstream, far: str) -> None:
    async def nothing(request: web.Request, _body: Body) -> web.StreamResponse:
        return await opened(request)

    upstream.answer = nothing
    assert fault(near, far, stream=True)[:2] == (502, "upstream_failed")


def test_an_event_without_an_end(near: Daemon, upstream: Upstream, far: str) -> None:
    async def flood(_request: web.Request, response: web.StreamResponse) -> None:
        for _ in range(80):
            await response.write(b"x" * (1 << 20))

    upstream.answer = begun_then(flood)
    assert_broken_off(near, far, "upstream_failed")


def test_a_client_that_leaves_is_seen_upstream(near: Daemon, upstream: Upstream, far: str) -> None:
    async def on_and_on(_request: web.Request, response: web.StreamResponse) -> None:
        while True:
            await response.write(chunk("more "))
            await asyncio.sleep(0.01)

    upstream.answer = begun_then(on_and_on)

    async def leave() -> None:
        async with aiohttp.ClientSession() as session:
            url = f"{near.url}/v1/chat/completions"
            async with session.post(url, json={**chat_body(far), "stream": True}) as response:
                await response.content.readline()

    asyncio.run(leave())
    assert upstream.gone.acquire(timeout=30)


def test_a_client_that_leaves_before_the_answer_is_seen_upstream(
    near: Daemon, upstream: Upstream, far: str
) -> None:
    upstream.answer = slow
    with raw(near, chat_body(far), receive_bytes=1 << 16):
        until(lambda: upstream.calls)
    assert upstream.gone.acquire(timeout=30), "before it gives up by itself"


def test_streams_at_once_over_connections_that_are_kept(near: Daemon, upstream: Upstream, far: str) -> None:
    async def together() -> list[str]:
        async with aiohttp.ClientSession() as session:
            asked = [stream_chat(session, near.url, chat_body(far)) for _ in range(20)]
            return [text_of(chunks) for chunks in await asyncio.gather(*asked)]

    assert asyncio.run(together()) == ["one two three"] * 20
    for _ in range(5):
        ask(near, far)
    assert len({call.peer for call in upstream.calls}) <= 20


def test_stop_ends_a_running_stream_after_its_time(near: Daemon, upstream: Upstream, far: str) -> None:
    """Within `drain_s` it may finish."""
    is_stopping = asyncio.Event()

    async def finish_late(_request: web.Request, response: web.StreamResponse) -> None:
        await asyncio.sleep(1.0)
        await response.write(DONE)

    upstream.answer = begun_then(finish_late)

    async def both() -> tuple[list[dict[str, Any]], Any]:
        async with aiohttp.ClientSession() as session:
            chat = stream_chat(session, near.url, chat_body(far), on_text=is_stopping.set)

            async def stop() -> Any:
                await is_stopping.wait()
                return await asyncio.to_thread(near.call, "PUT", f"/v1/models/{far}/stop")

            chunks, stopped = await asyncio.gather(chat, stop())
            return chunks, stopped

    chunks, (status, model) = asyncio.run(both())
    assert text_of(chunks) == "begun"
    assert (status, model["state"]) == (200, "stopped")


def test_trouble_in_the_middle_shows_in_the_model_s_health(
    near: Daemon, upstream: Upstream, far: str
) -> None:
    heard = threading.Event()
    upstream.answer = cut_once(heard)
    lines_of(near, far, heard=heard)
    assert (near.model(far) or {})["last_error"]["code"] == "upstream_failed"
    upstream.answer = plain
    lines_of(near, far)
    assert "last_error" not in (near.model(far) or {})


def test_a_model_that_leads_back_here_is_refused_at_the_first_turn(near: Daemon) -> None:
    near.drop("loop", manifest(near.url, key=None, **{"MODEL-NAME": "loop"}))
    near.wait_state("loop", "running")
    status, code, message = fault(near, "loop")
    assert (status, code) == (508, "loop_detected")
    assert "loop leads back to this janagent" in message
    assert near.call("DELETE", "/v1/models/loop")[0] == 200


def test_a_stop_ends_what_does_not_end_by_itself(tmp_path: Path) -> None:
    """A request that waits for its head, and a stream, both beyond `drain_s`."""
    is_streaming = threading.Event()

    async def hang(_request: web.Request, _response: web.StreamResponse) -> None:
        is_streaming.set()
        await asyncio.sleep(3600)

    streams = begun_then(hang)

    async def either(request: web.Request, body: Body) -> web.StreamResponse:
        return await (streams if body.get("stream") else slow)(request, body)

    with Upstream() as upstream, Daemon(tmp_path, env={"TEST_KEY": KEY}, drain_s=1) as daemon:
        upstream.answer = either
        model = drop(daemon, upstream)
        with ThreadPoolExecutor() as pool:
            stream = pool.submit(lines_of, daemon, model)
            whole = pool.submit(fault, daemon, model)
            assert is_streaming.wait(60)
            until(lambda: len(upstream.calls) == 2)
            status, stopped = daemon.call("PUT", f"/v1/models/{model}/stop")
            assert (status, stopped["state"]) == (200, "stopped")
            assert whole.result(60)[:2] == (409, "model_stopped")
            lines, is_whole = stream.result(60)
        assert not is_whole
        assert b"model_stopped" in lines[-2]
        for _ in range(2):
            assert upstream.gone.acquire(timeout=30)
