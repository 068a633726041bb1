"""The way out as the environment describes it: certificate authorities, proxies, and no netrc."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.daemons import Daemon
from tests.remote.azure import Azure
from tests.remote.certificates import Authority, make_authority
from tests.remote.models import ask, drop, manifest
from tests.remote.proxy import Proxy
from tests.remote.upstream import KEY, Upstream, shown

EXAMPLE = Path(__file__).parents[1] / "data" / "model-azure-openai-gpt4-turbo.json"
QUESTION: list[Any] = [{"role": "user", "content": "Hi"}]
NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")

Started = Callable[..., AbstractContextManager[Daemon]]


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Started:
    """`with started(HTTP_PROXY=...) as daemon`: a daemon in this environment."""
    for name in (*NAMES, *(name.lower() for name in NAMES)):
        monkeypatch.delenv(name, raising=False)

    @contextmanager
    def start(**env: object) -> Iterator[Daemon]:
        said = {"TEST_KEY": KEY, **{name: str(value) for name, value in env.items()}}
        with Daemon(tmp_path, env=said, spare_worker=False) as running:
            yield running

    return start


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def secure(authority: Authority) -> Iterator[Upstream]:
    """An upstream with https, in the name of localhost."""
    with Upstream(key=KEY, tls=authority.server("localhost")) as running:
        yield running


def assert_answers(daemon: Daemon, model: str) -> None:
    """Whole and streamed."""
    with openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="none", max_retries=0) as client:
        whole = client.chat.completions.create(model=model, messages=QUESTION)
        assert whole.choices[0].message.content == "Hello!"
        pieces = client.chat.completions.create(model=model, messages=QUESTION, stream=True)
        assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == "one two three"


def failure(daemon: Daemon, model: str) -> str:
    """The message of a chat that gets no connection."""
    status, answer = ask(daemon, model)
    assert (status, answer["error"]["code"]) == (502, "upstream_unreachable"), answer
    message: str = answer["error"]["message"]
    return message


# -- certificates ---------------------------------------------------------------------------------


def test_an_unknown_authority_is_an_error_with_the_host_and_the_remedy(
    started: Started, secure: Upstream
) -> None:
    with started() as daemon:
        message = failure(daemon, drop(daemon, secure))
    assert f"the certificate of localhost:{secure.port} is not trusted" in message
    assert "SSL_CERT_FILE" in message
    assert not secure.calls


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_an_authority_that_the_environment_names_is_trusted(
    started: Started, secure: Upstream, authority: Authority, name: str
) -> None:
    with started(**{name: authority.cert}) as daemon:
        assert_answers(daemon, drop(daemon, secure))
    assert shown(secure.last.headers) == KEY


def test_a_certificate_for_another_name_is_an_error_that_says_so(
    started: Started, authority: Authority
) -> None:
    with (
        Upstream(key=KEY, tls=authority.server("other.example")) as other,
        started(SSL_CERT_FILE=authority.cert) as daemon,
    ):
        message = failure(daemon, drop(daemon, other))
        assert f"localhost:{other.port}" in message
        assert "not valid for 'localhost'" in message
        assert "SSL_CERT_FILE" not in message, "the authority is not at fault"
        assert not other.calls


@pytest.mark.parametrize(
    ("content", "words"), [(None, "No such file or directory"), ("no PEM\n", "holds no certificates")]
)
def test_a_bundle_that_cannot_be_used_is_told_by_its_name(
    started: Started, secure: Upstream, tmp_path: Path, content: str | None, words: str
) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content)
    with started(REQUESTS_CA_BUNDLE=bundle) as daemon:
        daemon.drop("far", manifest(secure.url))
        model = daemon.wait_state("far", "failed")
        message = f"the file {bundle}, which REQUESTS_CA_BUNDLE names, cannot be used: {words}"
        assert model["error"] == {"code": "engine_failed", "message": message}
        assert "Traceback" not in "\n".join(daemon.lines)


# -- proxies --------------------------------------------------------------------------------------


def test_plain_requests_go_through_the_proxy_of_http(started: Started, upstream: Upstream) -> None:
    with Proxy() as proxy, started(HTTP_PROXY=proxy.url, HTTPS_PROXY="http://127.0.0.1:9") as daemon:
        assert_answers(daemon, drop(daemon, upstream))
        assert proxy.asked == [f"POST {upstream.url}/v1/chat/completions"] * 2
    assert shown(upstream.last.headers) == KEY


def test_https_goes_through_a_tunnel_that_sees_nothing_of_it(
    started: Started, secure: Upstream, authority: Authority
) -> None:
    env = {"HTTP_PROXY": "http://127.0.0.1:9", "SSL_CERT_FILE": authority.cert}
    with Proxy() as proxy, started(HTTPS_PROXY=proxy.url, **env) as daemon:
        assert_answers(daemon, drop(daemon, secure))
        assert set(proxy.asked) == {f"CONNECT localhost:{secure.port}"}
        assert len(proxy.passed) > 1000
        assert KEY.encode() not in proxy.passed
    assert shown(secure.last.headers) == KEY


@pytest.mark.parametrize("said", ["localhost", "example.com, localhost", "*"])
def test_hosts_that_need_no_proxy_are_asked_directly(started: Started, upstream: Upstream, said: str) -> None:
    with Proxy() as proxy, started(HTTP_PROXY=proxy.url, NO_PROXY=said) as daemon:
        assert_answers(daemon, drop(daemon, upstream))
        assert not proxy.asked


def test_a_proxy_gets_the_user_and_password_of_its_address(
    started: Started, upstream: Upstream, secure: Upstream, authority: Authority
) -> None:
    with Proxy(login="me:p@ss word") as proxy:
        url = proxy.url.replace("//", "//me:p%40ss%20word@")
        with started(http_proxy=url, https_proxy=url, SSL_CERT_FILE=authority.cert) as daemon:
            assert_answers(daemon, drop(daemon, upstream, "plain"))
            assert_answers(daemon, drop(daemon, secure, "secure"))
        assert len(proxy.asked) >= 3
    for call in (*upstream.calls, *secure.calls):
        assert not [name for name in call.headers if name.lower().startswith("proxy-")]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_wrong_password_is_the_proxy_s_refusal_and_nobody_reads_it(
    started: Started, upstream: Upstream, secure: Upstream, scheme: str
) -> None:
    with Proxy(login="me:right") as proxy:
        url = proxy.url.replace("//", "//me:wr0ng-pass@")
        with started(HTTP_PROXY=url, HTTPS_PROXY=url) as daemon:
            far = drop(daemon, upstream if scheme == "http" else secure)
            message = failure(daemon, far)
            told = json.dumps([daemon.model(far), daemon.call("GET", f"/v1/models/{far}/logs")])
            assert "wr0ng-pass" not in told + message + "\n".join(daemon.lines)
    assert "the proxy on the way to localhost" in message
    assert "407" in message
    assert not upstream.calls
    assert not secure.calls


def test_a_proxy_that_forbids_the_host(started: Started, secure: Upstream) -> None:
    with Proxy(refuses=403) as proxy, started(HTTPS_PROXY=proxy.url) as daemon:
        message = failure(daemon, drop(daemon, secure))
    assert f"the proxy on the way to localhost:{secure.port} refuses (403" in message


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there(
    started: Started, upstream: Upstream, secure: Upstream, scheme: str
) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{sock.getsockname()[1]}"
        with started(HTTP_PROXY=nowhere, HTTPS_PROXY=nowhere) as daemon:
            message = failure(daemon, drop(daemon, upstream if scheme == "http" else secure))
    assert "the proxy on the way to localhost" in message
    assert "cannot be reached (Connection refused)" in message


# -- names that the world knows ---------------------------------------------------------------------


def test_the_specification_s_example_with_nothing_but_its_key_changed(
    started: Started, authority: Authority
) -> None:
    """The proxy leads Azure's name to this machine."""
    host = "docs-test-001.openai.azure.com"
    with (
        Azure(deployment=EXAMPLE.stem, key="a-key-of-azure", tls=authority.server(host)) as azure,
        Proxy(routes={f"{host}:443": azure.port}) as proxy,
        started(HTTPS_PROXY=proxy.url, SSL_CERT_FILE=authority.cert) as daemon,
    ):
        text = EXAMPLE.read_text().replace('"API-KEY": ""', '"API-KEY": "a-key-of-azure"')
        daemon.drop(EXAMPLE.stem, text)
        daemon.wait_state(EXAMPLE.stem, "running")
        assert_answers_azure(daemon, "/openai.azure.com/docs-test-001/gpt4-turbo")
        assert_answers_azure(daemon, EXAMPLE.stem)
        assert set(proxy.asked) == {f"CONNECT {host}:443"}
        assert azure.last.headers["Host"] == host
        assert azure.last.query == {"api-version": "2023-05-15"}


def assert_answers_azure(daemon: Daemon, name: str) -> None:
    with openai.AzureOpenAI(
        azure_endpoint=daemon.url, api_version="2024-02-01", api_key="none", max_retries=0
    ) as client:
        answer = client.chat.completions.create(model=name, messages=QUESTION)
    assert (answer.model, answer.choices[0].message.content) == (EXAMPLE.stem, "Hello!")


def test_openai_itself_gets_its_own_name_for_the_limit(started: Started, authority: Authority) -> None:
    """By its bare name, as the specification's comment has it."""
    host = "api.openai.com"
    with (
        Upstream(key=KEY, tls=authority.server(host)) as platform,
        Proxy(routes={f"{host}:443": platform.port}) as proxy,
        started(HTTPS_PROXY=proxy.url, SSL_CERT_FILE=authority.cert) as daemon,
    ):
        text = manifest(host, **{"MODEL-NAME": "gpt-4o"})
        text["parameters"]["runtime"] = {"token_limit": "9", "top_k": 5}
        daemon.drop("gpt", text)
        daemon.wait_state("gpt", "running")
        assert_answers(daemon, "gpt")
        assert platform.last.path == "/v1/chat/completions"
        sent = {name: value for name, value in platform.last.body.items() if name != "messages"}
        assert sent == {"model": "gpt-4o", "max_completion_tokens": 9, "stream": True}


# -- netrc ----------------------------------------------------------------------------------------


def test_passwords_of_a_netrc_are_shown_to_nobody(started: Started, tmp_path: Path) -> None:
    netrc = tmp_path / "home" / ".netrc"
    netrc.parent.mkdir()
    netrc.write_text(
        "machine localhost login me password pw-of-netrc\nmachine 127.0.0.1 login me password pw-of-netrc\n"
        "default login me password pw-of-netrc\n"
    )
    netrc.chmod(0o600)
    with Upstream() as open_to_all, Proxy() as proxy:
        with started(NETRC=netrc) as daemon:
            assert_answers(daemon, drop(daemon, open_to_all, "keyed"))
            daemon.drop("keyless", manifest(open_to_all.url, key=None))
            daemon.wait_state("keyless", "running")
            assert_answers(daemon, "keyless")
        assert [shown(call.headers) for call in open_to_all.calls] == [KEY, KEY, "", ""]
        with started(HTTP_PROXY=proxy.url) as daemon:
            daemon.wait_state("keyless", "running")
            assert_answers(daemon, "keyless")
        assert b"authorization" not in bytes(proxy.passed).lower()
