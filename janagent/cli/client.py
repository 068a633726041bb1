"""The command line's way to a running daemon: HTTP to the local API, on the standard library alone.

Finds the daemon through the lock of the root, else through the settings. Turns refusals into `ApiError` and
silence into `NoDaemon`. Knows nothing of terminals.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from janagent.caller import Endpoint, refusal, server_sent_events
from janagent.cli.output import Exit, Failure
from janagent.lock import find_daemon

if TYPE_CHECKING:
    from janagent.config import Settings

CONNECT_S = 10.0
LONG_S = 24 * 3600.0
"""For answers that take as long as a model needs; the daemon has its own limits."""


class NoDaemon(Failure):
    """Nothing answers for this root."""

    def __init__(self, root: Path) -> None:
        super().__init__(
            f"No janagent is running for {root}; start it with: janagent serve", code=Exit.NO_DAEMON
        )


class ApiError(Failure):
    """The daemon refused; `status` and `code` as in contract 3. `is_passing`: asking again makes sense."""

    def __init__(self, status: int, code: str, message: str, *, is_passing: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.error_code = code
        self.is_passing = is_passing


class BrokenAnswer(Failure):
    """The connection ended in the middle of an answer."""


class Client:
    """Calls to one daemon. Each call is one connection."""

    def __init__(self, base_url: str, settings: Settings) -> None:
        key = settings.api_key.get_secret_value() if settings.api_key is not None else None
        self.base_url = base_url
        self._settings = settings
        self._endpoint = Endpoint(base_url, key, settings.tls_cert)

    @property
    def models_dir(self) -> Path:
        """The folder that the daemon serves."""
        return self._settings.models_dir

    def get(self, path: str) -> Any:
        """The JSON that GET answers. Raises ApiError, NoDaemon."""
        return self.call("GET", path)

    def call(self, method: str, path: str, body: Any = None, *, timeout_s: float = LONG_S) -> Any:
        """The JSON of the answer, None when it is empty. Raises ApiError, NoDaemon, BrokenAnswer."""
        with self.open(method, path, body, timeout_s=timeout_s) as response:
            data = response.read()
            return json.loads(data) if data else None

    @contextmanager
    def open(
        self, method: str, path: str, body: Any = None, *, timeout_s: float = LONG_S
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer's head is there; read its body inside. Leaving closes the connection."""
        with closing(self._endpoint.connection(timeout_s=CONNECT_S)) as connection:
            try:
                connection.connect()
            except (OSError, http.client.HTTPException) as error:
                if isinstance(error, ssl.SSLError):
                    raise Failure(f"{self.base_url}: {error.reason or error}") from None
                raise NoDaemon(self._settings.root) from None
            connection.sock.settimeout(timeout_s)
            data = None if body is None else json.dumps(body).encode()
            try:
                connection.request(method, path, body=data, headers=self._endpoint.headers("janagent-cli"))
                response = connection.getresponse()
                if response.status >= 400:
                    is_passing = response.headers.get("Retry-After") is not None
                    code, message = refusal(response.status, response.read())
                    raise ApiError(response.status, code, message, is_passing=is_passing)
            except (OSError, http.client.HTTPException) as error:
                raise self._broken(error) from None
            try:
                yield response
            except (http.client.HTTPException, ConnectionResetError, TimeoutError, ssl.SSLError) as error:
                raise self._broken(error) from None

    def events(self) -> Iterator[tuple[str, Any]]:
        """`(name, data)` of `/v1/events`, from the snapshot on, until the daemon ends."""
        with self.open("GET", "/v1/events") as response:
            yield from server_sent_events(response)

    def _broken(self, error: Exception) -> BrokenAnswer:
        return BrokenAnswer(f"the connection to {self.base_url} broke off ({error or type(error).__name__})")


def connect(root: Path | None, config: Path | None) -> Client:
    """The client for the daemon of the root in force. Raises ConfigError, NoDaemon.

    A chosen root must have a daemon of its own, unless the settings also say where that one listens:
    whatever else answers on the usual port serves another folder, and could delete from it.
    """
    from janagent.config import Settings

    settings = Settings.load({"root": root}, config=config)
    url = find_daemon(settings.root)
    is_address_chosen = root is None and bool(settings.model_fields_set & {"host", "port"})
    if url is None and "root" in settings.model_fields_set and not is_address_chosen:
        raise NoDaemon(settings.root)
    return Client(url or settings.url, settings)
