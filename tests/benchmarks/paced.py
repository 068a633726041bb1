"""A remote API whose pace is known: streams `max_tokens` tokens, so many a second. A program of its own.

    python -m tests.benchmarks.paced TOKENS_PER_S      (0: as fast as they are taken)

Its events are as OpenAI's, ready-made but for the number, so that it costs the machine little.
"""

import asyncio
import sys

import uvloop
from aiohttp import web

HEAD = (
    b'data: {"id":"chatcmpl-0123456789abcdef","object":"chat.completion.chunk","created":1700000000,'
    b'"model":"paced","system_fingerprint":"fp_0123456789","choices":[{"index":0,"delta":{"content":" word'
)
TAIL = b'"},"logprobs":null,"finish_reason":null}]}\n\n'
END = (
    b'data: {"id":"chatcmpl-0123456789abcdef","object":"chat.completion.chunk","created":1700000000,'
    b'"model":"paced","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"id":"chatcmpl-0123456789abcdef","object":"chat.completion.chunk","created":1700000000,'
    b'"model":"paced","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":%d,"total_tokens":%d}}\n\n'
    b"data: [DONE]\n\n"
)


def make_app(tokens_per_s: float) -> web.Application:
    """Answers `POST /v1/chat/completions`."""

    async def chat(request: web.Request) -> web.StreamResponse:
        count = int((await request.json())["max_tokens"])
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for number in range(count):
            if tokens_per_s and (ahead_s := begun + number / tokens_per_s - loop.time()) > 0:
                await asyncio.sleep(ahead_s)
            await response.write(HEAD + str(number).encode() + TAIL)
        await response.write(END % (count, count + 1))
        await response.write_eof()
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    return app


async def serve(tokens_per_s: float) -> None:
    """Until it is ended."""
    runner = web.AppRunner(make_app(tokens_per_s), access_log=None, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    print(f"ready on http://127.0.0.1:{port}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(float(sys.argv[1])))
