"""What goes wrong on the way to another machine, in words that say whose fault it is and what to do.

Each is an `EngineLost` with the code the client gets; `http.errors` knows the statuses. No message holds a
key: they are made from the host's name, a status and the system's words.
"""

import asyncio
import json
import os
import re
import socket
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import aiohttp

from janagent.folder.fault import Fault
from janagent.redact import redact_text
from janagent.upstream import EngineLost

KEY_MISSING = "key_missing"
UNREACHABLE = "upstream_unreachable"
TIMEOUT = "upstream_timeout"
FAILED = "upstream_failed"
PROXY_WANTS_PASSWORD = 407
_LONGEST_QUOTE = 300
_UNKNOWN_AUTHORITY = "point SSL_CERT_FILE at the authority that signed it"
_WRONG_NAME, _WRONG_TIME = "origin must have a name that it is for", "is this machine's clock right?"
_CERTIFICATE_HINTS = {9: _WRONG_TIME, 10: _WRONG_TIME, 62: _WRONG_NAME, 64: _WRONG_NAME}
"""By OpenSSL's X509_V_ERR_ numbers: not yet valid, expired, another host name, another IP address."""
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES = {401: "upstream_auth", 403: "upstream_auth", 404: "upstream_not_found", 429: "upstream_limit"}
_TAGS = re.compile(r"<(?:script|style).*?</(?:script|style)>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_HEALTH = frozenset({401, 402, 403, 404, 408, 429})
"""Statuses that tell of the upstream, and not of the one request (5xx do too)."""


def lost(error: BaseException, *, host: str, stall_s: float, has_begun: bool) -> EngineLost:
    """What a network error means; `has_begun`: part of the answer is there already."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return EngineLost(f"the host {host} cannot be found: is this machine online?", code=UNREACHABLE)
        case aiohttp.ClientConnectorCertificateError():
            words = f"the certificate of {host} is not trusted ({_reason(error.certificate_error)})"
            code = getattr(error.certificate_error, "verify_code", 0)
            return EngineLost(
                f"{words}: {_CERTIFICATE_HINTS.get(code, _UNKNOWN_AUTHORITY)}", code=UNREACHABLE
            )
        case aiohttp.ClientSSLError():
            words = f"{host} does not speak TLS as it should ({_reason(error.os_error)}): is it http?"
            return EngineLost(words, code=UNREACHABLE)
        case aiohttp.ClientHttpProxyError():
            return refused_by_proxy(host, error.status)
        case aiohttp.ClientProxyConnectionError():
            words = f"the proxy on the way to {host} cannot be reached ({_reason(error.os_error)})"
            return EngineLost(words, code=UNREACHABLE)
        case aiohttp.ConnectionTimeoutError():
            return EngineLost(f"{host} takes no connections: it did not answer in time", code=TIMEOUT)
        case asyncio.TimeoutError():
            return EngineLost(f"{host} sent nothing for {stall_s:g} s", code=TIMEOUT)
        case aiohttp.ClientConnectorError():
            words = f"{host} cannot be reached ({_reason(error.os_error)})"
            return EngineLost(words, code=UNREACHABLE)
        case aiohttp.ClientResponseError():
            return EngineLost(f"{host} does not speak HTTP as it should: is origin right?", code=FAILED)
    when = "before the answer was complete" if has_begun else "before it answered"
    return EngineLost(f"{host} closed the connection {when}", code=FAILED)


def _reason(error: BaseException | None) -> str:
    """The system's words without numbers and file names of its own sources."""
    if isinstance(error, socket.gaierror):
        return str(error.strerror)
    message = getattr(error, "verify_message", None) or getattr(error, "reason", None)
    if message:
        return str(message).replace("_", " ").lower().rstrip(".")
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return type(error).__name__


def refused_by_proxy(host: str, status: int) -> EngineLost:
    """The upstream has not been asked."""
    hint = ": does its address hold the right user and password?" if status == PROXY_WANTS_PASSWORD else ""
    return EngineLost(f"the proxy on the way to {host} refuses ({status}){hint}", code=UNREACHABLE)


def redirected(host: str, location: str) -> EngineLost:
    """A redirect that is not followed."""
    where = redact_text(location[:_LONGEST_QUOTE]) or "nowhere"
    return EngineLost(f"{host} sends us on to {where}; if that is right, make it the origin", code=FAILED)


def no_json(host: str, status: int, content_type: str) -> EngineLost:
    """A 200 with something else than JSON in it."""
    words = f"{host} answered {status} with {content_type or 'something'} instead of JSON: is origin right?"
    return EngineLost(words, code=FAILED)


def error_of(body: bytes) -> Any:
    """The `error` of an answer in OpenAI's shape, None if it has none."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value.get("error") if isinstance(value, Mapping) else None


def in_shape(status: int, body: bytes, *, host: str) -> bytes:
    """An error's body as a client of OpenAI's can read it: as it is, if it has that shape."""
    if isinstance(error_of(body), Mapping):
        return body
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    code = _CODES.get(status, FAILED)
    error = {"message": words_of(status, body, host=host), "type": kind, "param": None, "code": code}
    return json.dumps({"error": error}, ensure_ascii=False).encode()


def words_of(status: int, body: bytes, *, host: str) -> str:
    """What an error status says, with as much of the upstream's own words as fits."""
    try:
        phrase = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = str(status)
    error = error_of(body)
    told = error.get("message") if isinstance(error, Mapping) else error
    if not isinstance(told, str):
        told = _TAGS.sub(" ", body[: 16 << 10].decode("utf-8", "replace"))
    told = redact_text(" ".join(told.split())[:_LONGEST_QUOTE])
    if told.startswith(f"{host} answered {phrase}"):  # these words are `in_shape`'s already
        return told
    return f"{host} answered {phrase}{': ' + told if told else ''}"


def health_fault(status: int, body: bytes, *, host: str) -> Fault | None:
    """What an answer's status says about the upstream itself; None where only the request was wrong."""
    if status < 400 or (status < 500 and status not in _HEALTH):
        return None
    return Fault(_CODES.get(status, FAILED), words_of(status, body, host=host))
