"""What calling a daemon takes, on the standard library alone: connections, headers, event streams.

Leaf, shared by the command line and the tray, which both stay small by it. Knows neither the settings nor
what is asked; what goes wrong is raised as `http.client` and `ssl` raise it.
"""

import http.client
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from janagent import __version__


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a daemon is, and what it wants to see. `url` has no slash at its end."""

    url: str
    api_key: str | None = field(default=None, repr=False)
    tls_cert: Path | None = None
    """The daemon's own certificate, where the settings name one."""

    def connection(self, *, timeout_s: float) -> http.client.HTTPConnection:
        """A connection that is not open yet. Raises OSError, ssl.SSLError for an unusable `tls_cert`."""
        parts = urlsplit(self.url)
        host = parts.hostname or "127.0.0.1"
        if parts.scheme != "https":
            return http.client.HTTPConnection(host, parts.port, timeout=timeout_s)
        context = ssl.create_default_context()
        if self.tls_cert is not None:
            # Our own certificate names the machine, and we call it by a loopback address.
            context.load_verify_locations(self.tls_cert)
            context.check_hostname = False
        return http.client.HTTPSConnection(host, parts.port, timeout=timeout_s, context=context)

    def headers(self, program: str) -> dict[str, str]:
        """For every request of `program`."""
        headers = {"Content-Type": "application/json", "User-Agent": f"{program}/{__version__}"}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        return headers


def model_path(model_id: str, ending: str = "") -> str:
    """The path of a model; its id, slashes included, is one encoded segment."""
    return f"/v1/models/{quote(model_id, safe='')}{ending}"


def refusal(status: int, body: bytes) -> tuple[str, str]:
    """`(code, message)` of an answer of 400 and above, whoever gave it."""
    try:
        error = json.loads(body)["error"]
        return str(error["code"]), str(error["message"])
    except (ValueError, TypeError, KeyError):
        return "unknown", f"the server answered {status} {http.client.responses.get(status, '')}"


def lines(response: http.client.HTTPResponse) -> Iterator[str]:
    """The lines of a text stream as they come, each with its newline.

    Iterating over the response itself would end quietly where a chunked answer breaks off: its `readline`
    peeks first and drops the error that `read1` raises.
    """
    kept = b""
    while data := response.read1(65536):
        *whole, kept = (kept + data).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace") + "\n"
    if kept:
        yield kept.decode("utf-8", "replace")


def server_sent_events(response: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    """`(event name, decoded data)`; the name is `message` when none is given; ends at `[DONE]` or the end.

    https://html.spec.whatwg.org/multipage/server-sent-events.html, as far as our own API uses it.
    """
    name, data = "message", ""
    for raw in lines(response):
        line = raw.rstrip("\r\n")
        if line.startswith("data:"):
            data += line[5:].removeprefix(" ")
        elif line.startswith("event:"):
            name = line[6:].strip()
        elif not line and data:
            if data == "[DONE]":
                return
            yield name, json.loads(data)
            name, data = "message", ""
