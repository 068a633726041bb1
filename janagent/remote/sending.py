"""Gets one request to an upstream: connections, proxies, redirects, and what may be tried again.

aiohttp does the HTTP. Tried again is only what the upstream cannot have begun to work on; redirects are
followed within the origin alone, because the key goes along. Neighbours: `client` (what is sent and what
becomes of the answer), `network` (proxies).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
from yarl import URL

from janagent.network import BadEnvironment, proxy_for
from janagent.remote import faults
from janagent.upstream import EngineLost

CONNECT_LIMIT_S: Final = 10.0
_LARGE_BYTES: Final = 1 << 20
_MAX_REDIRECTS: Final = 3
_SAME_METHOD: Final = frozenset({307, 308})
_CONNECT_AGAIN_S: Final = (0.2, 0.4, 0.8)
_STALE_S: Final = 0.5
"""A kept connection that was closed shows it at once; later the upstream may have begun to work."""
_PIECE_BYTES: Final = 64 << 10
_PROXY_KEPT_S: Final = 30.0


@dataclass(slots=True)
class Trip:
    """What happened to one request on the way; aiohttp's tracing fills it in."""

    is_reused: bool = False
    """It went out on a connection that was kept from an earlier one."""


def tracing() -> aiohttp.TraceConfig:
    """Tells each `Trip` whether it went out on a connection that had been kept."""

    async def reused(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: Any) -> None:
        trip: Trip = context.trace_request_ctx
        trip.is_reused = True

    config = aiohttp.TraceConfig()
    config.on_connection_reuseconn.append(reused)
    return config


class Sender:
    """Requests to one origin, called `host` in messages, which may be silent for `stall_s`. The session must
    have been made with `tracing`."""

    def __init__(self, session: aiohttp.ClientSession, *, host: str, stall_s: float) -> None:
        self._session = session
        self._host = host
        self._stall_s = stall_s
        self._proxies: dict[URL, tuple[URL | None, float]] = {}

    async def send(
        self, url: URL, data: bytes, headers: Mapping[str, str], *, scrubbed: Callable[[str], str]
    ) -> aiohttp.ClientResponse:
        """Returns once the head is there. `scrubbed` takes secrets out of what an error repeats.

        Raises EngineLost, and what aiohttp raises.
        """
        origin = url.origin()
        for _ in range(_MAX_REDIRECTS + 1):
            response = await self._post(url, data, headers)
            if response.status == faults.PROXY_WANTS_PASSWORD:  # of a tunnel aiohttp raises it itself
                response.release()
                raise faults.refused_by_proxy(self._host, response.status)
            if not 300 <= response.status < 400:
                return response
            location = response.headers.get("Location", "")
            response.release()
            try:
                target = url.join(URL(location, encoded=True))
                is_ours = target.origin() == origin
            except ValueError:
                is_ours = False
            if not (is_ours and location and response.status in _SAME_METHOD):
                raise faults.redirected(self._host, scrubbed(location))
            url = target
        raise faults.redirected(self._host, scrubbed(str(url)))

    async def _post(self, url: URL, data: bytes, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """Send it, again if the upstream cannot have begun to work on it: no connection came about, or one
        that had been kept was closed by the other side in the moment of asking, as HTTP allows."""
        pauses_s = list(_CONNECT_AGAIN_S)
        may_be_stale = True
        while True:
            trip, asked_at = Trip(), time.monotonic()
            try:
                return await self._post_once(url, data, headers, trip)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                is_stale = trip.is_reused and time.monotonic() - asked_at < _STALE_S
                if is_stale and may_be_stale:
                    may_be_stale = False
                elif _is_connecting(error) and pauses_s:
                    await asyncio.sleep(pauses_s.pop(0))
                else:
                    raise

    async def _post_once(
        self, url: URL, data: bytes, headers: Mapping[str, str], trip: Trip
    ) -> aiohttp.ClientResponse:
        async with asyncio.timeout(None) as sending:
            return await self._session.post(
                url,
                data=data if len(data) <= _LARGE_BYTES else self._pieces(data, sending),
                headers={**headers, "Content-Length": str(len(data))},
                allow_redirects=False,
                proxy=self._proxy(url),
                trace_request_ctx=trip,
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    connect=2 * CONNECT_LIMIT_S,  # the name, the proxy and TLS too
                    sock_connect=CONNECT_LIMIT_S,
                    sock_read=self._stall_s,
                ),
            )

    async def _pieces(self, data: bytes, sending: asyncio.Timeout) -> AsyncIterator[bytes]:
        """A large body, of which the upstream must take the next part in time."""
        loop = asyncio.get_running_loop()
        for at in range(0, len(data), _PIECE_BYTES):
            sending.reschedule(loop.time() + self._stall_s)
            yield data[at : at + _PIECE_BYTES]
        sending.reschedule(None)

    def _proxy(self, url: URL) -> URL | None:
        """Remembered for a while, because some systems look the host up to tell."""
        origin, now = url.origin(), time.monotonic()
        proxy, until = self._proxies.get(origin, (None, 0.0))
        if now >= until:
            try:
                proxy = proxy_for(url)
            except BadEnvironment as error:
                raise EngineLost(str(error), code=faults.UNREACHABLE) from error
            self._proxies[origin] = (proxy, now + _PROXY_KEPT_S)
        return proxy


def _is_connecting(error: Exception) -> bool:
    """No connection came about, and another try may help: neither a name nor a certificate is at fault."""
    hopeless = (aiohttp.ClientConnectorDNSError, aiohttp.ClientSSLError, aiohttp.ClientProxyConnectionError)
    return isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, hopeless)
