"""A remote API for tests: OpenAI's and Azure's shapes on loopback, and whatever misbehaviour a test wants."""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.threaded import Threaded

Body = dict[str, Any]
Handler = Callable[[web.Request, Body], Awaitable[web.StreamResponse]]
KEY = "sk-test-Xy7Zw9Qv3Rt5"
"""What the upstream wants to see, and nobody else may."""


@dataclass(frozen=True)
class Call:
    """One request, as it came."""

    path: str
    raw_path: str
    """With its query, as it came over the wire."""
    query: dict[str, str]
    headers: dict[str, str]
    body: Body
    peer: Any = field(repr=False)
    """Address and port of the other end: the same again means a kept connection."""


class Upstream(Threaded):
    """A context manager. `calls` holds what came; `answer` may be replaced by a test's own handler."""

    def __init__(
        self,
        *,
        key: str | None = None,
        tls: ssl.SSLContext | None = None,
        prefix: str = "",
        sock: socket.socket | None = None,
    ) -> None:
        """`sock` is bound, instead of a free port."""
        super().__init__()
        self.key = key
        self.calls: list[Call] = []
        self.answer: Handler = plain
        self.gone = threading.Semaphore(0)
        """Released for each request whose client left before the end."""
        self._tls = tls
        self._prefix = prefix
        self._sock = sock
        self.port = 0

    @property
    def url(self) -> str:
        """Its base, without a version."""
        return f"{'https' if self._tls else 'http'}://localhost:{self.port}{self._prefix}"

    @property
    def last(self) -> Call:
        return self.calls[-1]

    async def stop(self) -> None:
        """No more answers."""
        await self._runner.cleanup()

    async def start(self) -> None:
        """On the bound socket, or on a free port."""
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        sock = self._sock or socket.create_server(("127.0.0.1", 0))
        self.port = sock.getsockname()[1]
        await web.SockSite(self._runner, sock, ssl_context=self._tls).start()

    def refusal(
        self, _path: str, _query: Mapping[str, str], headers: Mapping[str, str]
    ) -> web.Response | None:
        """The answer to who has no business here, None for others."""
        if self.key in (None, shown(headers), headers.get("api-key")):
            return None
        return error(401, f"Incorrect API key provided: {shown(headers)}.", code="invalid_api_key")

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read() or b"null")
        assert request.transport is not None
        peer = request.transport.get_extra_info("peername")
        call = Call(request.path, request.raw_path, dict(request.query), dict(request.headers), body, peer)
        self.calls.append(call)
        if (refused := self.refusal(call.path, call.query, call.headers)) is not None:
            return refused
        try:
            return await self.answer(request, body)
        except (asyncio.CancelledError, ConnectionError):
            self.gone.release()
            raise


def shown(headers: Mapping[str, str]) -> str:
    """The key of a Bearer header."""
    return headers.get("Authorization", "").removeprefix("Bearer ")


def error(status: int, message: str, *, code: str | None = None, **headers: str) -> web.Response:
    """An error in OpenAI's shape."""
    kind = "invalid_request_error"
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return web.json_response(
        body, status=status, headers={n.replace("_", "-"): v for n, v in headers.items()}
    )


def chat(content: str = "Hello!", *, model: str = "gpt-up") -> Body:
    """A chat answer."""
    message = {"role": "assistant", "content": content}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }


def chunk(content: str, *, model: str = "gpt-up", **more: Any) -> bytes:
    """One event of a streamed chat, as OpenAI writes them."""
    delta = {"content": content}
    event = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": None}],
        **more,
    }
    return b"data: " + json.dumps(event).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


async def opened(request: web.Request, **headers: str) -> web.StreamResponse:
    """An event stream that has begun."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **headers})
    await response.prepare(request)
    return response


async def plain(request: web.Request, body: Body) -> web.StreamResponse:
    """A well-behaved answer for each endpoint."""
    model = body.get("model", "gpt-up")
    if request.path.endswith("/embeddings"):
        inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
        data = [{"object": "embedding", "index": n, "embedding": [0.25, -1e-07]} for n in range(len(inputs))]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return web.json_response({"object": "list", "data": data, "model": model, "usage": usage})
    if request.path.endswith("/rerank"):
        results = [{"index": n, "relevance_score": 1 / (n + 1)} for n in range(len(body["documents"]))]
        return web.json_response({"model": model, "results": results, "usage": {"total_tokens": 9}})
    if not request.path.endswith("/completions"):
        return error(404, f"Invalid URL ({request.method} {request.path})")
    if not body.get("stream"):
        return web.json_response(chat(model=model))
    response = await opened(request)
    for word in ("one ", "two ", "three"):
        await response.write(chunk(word, model=model))
    await response.write(DONE)
    return response
