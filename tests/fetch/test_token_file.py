"""The token that `hf auth login` left in its file, on the way to huggingface.co.

A tunnel leads that name, and the one of the host that it redirects to, to the hub of the tests, with a
certificate that the test made: the token file belongs to no other hub.
"""

import asyncio
import contextlib
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.daemons import Daemon
from tests.fetch.hosting import REPO
from tests.fetch.hub import TestHub
from tests.fetch.test_tokens import TOKEN, daemon, told
from tests.gguf_files import write_model

HUB, CDN = "huggingface.co", "cdn.huggingface.test"


class Tunnels:
    """A proxy for https that plays the hosts behind it; a context manager, in a thread of its own."""

    def __init__(self, places: dict[str, str], certificate: Path) -> None:
        """`places`: host -> address of the plain server that stands in for it."""
        self._places = places
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tunnels", daemon=True)
        self.asked: set[str] = set()
        self.port = 0

    def __enter__(self) -> "Tunnels":
        self._thread.start()
        serving = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(serving, self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        connections = asyncio.all_tasks() - {asyncio.current_task()}
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await asyncio.sleep(0)  # transports that were closed say so to the loop once more

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            method, target = (await reader.readuntil(b"\r\n\r\n")).decode().split()[:2]
            assert method == "CONNECT"
            host = target.removesuffix(":443")
            self.asked.add(host)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await writer.start_tls(self._tls)
            place = urlsplit(self._places[host])
            answers, asking = await asyncio.open_connection(place.hostname, place.port)
            await asyncio.gather(_pump(reader, asking), _pump(answers, writer))


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
        sink.close()
    except (OSError, asyncio.CancelledError):
        sink.transport.abort()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Of both hosts, with its key, by a tool that TLS libraries come with."""
    path = tmp_path / "certificate.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        f"/CN={HUB}",
    ]
    command += ["-addext", f"subjectAltName=DNS:{HUB},DNS:{CDN}", "-keyout", "-", "-out", "-"]
    path.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    return path


@pytest.fixture
def tunnels(hub: TestHub, certificate: Path) -> Iterator[Tunnels]:
    places = {HUB: hub.url, CDN: hub.cdn_url}
    hub.cdn_url = f"https://{CDN}"
    with Tunnels(places, certificate) as running:
        yield running


@pytest.fixture
def at_home(tmp_path: Path, tunnels: Tunnels, certificate: Path, no_tokens: None) -> Iterator[Daemon]:
    """A daemon of somebody who has logged in."""
    file = tmp_path / "home" / "cache" / "huggingface" / "token"  # below the XDG_CACHE_HOME of a daemon
    file.parent.mkdir(parents=True)
    file.write_text(f"{TOKEN}\n")
    env = {"HTTPS_PROXY": f"http://127.0.0.1:{tunnels.port}", "SSL_CERT_FILE": str(certificate)}
    with daemon(tmp_path, env) as running:
        yield running


def test_a_token_file_opens_a_gated_repo_and_its_token_goes_to_the_hub_alone(
    at_home: Daemon, hub: TestHub, tunnels: Tunnels, tmp_path: Path
) -> None:
    hub.add_repo(REPO, {"tiny.gguf": write_model(tmp_path / "tiny.gguf")}, gated=True, private_token=TOKEN)
    at_home.drop("tiny", {"origin": REPO})
    model = at_home.wait_state("tiny", "downloaded", "running", "failed")
    assert model["state"] != "failed", model["error"]
    assert told(hub, "hub") == {f"Bearer {TOKEN}"}
    assert told(hub, "cdn") == {None}
    at_home.drop("direct", {"origin": hub.direct_url(REPO, "tiny.gguf")})
    at_home.wait_state("direct", "downloaded", "running")
    assert told(hub, "cdn") == {None}
    assert tunnels.asked == {HUB, CDN}
