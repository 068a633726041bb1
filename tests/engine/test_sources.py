"""Where pictures come from: data URLs, and addresses that may or may not be asked."""

import base64
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from janagent.children.wire import MediaRules
from janagent.engine import sources
from janagent.engine.faults import RequestError
from janagent.engine.parts import Kind, Medium
from janagent.engine.sources import is_public, read_source

DATA = b"bytes of a picture"
CLOSED = MediaRules(max_bytes=1000)
OPEN = MediaRules(urls=True, max_bytes=1000)
INSIDE = MediaRules(urls=True, private_urls=True, max_bytes=1000)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def read(source: str, rules: MediaRules = CLOSED, kind: Kind = Kind.PICTURE) -> bytes:
    field = "image_url" if kind is Kind.PICTURE else "input_audio"
    return await read_source(Medium(kind, source, field), rules, param="messages[0].content[1]")


async def fault(source: str, rules: MediaRules = CLOSED, kind: Kind = Kind.PICTURE) -> str:
    with pytest.raises(RequestError) as caught:
        await read(source, rules, kind)
    assert (caught.value.status, caught.value.code) == (400, "invalid_image_url")
    assert (caught.value.param or "").startswith("messages[0].content[1].")
    return caught.value.message


def encoded(data: bytes = DATA) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    "url",
    [
        f"data:image/png;base64,{encoded()}",
        f"data:;base64,{encoded()}",
        f"DATA:image/png;charset=x;BASE64,{encoded().rstrip('=')}",
        f"data:image/png;base64,{encoded()[:5]}\n{encoded()[5:]}\r\n",
        f"data:image/png;base64,{encoded().replace('=', '%3D')}",
        "data:text/plain,bytes%20of a picture",
    ],
)
async def test_data_urls_are_read_as_people_write_them(url: str):
    assert await read(url) == DATA


async def test_a_sound_is_base64_or_a_data_url():
    assert await read(encoded(), kind=Kind.SOUND) == DATA
    assert await read(f"data:audio/wav;base64,{encoded()}", kind=Kind.SOUND) == DATA
    assert "not valid base64" in await fault("$$$", kind=Kind.SOUND)


@pytest.mark.parametrize("url", ["", "cat.png", "file:///etc/passwd", "ftp://h/x", "data:image/png"])
async def test_nothing_else_is_a_source(url: str):
    assert "must be a data: URL, or an http or https one" in await fault(url, INSIDE)


async def test_base64_that_is_none_is_refused():
    assert "not valid base64" in await fault("data:image/png;base64,ab$d")


async def test_nothing_is_larger_than_allowed():
    for url in (f"data:;base64,{encoded(bytes(1001))}", "data:," + "x" * 1001):
        assert "larger than 1000 bytes (max_picture_bytes)" in await fault(url)
    assert len(await read(f"data:;base64,{encoded(bytes(1000))}")) == 1000


async def test_nothing_is_fetched_unless_allowed():
    assert "picture_urls" in await fault("http://127.0.0.1:1/x")


# -- over HTTP


async def picture(_request: web.Request) -> web.Response:
    return web.Response(body=DATA)


async def large(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(10_000):
        await response.write(bytes(1000))
    return response


async def zipped(_request: web.Request) -> web.Response:
    response = web.Response(body=bytes(100_000))
    response.enable_compression(web.ContentCoding.gzip)
    return response


async def elsewhere(request: web.Request) -> web.Response:
    raise web.HTTPFound(request.query["to"])


async def again(_request: web.Request) -> web.Response:
    raise web.HTTPFound("/again")


async def lost(_request: web.Request) -> web.Response:
    raise web.HTTPNotFound


@pytest.fixture
async def served() -> AsyncIterator[TestServer]:
    app = web.Application()
    for handler in (picture, large, zipped, elsewhere, again, lost):
        app.router.add_get(f"/{handler.__name__}", handler)
    async with TestServer(app, host="0.0.0.0") as server:
        yield server


def at(server: TestServer, path: str, host: str = "127.0.0.1") -> str:
    return f"http://{host}:{server.port}/{path}"


async def test_a_picture_is_fetched_where_that_is_allowed(served: TestServer):
    assert await read(at(served, "picture"), INSIDE) == DATA
    assert await read(at(served, "elsewhere?to=/picture"), INSIDE) == DATA


async def test_faults_of_the_other_side_are_told(served: TestServer):
    assert "answered with status 404" in await fault(at(served, "lost"), INSIDE)
    assert "larger than 1000 bytes" in await fault(at(served, "large"), INSIDE)
    assert "too many redirects" in await fault(at(served, "again"), INSIDE)
    assert "cannot be fetched from 127.0.0.1" in await fault("http://127.0.0.1:9/x", INSIDE)
    assert "not a URL" in await fault("http://", INSIDE)
    assert "not a URL" in await fault("http://[::1", INSIDE)


async def test_a_zipped_answer_is_not_unpacked(served: TestServer):
    assert len(await read(at(served, "zipped"), INSIDE)) < 1000


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"])
async def test_no_address_of_this_machine_is_asked(served: TestServer, host: str):
    words = await fault(at(served, "picture", host), OPEN)
    assert "picture_urls_private" in words


async def test_a_redirect_does_not_lead_where_nobody_may_go(
    served: TestServer, monkeypatch: pytest.MonkeyPatch
):
    """127.0.0.1 plays the public address here, 127.0.0.2 the private one."""
    monkeypatch.setattr(sources, "is_public", lambda address: address == "127.0.0.1")
    assert await read(at(served, "picture"), OPEN) == DATA
    inside = at(served, "picture", "127.0.0.2")
    assert "picture_urls_private" in await fault(at(served, f"elsewhere?to={inside}"), OPEN)
    assert await read(at(served, f"elsewhere?to={inside}"), INSIDE) == DATA
    assert "cannot be fetched" in await fault(at(served, "elsewhere?to=file:///etc/passwd"), INSIDE)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("2002:7f00:1::", False),
        ("64:ff9b::a00:1", False),
        ("64:ff9b::808:808", True),
    ],
)
def test_public_is_what_anybody_could_reach(address: str, *, expected: bool):
    assert is_public(address) is expected
