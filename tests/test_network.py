"""Proxies and certificate authorities as the environment names them."""

import ssl
from pathlib import Path

import pytest
from yarl import URL

from janagent.network import CA_VARIABLES, client_tls, proxy_for
from tests.test_tls import make_certificate

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, *CA_VARIABLES, "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def test_no_variable_means_no_proxy() -> None:
    assert proxy_for(URL("https://api.example/v1")) is None


def test_a_proxy_may_be_named_without_a_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    assert proxy_for(URL("https://api.example/v1")) == URL("http://proxy.example:3128")
    assert proxy_for(URL("http://api.example/v1")) is None


def test_hosts_that_need_none_are_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1,.home.example")
    assert proxy_for(URL("http://localhost:8000")) is None
    assert proxy_for(URL("http://gpu.home.example:8000")) is None
    assert proxy_for(URL("http://gpu.example:8000")) is not None


@pytest.mark.parametrize("name", CA_VARIABLES)
def test_a_private_authority_is_trusted_beside_the_system_s(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    before = client_tls().cert_store_stats()["x509"]
    cert, _ = make_certificate(tmp_path)
    monkeypatch.setenv(name, str(cert))
    context = client_tls()
    assert context.cert_store_stats()["x509"] == before + 1
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
