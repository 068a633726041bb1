"""Starting and ending, as a person sees it; the whole loop is in test_loop."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemons import Daemon


def serve(daemon: Daemon, *flags: str) -> "subprocess.CompletedProcess[str]":
    """`janagent serve` that is expected to end by itself."""
    (daemon.folder / "home").mkdir(exist_ok=True)
    command = [sys.executable, "-m", "janagent", "serve", *flags]
    return subprocess.run(
        command, env=daemon.environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_port_that_is_taken_is_said_in_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = serve(Daemon(tmp_path), "--port", str(port), "--host", "127.0.0.1")
    assert done.returncode == 1
    assert f"port {port} on 127.0.0.1 is taken" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_root_that_does_not_exist_is_served_as_offline_and_not_created(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.start()
    try:
        assert daemon.call("GET", "/v1/models")[1]["data"] == []
        assert not daemon.root.exists()
        daemon.models.mkdir(parents=True)
        daemon.drop("late", "{ broken")
        daemon.wait_state("late", "invalid")
    finally:
        daemon.stop()


def test_certificates_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate")
    daemon = Daemon(
        tmp_path,
        env={
            "JANAGENT_TLS_CERT": str(tmp_path / "cert.pem"),
            "JANAGENT_TLS_KEY": str(tmp_path / "cert.pem"),
        },
    )
    done = serve(daemon, "--port", "0")
    assert done.returncode == 1
    assert "cert.pem" in done.stderr
    assert "Traceback" not in done.stderr


def test_shutdown_by_the_api_ends_with_zero(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        assert daemon.call("POST", "/v1/shutdown")[0] == 202
        assert daemon._process is not None
        assert daemon._process.wait(30) == 0


def test_it_says_where_it_is_ready_and_what_to_try(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        assert daemon.url.startswith("http://127.0.0.1:")
        said = "\n".join(daemon.lines)
        assert "janagent starter" in said or daemon.call("GET", "/v1/health")[0] == 200


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_localhost_is_both_loopback_addresses(tmp_path: Path, address: str) -> None:
    with Daemon(tmp_path) as daemon:
        port = int(daemon.url.rsplit(":", 1)[1])
        with socket.create_connection((address, port), timeout=5) as connection:
            connection.sendall(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
