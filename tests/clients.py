"""Clients that misbehave, as bare sockets, and what a daemon tells of them."""

import asyncio
import contextlib
import json
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from tests.daemons import Daemon, chat_body, until


def metric(daemon: Daemon, name: str, *, label: str = "") -> int:
    """The sum of a metric over its labels, or over those that contain `label`."""
    _, text = daemon.call("GET", "/metrics")
    assert f"# TYPE {name} " in text, f"there is no metric {name}"
    lines = [line for line in text.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
    return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines if label in line)


def left_by_their_clients(daemon: Daemon) -> int:
    """How many answers ended before their end, because the client left or was cut."""
    return metric(daemon, "janagent_http_requests_total", label='status="499"')


def is_at_rest(daemon: Daemon) -> bool:
    """No engine computes anything; they tell their counts once a second."""
    before = metric(daemon, "janagent_completion_tokens_total")
    time.sleep(2.1)
    return metric(daemon, "janagent_completion_tokens_total") == before


async def rests_or_is_late(daemon: Daemon, *, at: float) -> None:
    """Wait until no engine computes anything, on a slow machine until it is `at` (time.monotonic)."""
    await asyncio.to_thread(until, lambda: is_at_rest(daemon) or time.monotonic() > at, within_s=180)


def large_chat(model: str, *, n: int = 1) -> dict[str, Any]:
    """A streamed chat whose answer is over a megabyte for each of `n`: more than all buffers on its way hold,
    if the client's are small."""
    body = chat_body(model, "Tell a long story.", stream=True, n=n)
    return body | {"max_tokens": 900, "ignore_eos": True, "logprobs": True, "top_logprobs": 20}


def raw(daemon: Daemon, body: dict[str, Any], *, receive_bytes: int) -> socket.socket:
    """A connection on which `body` was sent and nothing is read.

    Its buffer and its segments are small: by these the other side's kernel decides how much it buffers.
    """
    parts = urlsplit(daemon.url)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1000)
    sock.connect((parts.hostname, parts.port))
    if daemon.tls is not None:
        sock = daemon.tls.wrap_socket(sock, server_hostname=parts.hostname)
    data = json.dumps(body).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    sock.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(data) + data)
    return sock


def all_that_comes(sock: socket.socket) -> bytes:
    """Read an answer in chunks up to its end, or up to where the connection was cut."""
    came = bytearray()
    sock.settimeout(60)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    with contextlib.suppress(ConnectionResetError):
        while not came.endswith(b"\r\n0\r\n\r\n") and (part := sock.recv(1 << 16)):
            came += part
    return bytes(came)


def forget_peak(pid: int) -> None:
    """Begin to look for the process's peak memory anew; see proc_pid_clear_refs(5)."""
    if psutil.LINUX:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_bytes(pid: int) -> int:
    """The most memory it held since `forget_peak`; where only Linux tells, what it holds now."""
    if not psutil.LINUX:
        return int(psutil.Process(pid).memory_info().rss)
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024
