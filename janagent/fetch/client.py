"""Ranged GET requests: redirects followed by hand, the token shown to the hub alone, refusals put into words.

Knows nothing of files on disk or of retries. Neighbours: `download` asks and judges what a 200 or 206 means,
`transfer` tries again.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp
from yarl import URL

from janagent import __version__
from janagent.fetch.faults import Code, FetchError
from janagent.fetch.plan import RemoteFile
from janagent.fetch.statuses import trouble
from janagent.network import BadEnvironment, proxy_for

READ_BYTES = 512 << 10
MAX_REDIRECTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_EXPIRED = frozenset({401, 403, 404, 410})
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class Auth:
    """The hub's token, and the scheme, host and port that alone may see it (`https://huggingface.co`)."""

    token: str | None = field(default=None, repr=False)
    host: str = ""

    def headers(self, url: URL) -> dict[str, str]:
        """What a request to `url` may carry."""
        if not self.token or not self.host:
            return {}
        hub = URL(self.host)
        is_hub = (hub.scheme, hub.host, hub.port) == (url.scheme, url.host, url.port)
        return {"Authorization": f"Bearer {self.token}"} if is_hub else {}


class Source:
    """Where a file comes from: its own address, and where that led to last time."""

    def __init__(self, file: RemoteFile) -> None:
        """Raises FetchError."""
        try:
            self.url = URL(file.url, encoded=True)
            _ = self.url.port  # raises for one that is out of range
        except ValueError as error:
            words = f"the address of {file.name} is not a URL"
            raise FetchError(Code.BAD_ORIGIN, words, is_permanent=True) from error
        self.name = file.name
        self.is_hub = file.is_hub
        self.target: URL | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's 200 or 206. `total_bytes` is the size of the whole file, where it says so."""

    response: aiohttp.ClientResponse
    is_partial: bool
    start: int
    total_bytes: int | None
    etag: str | None

    async def read(self) -> bytes:
        """The next bytes, empty at the end; of a connection that broke, first what had arrived before.

        aiohttp withholds that as soon as it knows of the break, and a peer that always breaks off early would
        never get us anywhere. Raises what aiohttp raises.
        """
        content = self.response.content
        try:
            return await content.readany()
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            content.set_exception(None)  # type: ignore[arg-type]
            rest = content.read_nowait()
            content.set_exception(error)
            if not rest:
                raise
            return rest


class Client:
    """The connections of one fetcher."""

    def __init__(self, *, auth: Auth, connections: int, stall_s: float) -> None:
        self._auth = auth
        self._connections = connections
        self._stall_s = stall_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Client":
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._stall_s, sock_read=self._stall_s),
            headers={"Accept-Encoding": "identity", "User-Agent": f"janagent/{__version__}"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=READ_BYTES,
            trust_env=False,  # see janagent.network
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    @asynccontextmanager
    async def get(
        self, source: Source, *, start: int, end: int | None, etag: str | None
    ) -> AsyncIterator[Answer]:
        """Ask for the bytes from `start` to `end`, of version `etag` if that is known. Raises FetchError."""
        headers = {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
        if etag is not None and not etag.startswith("W/"):  # RFC 9110, section 13.1.5: strong ones only
            headers["If-Range"] = etag
        with _network_faults(source.url, stall_s=self._stall_s):
            response = await self._follow(source, headers)
            try:
                yield _answer(response, source)
            finally:
                if not response.content.at_eof():
                    response.close()
                response.release()

    async def _follow(self, source: Source, headers: dict[str, str]) -> aiohttp.ClientResponse:
        is_shortcut = source.target is not None
        url = source.target or source.url
        for _ in range(MAX_REDIRECTS):
            response = await self._send(url, headers, is_hub=source.is_hub)
            if response.status in _REDIRECTS and (location := response.headers.get("Location")):
                response.release()
                url = _next(url, location)
                continue
            if is_shortcut and response.status in _EXPIRED:  # a signed address lives for an hour or so
                response.release()
                url, source.target, is_shortcut = source.url, None, False
                continue
            source.target = url if url != source.url else None
            return response
        raise FetchError(Code.SERVER_ERROR, f"{source.url.host} redirects in circles", is_permanent=True)

    async def _send(self, url: URL, headers: dict[str, str], *, is_hub: bool) -> aiohttp.ClientResponse:
        assert self._session is not None
        secret = self._auth.headers(url) if is_hub else {}
        try:
            proxy = proxy_for(url)
        except BadEnvironment as error:
            raise FetchError(Code.NETWORK, str(error), is_permanent=True) from error
        return await self._session.get(url, headers={**headers, **secret}, allow_redirects=False, proxy=proxy)


class _network_faults:
    """Turns the exceptions of a request, and of reading its answer, into FetchErrors."""

    def __init__(self, url: URL, *, stall_s: float) -> None:
        self._host, self._stall_s = url.host, stall_s

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        match error:
            case aiohttp.ClientConnectorDNSError():
                words = f"the host {self._host} cannot be found: is this machine online?"
                raise FetchError(Code.OFFLINE, words) from error
            case asyncio.TimeoutError():
                words = f"{self._host} sent nothing for {self._stall_s:g} s"
                raise FetchError(Code.STALLED, words) from error
            case aiohttp.InvalidURL():
                raise FetchError(Code.BAD_ORIGIN, "the address is not a URL", is_permanent=True) from error
            case aiohttp.ClientError() | ConnectionError():
                words = f"the connection to {self._host} broke ({type(error).__name__})"
                raise FetchError(Code.NETWORK, words) from error


def _next(url: URL, location: str) -> URL:
    try:
        target = url.join(URL(location, encoded=True))
        _ = target.port
    except ValueError as error:
        words = f"{url.host} redirects to what is not an address"
        raise FetchError(Code.SERVER_ERROR, words, is_permanent=True) from error
    if target.scheme not in ("http", "https") or (url.scheme, target.scheme) == ("https", "http"):
        words = f"{url.host} redirects to an address that is not safe ({target.scheme}://{target.host})"
        raise FetchError(Code.SERVER_ERROR, words, is_permanent=True)
    return target


def _answer(response: aiohttp.ClientResponse, source: Source) -> Answer:
    headers = response.headers
    etag = headers.get("ETag") or headers.get("Last-Modified")
    if headers.get("Content-Encoding", "identity") != "identity":
        raise FetchError(Code.SERVER_ERROR, f"{response.url.host} alters the file", is_permanent=True)
    if response.status == HTTPStatus.OK:
        return Answer(response, False, 0, response.content_length, etag)
    if response.status == HTTPStatus.PARTIAL_CONTENT:
        match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        if match is None or match[1] is None:
            raise FetchError(Code.SERVER_ERROR, f"{response.url.host} does not say which part it sends")
        return Answer(response, True, int(match[1]), None if match[3] == "*" else int(match[3]), etag)
    raise refusal(response, source)


def refusal(response: aiohttp.ClientResponse, source: Source) -> FetchError:
    """What a status other than 200 and 206 means."""
    status, host, name = response.status, response.url.host, source.name
    told = response.headers.get("X-Error-Code", "")
    page = str(source.url.with_query(None)).partition("/resolve/")[0]
    if status == 416 and response.headers.get("Content-Range", "").endswith("/0"):
        return FetchError(Code.NOT_A_MODEL, f"{name}, as {host} sends it, is empty", is_permanent=True)
    if status == 416:
        return FetchError(Code.CHANGED, f"{name} on {host} is shorter than it was")
    if (passing := trouble(status, response.headers, host=str(host))) is not None:
        return passing
    if source.is_hub and response.url.origin() != source.url.origin() and status in (401, 403, 407):
        words = f"{host}, where the hub keeps {name}, does not give it now ({status})"
        return FetchError(Code.SERVER_ERROR, words)  # a signature or a network, nothing about the repo
    if told == "GatedRepo" or (status == 403 and source.is_hub):
        words = f"{page} is gated: accept its terms there, and set HF_TOKEN to a token of that account"
        return FetchError(Code.GATED, words, is_permanent=True)
    if status in (401, 403, 407):
        words = f"{host} does not give {name} to everybody ({status})"
        words += ": set HF_TOKEN to a token that may read it" if source.is_hub else ""
        return FetchError(Code.UNAUTHORIZED, words, is_permanent=True)
    if told == "RepoNotFound":
        return FetchError(Code.REPO_NOT_FOUND, f"there is no {page}", is_permanent=True)
    if status in (404, 410):
        words = f"{host} has no file {name} ({status})"
        return FetchError(Code.FILE_NOT_FOUND, words, is_permanent=True, name=name)
    return FetchError(Code.SERVER_ERROR, f"{host} refuses {name} ({status})", is_permanent=True)
