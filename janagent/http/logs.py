"""`GET /v1/models/{id}/logs`: the last lines of a model's engines as text, and on request those to come."""

from aiohttp import web

from janagent.http.context import API
from janagent.http.streams import StallGuard

HEADERS = {
    "Content-Type": "text/plain; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


async def answer_logs(request: web.Request, key: str, *, is_followed: bool) -> web.StreamResponse:
    """What is kept; followed, it goes on until the client leaves or the model does."""
    api = request.app[API]
    ring = api.runtime.logs(key)
    if not is_followed or request.method == "HEAD":
        return web.Response(body=ring.text().encode("utf-8", "replace"), headers=HEADERS)
    response = web.StreamResponse(headers=HEADERS)
    writer = await response.prepare(request)
    assert writer is not None
    with StallGuard(request, writer, limit_s=api.limits.stall_s):
        async with api.streams.until_stop():
            async for line in ring.follow():
                await response.write(line.text.encode("utf-8", "replace") + b"\n")
        await response.write_eof()
    return response
