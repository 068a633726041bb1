"""Calls to a real daemon, and to what is none."""

import http.server
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from janagent.caller import Endpoint
from janagent.lock import DaemonLock
from janagent.tray import client
from janagent.tray.client import Refused, Starting, Unreachable
from janagent.tray.options import Options
from tests.daemons import Daemon
from tests.remote.certificates import make_certificate

NOBODY = Endpoint("http://127.0.0.1:1")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(client, "CONNECT_S", 60.0)


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options(
        root=str(tmp_path), log_file="", fallback_url=None, api_key="k", tls_cert=None, notifications=True
    )


class Page(http.server.BaseHTTPRequestHandler):
    """Some other program's server."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def page() -> Iterator[Endpoint]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Endpoint(f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()
        thread.join()


def test_the_daemon_that_holds_the_root_is_meant(options: Options):
    with DaemonLock(Path(options.root)) as lock:
        lock.publish("http://127.0.0.1:4242")
        found = client.find(replace(options, fallback_url="http://127.0.0.1:1337"))
    assert found == Endpoint("http://127.0.0.1:4242", "k")


def test_one_that_does_not_listen_yet_is_starting(options: Options):
    with DaemonLock(Path(options.root)), pytest.raises(Starting):
        client.find(options)


def test_else_the_address_of_the_settings_is_tried_where_there_is_one(options: Options):
    assert client.find(options) is None
    found = client.find(replace(options, fallback_url="https://127.0.0.1:1337", tls_cert="/c.pem"))
    assert found == Endpoint("https://127.0.0.1:1337", "k", Path("/c.pem"))


def test_events_begin_with_a_snapshot(daemon: Daemon):
    kind, data = next(events := client.events(Endpoint(daemon.url)))
    assert kind == "snapshot"
    assert "smol" in [model["id"] for model in data["models"]]
    events.close()  # type: ignore[attr-defined]


def test_the_stream_of_a_daemon_that_ends_comes_to_its_end(tmp_path: Path):
    with Daemon(tmp_path, spare_worker=False) as daemon:
        events = client.events(Endpoint(daemon.url))
        next(events)
        daemon.stop()
        assert "snapshot" not in [kind for kind, _ in events]


def test_the_stream_of_a_daemon_that_is_killed_breaks_off(tmp_path: Path):
    with Daemon(tmp_path, spare_worker=False) as daemon:
        events = client.events(Endpoint(daemon.url))
        next(events)
        daemon.kill()
        with pytest.raises(Unreachable):
            list(events)


def test_a_call_brings_the_answer_or_the_daemon_s_own_words(daemon: Daemon):
    endpoint = Endpoint(daemon.url)
    assert client.call(endpoint, "GET", "/v1/health")["status"] == "ok"
    with pytest.raises(Refused, match="nobody") as refused:
        client.call(endpoint, "PUT", "/v1/models/nobody/start")
    assert refused.value.status == 404


def test_a_wrong_key_is_refused_with_401(tmp_path: Path):
    with Daemon(tmp_path, spare_worker=False, api_key="right") as daemon:
        with pytest.raises(Refused, match="API key") as refused:
            next(client.events(Endpoint(daemon.url, "wrong")))
        assert refused.value.status == 401
        assert next(client.events(Endpoint(daemon.url, "right")))[0] == "snapshot"


def test_https_with_the_daemon_s_own_certificate(tmp_path: Path):
    cert, key = make_certificate(tmp_path)
    with Daemon(tmp_path, spare_worker=False, tls_cert=str(cert), tls_key=str(key)) as daemon:
        assert next(client.events(Endpoint(daemon.url, tls_cert=cert)))[0] == "snapshot"
        with pytest.raises(Unreachable, match="certificate"):
            next(client.events(Endpoint(daemon.url)))


def test_nobody_there_is_unreachable():
    for ask in (lambda: next(client.events(NOBODY)), lambda: client.call(NOBODY, "GET", "/")):
        with pytest.raises(Unreachable, match="Connection refused"):
            ask()


def test_another_program_on_our_port_is_not_taken_for_janagent(page: Endpoint):
    with pytest.raises(Refused, match="is not janagent") as refused:
        next(client.events(page))
    assert refused.value.status == 0
    with pytest.raises(Unreachable):
        client.call(page, "GET", "/")


def test_a_server_that_speaks_another_protocol_is_unreachable():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def babble() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=babble)
        thread.start()
        with pytest.raises(Unreachable):
            next(client.events(Endpoint(f"http://127.0.0.1:{server.getsockname()[1]}")))
        thread.join()


def test_a_page_is_found_where_there_is_one(page: Endpoint, daemon: Daemon):
    assert client.has_page(page)
    assert client.has_page(Endpoint(daemon.url)) in (True, False)
    status, text = daemon.call("GET", "/")
    assert client.has_page(Endpoint(daemon.url)) is (status == 200 and "<html" in str(text))
