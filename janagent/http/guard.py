"""Who may call: the `Host`, `Origin` and `Sec-Fetch-Site` checks, the API key, and CORS for allowed origins.

Owns the rules of contract 3, "Who may call", as pure decisions over headers; the only I/O is asking for
this machine's name when the guard is made. Neighbour: `app` calls `admit` before any handler runs.

Without these checks any web page could talk to a server on loopback: directly, or through a host name of
its own that resolves to 127.0.0.1 (DNS rebinding). Browsers cannot forge `Host`, `Origin` or `Sec-Fetch-*`.
"""

import hmac
import ipaddress
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from janagent.http.errors import ApiError, invalid

PREFLIGHT_AGE_S = 600
EXPOSED_HEADERS = "X-Request-Id, Retry-After"
METHODS = "GET, HEAD, POST, PUT, DELETE"


@dataclass(frozen=True, slots=True)
class Pass:
    """The request may go on."""

    has_key: bool
    """It brought the right key, or none is needed."""
    cors_origin: str | None = None
    """The `Origin` to name in `Access-Control-Allow-Origin`; None without one."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A parsed `Host`: name or address in lower case without brackets, and the port as written."""

    host: str
    port: str


@dataclass(frozen=True, slots=True)
class Guard:
    """The rules for one daemon. Make it with `Guard.of`."""

    api_key: str | None
    hosts: frozenset[str]
    cors_origins: frozenset[str]

    @classmethod
    def of(
        cls, *, api_key: str | None, allowed_hosts: Iterable[str] = (), cors_origins: Iterable[str] = ()
    ) -> "Guard":
        """`allowed_hosts` are names without port; `cors_origins` as browsers write them."""
        return cls(
            api_key=api_key or None,
            hosts=frozenset(host.lower().rstrip(".") for host in allowed_hosts) | machine_names(),
            cors_origins=frozenset(origin.lower() for origin in cors_origins),
        )

    def admit(self, headers: Mapping[str, str], *, is_http_10: bool = False) -> Pass:
        """Check everything but whether a missing key matters. Raises ApiError 400 or 403."""
        has_key = self.has_key(headers)
        authority = self._admit_host(headers.get("Host"), has_key=has_key, is_http_10=is_http_10)
        return Pass(has_key, self._admit_origin(headers, authority))

    def has_key(self, headers: Mapping[str, str]) -> bool:
        """A right key came as `Authorization: Bearer` or `api-key`, or none is needed."""
        if self.api_key is None:
            return True
        scheme, _, bearer = headers.get("Authorization", "").partition(" ")
        found = _same(bearer.strip(), self.api_key) if scheme.lower() == "bearer" else False
        return _same(headers.get("api-key", ""), self.api_key) or found

    def _admit_host(self, value: str | None, *, has_key: bool, is_http_10: bool) -> Authority | None:
        if value is None:
            if is_http_10:
                return None
            raise invalid("The Host header is missing.")
        authority = parse_authority(value)
        if authority is not None and self._is_own(authority.host):
            return authority
        if self.api_key is not None and has_key:
            return authority
        raise ApiError(
            "forbidden_host",
            "This host name is not served here: use localhost or an IP address, or add it to allowed_hosts.",
        )

    def _is_own(self, host: str) -> bool:
        return is_loopback_name(host) or host in self.hosts or is_ip(host)

    def _admit_origin(self, headers: Mapping[str, str], authority: Authority | None) -> str | None:
        origin = headers.get("Origin")
        is_cross_site = headers.get("Sec-Fetch-Site", "").strip().lower() == "cross-site"
        if origin is not None and origin.lower() in self.cors_origins:
            return origin
        if is_cross_site or (origin is not None and not _is_ours(origin, authority)):
            raise ApiError(
                "forbidden_origin",
                "Web pages of other origins may not call this server. Add the page's origin to cors_origins.",
            )
        return origin


def missing_key() -> ApiError:
    """401: the answer to a call without the right key."""
    return ApiError(
        "invalid_api_key",
        "The API key is missing or wrong. Send it as 'Authorization: Bearer KEY' or 'api-key: KEY'.",
        headers={"WWW-Authenticate": 'Bearer realm="janagent"'},
    )


def preflight_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What a browser asks before it sends the real request (Fetch standard, CORS-preflight)."""
    answer = {
        "Access-Control-Allow-Methods": METHODS,
        "Access-Control-Allow-Headers": headers.get(
            "Access-Control-Request-Headers", "authorization, api-key, content-type"
        ),
        "Access-Control-Max-Age": str(PREFLIGHT_AGE_S),
    }
    if headers.get("Access-Control-Request-Private-Network", "").lower() == "true":
        answer["Access-Control-Allow-Private-Network"] = "true"
    return answer


def cors_headers(origin: str) -> dict[str, str]:
    """What every answer to an allowed origin carries."""
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": EXPOSED_HEADERS,
        "Vary": "Origin",
    }


def parse_authority(value: str) -> Authority | None:
    """`host`, `host:port`, `[::1]:port`; None for anything else."""
    text = value.strip().lower()
    try:
        parts = urlsplit("//" + text)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host or parts.netloc != text or "@" in text:
        return None
    return Authority(host.rstrip("."), "" if port is None else str(port))


def is_loopback_name(host: str) -> bool:
    """`localhost` and names below it, which resolvers keep on this machine (RFC 6761, section 6.3)."""
    return host == "localhost" or host.endswith(".localhost")


def is_ip(host: str) -> bool:
    """An IP literal: no name was resolved, so nobody can have rebound it."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def machine_names() -> frozenset[str]:
    """This machine's name, short and as configured, and its multicast DNS name."""
    name = socket.gethostname().lower().rstrip(".")
    short = name.partition(".")[0]
    return frozenset({name, short, f"{short}.local"} - {"", ".local"})


def _is_loopback(host: str) -> bool:
    return is_loopback_name(host) or (is_ip(host) and ipaddress.ip_address(host).is_loopback)


def _is_ours(origin: str, authority: Authority | None) -> bool:
    """The page came from this very server: same host and port, or two loopback names with one port."""
    scheme, separator, rest = origin.strip().lower().partition("://")
    theirs = parse_authority(rest)
    if not separator or scheme not in ("http", "https") or theirs is None or authority is None:
        return False
    default = "443" if scheme == "https" else "80"
    if (theirs.port or default) != (authority.port or default):
        return False
    return theirs.host == authority.host or (_is_loopback(theirs.host) and _is_loopback(authority.host))


def _same(given: str, wanted: str) -> bool:
    """Compared in constant time; as bytes, because `compare_digest` refuses non-ASCII text."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), wanted.encode())
