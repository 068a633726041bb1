"""Starting and ending, as a person sees it; the whole loop is in test_loop."""

import asyncio
import signal
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.daemons import Daemon, chat_body, until


def serve(daemon: Daemon, *flags: str) -> "subprocess.CompletedProcess[str]":
    """`janagent serve` that is expected to end by itself."""
    (daemon.folder / "home").mkdir(exist_ok=True)
    command = [sys.executable, "-m", "janagent", "serve", *flags]
    return subprocess.run(
        command, env=daemon.environment, capture_output=True, text=True, timeout=60, check=False
    )


def said(daemon: Daemon, words: str) -> bool:
    return any(words in line for line in daemon.lines)


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
        assert daemon._process.wait(60) == 0


async def test_a_second_signal_cuts_the_answers_that_an_orderly_stop_waits_for(
    tmp_path: Path, starter: Path
) -> None:
    with Daemon(tmp_path, drain_s=60) as daemon:
        daemon.drop("smol", "{}", gguf=starter)
        daemon.wait_state("smol", "running")
        process = daemon._process
        assert process is not None
        body = chat_body("smol", "Count to a thousand.", max_tokens=3000, ignore_eos=True, stream=True)
        async with (
            aiohttp.ClientSession(daemon.url) as session,
            session.post("/v1/chat/completions", json=body) as answer,
        ):
            assert await answer.content.readline()
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(until, lambda: said(daemon, "stopping: answers may finish"))
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 60) == 0
            with pytest.raises(aiohttp.ClientError):
                await answer.content.read()
        until(lambda: said(daemon, "asked to stop again"), what="its last words are read")


def test_it_says_where_it_is_ready_and_what_to_try(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        assert daemon.url.startswith("http://127.0.0.1:")
        said = "\n".join(daemon.lines)
        assert "janagent starter" in said or daemon.call("GET", "/v1/health")[0] == 200


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_localhost_is_both_loopback_addresses(tmp_path: Path, address: str) -> None:
    with Daemon(tmp_path) as daemon:
        port = int(daemon.url.rsplit(":", 1)[1])
        with socket.create_connection((address, port), timeout=30) as connection:
            connection.sendall(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
