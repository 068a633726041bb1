"""What the environment says of proxies and passwords: the real fetcher uses the one and not the other."""

import base64
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from yarl import URL

from janagent.children.wire import ExitCode
from janagent.fetch.client import proxy_for
from tests.fetch.fetchers import REPO, finished, start
from tests.fetch.hub import TestHub

MODEL = b"GGUF" + bytes(3_000_000)


@pytest.fixture
def hub() -> Iterator[TestHub]:
    with TestHub() as running:
        running.add_repo(REPO, {"model.gguf": MODEL})
        yield running


asked: list[tuple[str, str | None]] = []


class Proxy(BaseHTTPRequestHandler):
    """Forwards requests for http addresses, and keeps what they were and who sent them."""

    def do_GET(self) -> None:
        asked.append((self.path, self.headers["Proxy-Authorization"]))
        parts = urlsplit(self.path)
        upstream = HTTPConnection(parts.hostname or "", parts.port or 80)
        upstream.request("GET", parts._replace(scheme="", netloc="").geturl(), headers=dict(self.headers))
        answer = upstream.getresponse()
        body = answer.read()
        upstream.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    asked.clear()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("has_token", [False, True])
def test_passwords_of_a_netrc_are_shown_to_nobody_and_stop_no_fetch(
    hub: TestHub, tmp_path: Path, has_token: bool
):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password pw\ndefault login me password pw\n")
    netrc.chmod(0o600)
    folder = tmp_path / "m"
    folder.mkdir()
    env = {"NETRC": str(netrc), "HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_mine" if has_token else ""}
    code, _ = finished(*start(hub, folder, env=env))
    assert code == ExitCode.OK
    seen = {(one.host, one.headers.get("authorization")) for one in hub.requests if REPO in one.path}
    assert seen == {("hub", "Bearer hf_mine" if has_token else None), ("cdn", None)}


def test_a_proxy_of_the_environment_is_used_with_its_own_password(hub: TestHub, tmp_path: Path, proxy: str):
    env = {"http_proxy": f"http://me:pw@{proxy}", "no_proxy": "", "NO_PROXY": ""}
    url = hub.direct_url(REPO, "model.gguf")
    code, _ = finished(*start(hub, tmp_path, env=env, origin=url, files=()))
    assert code == ExitCode.OK
    assert (tmp_path / "model.gguf").read_bytes() == MODEL
    assert set(asked) == {(url, f"Basic {base64.b64encode(b'me:pw').decode()}")}


def test_a_host_that_needs_no_proxy_is_asked_directly(monkeypatch: pytest.MonkeyPatch):
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(name, raising=False)
    assert proxy_for(URL("https://hub.example/f")) is None
    monkeypatch.setenv("https_proxy", "proxy.example:3128")
    monkeypatch.setenv("no_proxy", ".home.example")
    assert proxy_for(URL("https://hub.example/f")) == URL("http://proxy.example:3128")
    assert proxy_for(URL("https://hub.home.example/f")) is None
    assert proxy_for(URL("http://hub.example/f")) is None
