import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from janagent.caller import lines, server_sent_events
from janagent.cli.client import (
    ApiError,
    BrokenAnswer,
    Client,
    NoDaemon,
    connect,
)
from janagent.cli.output import Exit
from janagent.config import Settings
from janagent.lock import DaemonLock


class Api(http.server.BaseHTTPRequestHandler):
    """A server that answers each path in one way, as daemons do on good and bad days."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        getattr(self, f"answer_{self.path.strip('/')}")()

    def answer_echo(self) -> None:
        self.whole(200, {"key": self.headers.get("Authorization"), "host": self.headers["Host"]})

    def answer_refusal(self) -> None:
        self.whole(
            404, {"error": {"message": "no model", "type": "t", "param": None, "code": "model_not_found"}}
        )

    def answer_page(self) -> None:
        self.send_response(502)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"<ht>")

    def answer_events(self) -> None:
        self.stream(
            b': hi\n\nevent: snapshot\ndata: {"a":\ndata: 1}\nid: 1\n\n'
            b"data: [2]\n\ndata: [DONE]\n\ndata: 3\n\n"
        )
        self.wfile.write(b"0\r\n\r\n")

    def answer_broken(self) -> None:
        self.stream(b"data: 1\n\n")
        self.close_connection = True

    def stream(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def whole(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def client(url: str) -> Client:
    return Client(url, Settings.load({"api_key": "k"}))


def test_the_api_key_travels_as_a_bearer_token(client: Client):
    assert client.get("/echo")["key"] == "Bearer k"


def test_without_a_key_none_is_sent(url: str):
    assert Client(url, Settings.load()).get("/echo")["key"] is None


def test_a_refusal_brings_code_and_message(client: Client):
    with pytest.raises(ApiError, match="no model") as caught:
        client.get("/refusal")
    assert (caught.value.status, caught.value.error_code, caught.value.code) == (
        404,
        "model_not_found",
        Exit.FAULT,
    )


def test_a_refusal_that_is_not_ours_still_makes_a_sentence(client: Client):
    with pytest.raises(ApiError, match="the server answered 502 Bad Gateway"):
        client.get("/page")


def test_events_are_read_until_done(client: Client):
    with client.open("GET", "/events") as response:
        assert list(server_sent_events(response)) == [("snapshot", {"a": 1}), ("message", [2])]


def test_a_stream_that_breaks_off_is_said_to_have_broken_off(client: Client):
    with pytest.raises(BrokenAnswer, match="broke off"), client.open("GET", "/broken") as response:
        list(lines(response))


def test_nobody_listening_is_no_daemon(tmp_path: Path):
    client = Client("http://127.0.0.1:1", Settings.load({"root": tmp_path}))
    with pytest.raises(NoDaemon, match=rf"No janagent is running for {tmp_path}") as caught:
        client.get("/echo")
    assert caught.value.code is Exit.NO_DAEMON


def test_the_daemon_of_the_root_is_found_whatever_its_port(tmp_path: Path):
    with DaemonLock(tmp_path) as lock:
        lock.publish("http://127.0.0.1:4242")
        assert connect(tmp_path, None).base_url == "http://127.0.0.1:4242"


def test_a_root_named_by_the_person_is_never_confused_with_the_daemon_on_the_usual_port(tmp_path: Path):
    with pytest.raises(NoDaemon):
        connect(tmp_path / "other", None)


def test_a_root_chosen_in_the_settings_is_not_confused_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("JANAGENT_ROOT", str(tmp_path / "other"))
    with pytest.raises(NoDaemon):
        connect(None, None)


def test_settings_that_say_where_the_daemon_of_their_root_listens_are_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("JANAGENT_ROOT", str(tmp_path / "other"))
    monkeypatch.setenv("JANAGENT_PORT", "4243")
    assert connect(None, None).base_url == "http://127.0.0.1:4243"
    with pytest.raises(NoDaemon):
        connect(tmp_path / "third", None)


def test_without_a_root_the_configured_address_is_tried(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JANAGENT_PORT", "4243")
    assert connect(None, None).base_url == "http://127.0.0.1:4243"
