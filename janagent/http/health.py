"""Is it alive, what is it doing, stop it or its downloads: `/v1/health`, `/metrics`, `/v1/downloads/...`,
`POST /v1/shutdown`. Wakes no model.
"""

from aiohttp import web

from janagent import __version__
from janagent.http.context import API, HAS_KEY
from janagent.http.jsonbody import encode
from janagent.http.metrics import CONTENT_TYPE


async def health(request: web.Request) -> web.Response:
    """`GET /v1/health`; without a needed key only that it is alive."""
    runtime = request.app[API].runtime
    body: dict[str, object] = {"status": "ok"}
    if request[HAS_KEY]:
        body |= {"version": __version__, "counts": runtime.counts(), "machine": runtime.machine()}
    return web.Response(body=encode(body), content_type="application/json")


async def metrics(request: web.Request) -> web.Response:
    """`GET /metrics`."""
    api = request.app[API]
    text = api.metrics.text(api.runtime)
    return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})


async def pause_downloads(request: web.Request) -> web.Response:
    """`PUT /v1/downloads/pause`."""
    return _paused(request, is_paused=True)


async def resume_downloads(request: web.Request) -> web.Response:
    """`PUT /v1/downloads/resume`."""
    return _paused(request, is_paused=False)


def _paused(request: web.Request, *, is_paused: bool) -> web.Response:
    runtime = request.app[API].runtime
    runtime.pause_downloads(is_paused)
    return web.Response(body=encode(runtime.machine()), content_type="application/json")


async def shutdown(request: web.Request) -> web.Response:
    """`POST /v1/shutdown`: an orderly stop begins once this is answered."""
    request.app[API].runtime.shutdown_wanted.set()
    return web.Response(status=202, body=encode({"status": "stopping"}), content_type="application/json")
