"""The tray's calls to the daemon: which one is meant, its event stream, and one request at a time.

Everything blocks; `follower` and `jobs` call from threads of their own. Neighbour below: `caller`.
"""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from janagent.caller import Endpoint, refusal, server_sent_events
from janagent.lock import find_holder
from janagent.tray.options import Options

PROGRAM = "janagent-tray"
CONNECT_S = 5.0
SILENCE_S = 45.0
"""The stream sends something every 15 s; three times that is a connection that nobody holds any more."""
ANSWER_S = 24 * 3600.0
"""For a stop, which waits for running answers; the daemon has its own limits."""


class Unreachable(Exception):
    """Nothing answers, or the connection broke off."""


class Refused(Exception):
    """The daemon said no; the message says why. `status` 0: what answers is no janagent."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Starting(Exception):
    """A daemon holds the root, but does not listen: it starts or ends."""


def find(options: Options) -> Endpoint | None:
    """The daemon that is meant, None if none is known of. Raises Starting."""
    holder = find_holder(Path(options.root))
    if holder is not None and not holder.url:
        raise Starting
    url = holder.url if holder is not None else options.fallback_url
    if url is None:
        return None
    return Endpoint(url, options.api_key, Path(options.tls_cert) if options.tls_cert else None)


def events(endpoint: Endpoint) -> Iterator[tuple[str, Any]]:
    """`(name, data)` of `/v1/events` until it ends. Raises Unreachable, Refused."""
    with _answer(endpoint, "GET", "/v1/events", head_s=CONNECT_S) as response:
        if response.headers.get_content_type() != "text/event-stream":
            raise Refused(0, f"what answers on {endpoint.url} is not janagent")
        yield from server_sent_events(response)


def call(endpoint: Endpoint, method: str, path: str) -> Any:
    """The JSON of the answer, None for none. Raises Unreachable, Refused."""
    with _answer(endpoint, method, path, head_s=ANSWER_S) as response:
        body = response.read()
        return json.loads(body) if body else None


def has_page(endpoint: Endpoint) -> bool:
    """The daemon serves a page at `/`. Raises Unreachable."""
    try:
        with _answer(endpoint, "GET", "/", head_s=CONNECT_S) as response:
            return response.headers.get_content_type() == "text/html"
    except Refused:
        return False


@contextmanager
def _answer(
    endpoint: Endpoint, method: str, path: str, *, head_s: float
) -> Iterator[http.client.HTTPResponse]:
    """The answer's head is there, within `head_s`; read its body inside. What goes wrong is Unreachable."""
    try:
        with closing(endpoint.connection(timeout_s=CONNECT_S)) as connection:
            connection.connect()
            sock = connection.sock
            sock.settimeout(head_s)
            connection.request(method, path, headers=endpoint.headers(PROGRAM))
            with connection.getresponse() as response:
                sock.settimeout(SILENCE_S)
                if response.status >= 400:
                    raise Refused(response.status, refusal(response.status, response.read())[1])
                yield response
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unreachable(f"{endpoint.url}: {error}") from error
