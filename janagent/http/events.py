"""`GET /v1/events`: what changes, as server-sent events (contract 3). Reading them wakes no model.

Owns the wire form. What changed comes from `feed`, whose queue per listener is bounded: one that falls
behind gets a fresh snapshot, which says the same as the changes it missed.
"""

import asyncio
import itertools
from collections.abc import Iterable
from typing import assert_never

from aiohttp import web

from janagent.feed import Change, Closed, MachineChanged, ModelChanged, ModelRemoved, Overflow, Subscription
from janagent.http.context import API, Api
from janagent.http.jsonbody import encode
from janagent.http.objects import joined
from janagent.http.streams import StallGuard

HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}
_ids = itertools.count(1)
"""One count for the whole daemon, so that ids grow over reconnects too."""


async def events(request: web.Request) -> web.StreamResponse:
    """A snapshot, then every change, a comment when nothing else was sent for a while."""
    api = request.app[API]
    response = web.StreamResponse(headers=HEADERS)
    with api.runtime.subscribe() as changes:
        writer = await response.prepare(request)
        assert writer is not None
        with StallGuard(request, writer, limit_s=api.limits.stall_s):
            async with api.streams.until_stop():
                for piece in _snapshot(api):
                    await response.write(piece)
                while (pieces := await _next(api, changes)) is not None:
                    for piece in pieces:
                        await response.write(piece)
            await response.write_eof()
    return response


async def _next(api: Api, changes: Subscription) -> Iterable[bytes] | None:
    try:
        async with asyncio.timeout(api.limits.heartbeat_s):
            change = await changes.get()
    except TimeoutError:
        return (b": still here\n\n",)
    return _text(api, change)


def _text(api: Api, change: Change) -> Iterable[bytes] | None:
    """One event; None when the stream ends."""
    match change:
        case ModelChanged(status=status):
            return _event("model", (api.renderer.render(status),))
        case ModelRemoved(id=model_id):
            return _event("removed", (encode({"id": model_id}),))
        case MachineChanged(machine=machine):
            return _event("machine", (encode(machine),))
        case Overflow():
            return _snapshot(api)
        case Closed():
            return None
        case _:
            assert_never(change)


def _snapshot(api: Api) -> Iterable[bytes]:
    models = [api.renderer.render(status) for status in api.runtime.statuses()]
    after = b'],"machine":' + encode(api.runtime.machine()) + b"}"
    return _event("snapshot", joined(models, before=b'{"models":[', after=after))


def _event(name: str, data: Iterable[bytes]) -> Iterable[bytes]:
    """A small event in one piece, as it goes out in one packet."""
    head = b"id: %d\nevent: %s\ndata: " % (next(_ids), name.encode())
    match data:
        case (body,):
            return (b"%b%b\n\n" % (head, body),)
        case _:
            return itertools.chain((head,), data, (b"\n\n",))
