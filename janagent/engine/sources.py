"""The bytes of a picture or sound: out of a `data:` URL, or fetched where the settings allow it.

Owns what may be fetched: http and https only, up to a size, and no address of this machine's or its network's
own unless allowed. That is asked of the address that is really connected to, so neither a name that points
inwards nor a redirect gets around it. Must not know what the bytes mean. Neighbours: `parts`, `encoder`.
"""

import asyncio
import base64
import binascii
import ipaddress
import re
import socket
import ssl
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import aiohttp

from janagent.children.wire import MediaRules
from janagent.engine.faults import RequestError
from janagent.engine.parts import Kind, Medium
from janagent.network import BadEnvironment, client_tls

_DATA = re.compile(r"data:([^,]*?)(;base64)?,", re.IGNORECASE)
_TIMEOUT_S = 30.0
_MOST_REDIRECTS = 3
_CHUNK_BYTES = 1 << 16
#: texts longer than this are decoded beside the loop, so that running streams are not held up
_LARGE_CHARS = 1 << 18
#: networks whose addresses stand for an IPv4 address in their last bits (RFC 6052)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class _Private(OSError):
    """A connection to an address that nobody from outside could reach."""


async def read_source(medium: Medium, rules: MediaRules, *, param: str) -> bytes:
    """The bytes of `medium`, at most `rules.max_bytes`. Raises RequestError naming `param`."""
    param = f"{param}.{medium.field}"
    found = _DATA.match(medium.source)
    if found is not None:
        data = medium.source[found.end() :]
        if found[2]:
            return await _decoded(data, rules, param=param)
        return _fitting(unquote_to_bytes(data), rules, param=param)
    if medium.kind is Kind.SOUND:
        return await _decoded(medium.source, rules, param=param)
    scheme = medium.source.partition(":")[0].lower()
    if scheme not in ("http", "https"):
        raise _bad("must be a data: URL, or an http or https one", param)
    if not rules.urls:
        raise _bad(
            "this server fetches no pictures; send it as a data: URL, or switch picture_urls on", param
        )
    return await _fetched(medium.source, rules, param=param)


async def _decoded(text: str, rules: MediaRules, *, param: str) -> bytes:
    try:
        data = await asyncio.to_thread(_unpacked, text) if len(text) > _LARGE_CHARS else _unpacked(text)
    except (binascii.Error, ValueError) as error:
        raise _bad(f"is not valid base64: {error}", param) from None
    return _fitting(data, rules, param=param)


def _unpacked(text: str) -> bytes:
    """As people write base64: in lines, without the padding, escaped for a URL."""
    if "%" in text:
        text = unquote_to_bytes(text).decode("latin-1")
    text = "".join(text.split())
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


async def _fetched(url: str, rules: MediaRules, *, param: str) -> bytes:
    """GET `url`, each connection of which has to lead where it may."""
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    if not host:
        raise _bad("is not a URL", param)
    refused: list[str] = []

    def connecting(info: Any) -> socket.socket:
        family, kind, protocol, _, address = info
        if not rules.private_urls and not is_public(address[0]):
            refused.append(address[0])
            raise _Private(f"{address[0]} is not a public address")
        return socket.socket(family, kind, protocol)

    try:
        tls = await _tls()
        connector = aiohttp.TCPConnector(ssl=tls, socket_factory=connecting, force_close=True)
        # Not unpacked: a small answer could be an endless one.
        async with (
            aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"User-Agent": "janagent", "Accept": "image/*", "Accept-Encoding": "identity"},
            ) as session,
            session.get(url, max_redirects=_MOST_REDIRECTS) as response,
        ):
            if response.status != 200:
                raise _bad(f"{host} answered with status {response.status}", param)
            return await _read(response, rules, param=param)
    except (aiohttp.ClientError, OSError, ValueError, BadEnvironment) as error:
        if refused:
            words = "leads to an address of this machine or its network, which is not allowed"
            raise _bad(f"{words} (picture_urls_private)", param) from error
        if isinstance(error, TimeoutError):
            raise _bad(f"{host} took longer than {_TIMEOUT_S:.0f} s", param) from error
        raise _bad(f"cannot be fetched from {host}: {_reason(error)}", param) from error


async def _read(response: aiohttp.ClientResponse, rules: MediaRules, *, param: str) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        data += chunk
        if len(data) > rules.max_bytes:
            raise _too_large(rules, param)
    return bytes(data)


async def _tls() -> ssl.SSLContext:
    """Made once."""
    global _context  # noqa: PLW0603 - reading the authorities takes tens of milliseconds
    if _context is None:
        _context = await asyncio.to_thread(client_tls)
    return _context


_context: ssl.SSLContext | None = None


def is_public(text: str) -> bool:
    """Whether an IP address is one that anybody could reach, also when it wraps an IPv4 address."""
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            address = inner
    return address.is_global and not address.is_multicast


def _reason(error: Exception) -> str:
    """Short, and without what a URL may hold of secrets."""
    if isinstance(error, aiohttp.TooManyRedirects):
        return "too many redirects"
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or "no connection"
    return type(error).__name__ if not isinstance(error, OSError) else error.strerror or "no connection"


def _fitting(data: bytes, rules: MediaRules, *, param: str) -> bytes:
    if len(data) > rules.max_bytes:
        raise _too_large(rules, param)
    return data


def _too_large(rules: MediaRules, param: str) -> RequestError:
    return _bad(f"is larger than {rules.max_bytes} bytes (max_picture_bytes)", param)


def _bad(words: str, param: str) -> RequestError:
    return RequestError(f"{param}: {words}", param=param, code="invalid_image_url")
