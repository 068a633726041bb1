"""Keys of remote models, looked for in everything that a daemon says, writes and starts in a whole run.

The upstream tells each key back to whoever asks, in every way it can, as a badly written proxy would.
"""

import asyncio
import base64
import http.client
import json
import resource
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

import pytest
from aiohttp import web

from tests.daemons import Daemon, assert_all_gone, until
from tests.remote.certificates import make_authority
from tests.remote.models import manifest
from tests.remote.upstream import DONE, Body, Upstream, chat, chunk, error, opened

KEYS = {
    "literal": "sk-Lit+eral/9fK2=wQ7z",
    "variable": "vB.3x+9/Kp~Tr8%Lm5",
    "file": "fQ7|w2+Xz/Rn6&Yt4",
    "start": "sT5@k8+Jh/Dm1#Gc9",
}
"""None has the shape of a well-known provider's but the first; all need quoting in an address."""
PASSWORD = "pW6!n3+Vb/Sk2"
SECRETS = {**KEYS, "password": PASSWORD}
SAFE = "stays"
"""What every answer says besides, so that there is something to see."""
STALL_S = 1.0
NOWHERE = "http://elsewhere.invalid"


def forms(secret: str) -> set[bytes]:
    """How it may look: itself, quoted, escaped, and within a longer text in base64."""
    data = secret.encode()
    found = {data, quote(secret, safe="").encode(), quote(secret).encode(), quote_plus(secret).encode()}
    found |= {data.hex().encode(), repr(secret)[1:-1].encode(), json.dumps(secret)[1:-1].encode()}
    found.add(secret.replace("/", "\\/").encode())
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            whole = encode(bytes(before) + data).rstrip(b"=")
            found.add(whole[(0, 2, 3)[before] : len(whole) - (1 if (before + len(data)) % 3 else 0)])
    return found


def leaks(text: bytes) -> list[str]:
    """The names of the secrets in it."""
    return [name for name, secret in SECRETS.items() if any(form in text for form in forms(secret))]


def test_the_search_finds_what_it_looks_for() -> None:
    for name, secret in SECRETS.items():
        assert leaks(f"x {secret} y".encode()) == [name]
        assert leaks(f"?key={quote(secret, safe='')}&a=b".encode()) == [name]
        for before in ("", "a", "ab"):
            assert leaks(base64.b64encode(f"{before}{secret}tail".encode())) == [name]
    assert leaks(b"nothing of the kind") == []


# -- the run --------------------------------------------------------------------------------------


def told_back(request: web.Request) -> str:
    """The key that the upstream was shown."""
    said = request.headers["Authorization"]
    if said.startswith("Basic "):
        return base64.b64decode(said.removeprefix("Basic ")).decode().partition(":")[2]
    return said.removeprefix("Bearer ")


async def gossip(request: web.Request, body: Body) -> web.StreamResponse:
    """What the question names: each another way to repeat the key."""
    key, how = told_back(request), body["messages"][0]["content"]
    page = f"<html>{SAFE}: {key} {json.dumps(key)}</html>"
    if how == "whole":
        answer = chat(f"{SAFE} {key}") | {
            "seen": {"Authorization": request.headers["Authorization"].split()[1]}
        }
        return web.json_response(answer, headers={"X-RateLimit-Key": key, "X-Request-Id": key})
    if how == "refused":
        headers = {"Retry_After": "1", "X_RateLimit_Reset_Key": key}
        return error(401, f"{SAFE}: Incorrect API key provided: {key}.", code=key, **headers)
    if how in ("429", "500"):
        return web.Response(status=int(how), text=page, content_type="text/html")
    if how == "page":
        return web.Response(text=page, content_type="text/html")
    if how == "redirected":
        return web.Response(status=307, headers={"Location": f"{NOWHERE}/{SAFE}/{key}/x?k={key}"})
    if how == "silent":
        await asyncio.sleep(3600)
    assert request.transport is not None
    if how == "no HTTP":
        request.transport.write(f"{SAFE} {key}\r\n\r\n".encode())
        request.transport.close()
        await asyncio.sleep(3600)
    response = await opened(request, **{"X-RateLimit-Key": key})
    event = chunk(f"{SAFE} {key}")
    middle = event.index(key.encode()) + 4
    await response.write(event[:middle])
    await asyncio.sleep(0.05)  # so that the key comes in two pieces
    await response.write(event[middle:])
    if how == "cut":
        await response.write(event[:middle])
        request.transport.abort()
    await response.write(DONE)
    return response


HOWS = ("whole", "refused", "429", "500", "page", "redirected", "silent", "no HTTP", "stream", "cut")


@dataclass
class Run:
    """Everything that came out of it."""

    daemon: Daemon
    answers: dict[str, bytes] = field(default_factory=dict)
    """By request: head and body."""
    events: list[bytes] = field(default_factory=list)
    commands: dict[str, bytes] = field(default_factory=dict)
    command_lines: bytes = b""
    shown: set[str] = field(default_factory=set)
    """Keys that the upstream was shown."""

    def call(self, method: str, path: str, body: Any = None) -> None:
        """One request, kept byte for byte."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.daemon.url + path, data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                head = bytes(response.headers)
                try:
                    said = response.read()
                except http.client.IncompleteRead as cut:
                    said = cut.partial
        except urllib.error.HTTPError as refused:
            with refused:
                head, said = bytes(refused.headers), refused.read()
        name = f"{method} {path} {body['messages'][0]['content'] if body and 'messages' in body else ''}"
        self.answers[name] = self.answers.get(name, b"") + head + said

    def command(self, *arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "janagent", *arguments],
            env=self.daemon.environment,
            capture_output=True,
            timeout=60,
            check=False,
        )
        self.commands[" ".join(arguments)] = done.stdout + done.stderr

    def listen(self, stop: threading.Event) -> None:
        """All of `/v1/events`, in pieces as they come."""
        parts = urlsplit(self.daemon.url)
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=0.2) as sock:
            sock.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while not stop.is_set():
                try:
                    self.events.append(sock.recv(1 << 16))
                except TimeoutError:
                    continue


def with_fault(text: Mapping[str, Any], **more: Any) -> str:
    changed = json.loads(json.dumps(text))
    changed["parameters"]["init"] |= more
    return json.dumps(changed, indent=1)


def drop_all(daemon: Daemon, upstream: Upstream, secure: Upstream, key_file: Path) -> list[str]:
    """Manifests of every kind that hold or name a key; returns the ids of those that work."""
    said = {
        "literal": KEYS["literal"],
        "variable": "${LEAK_KEY}",
        "file": f"file:{key_file}",
        "start": "${NOT_SET_KEY}",
    }
    for name, key in said.items():
        daemon.drop(name, manifest(upstream.url, key=key))
        daemon.drop(f"{name}-tls", manifest(secure.url, key=key))
    with_password = upstream.url.replace("//", f"//me:{quote(PASSWORD, safe='')}@")
    daemon.drop("password", manifest(with_password, key=None))
    literal = manifest(upstream.url, key=KEYS["literal"])
    daemon.drop("no-json", json.dumps(literal, indent=1).replace(f'{KEYS["literal"]}"', KEYS["literal"]))
    daemon.drop("bad-value", with_fault(literal, ctx_len="many"))
    daemon.drop("odd-names", with_fault(literal, **{"api_key": KEYS["literal"], "X-Api-Key": [KEYS["file"]]}))
    daemon.drop("two-words", with_fault(literal, **{"API-KEY": f"{KEYS['literal']} {KEYS['file']}"}))
    daemon.drop("no-text", with_fault(literal, **{"API-KEY": [KEYS["literal"]]}))
    return [*KEYS, "password"]


def go(run: Run, names: list[str]) -> None:
    """Everything that can be done with them."""
    daemon = run.daemon
    for name in (*names, "literal-tls"):
        until(lambda name=name: daemon.state(name) in ("running", "failed"))
    for name in ("start", "start-tls"):
        for more in ({"ctx_len": "many"}, {"temperature": KEYS["start"]}, {"API-KEY": [KEYS["start"]]}, {}):
            init = {"API-KEY": KEYS["start"], **more}
            run.call("PUT", f"/v1/models/{name}/start", {"model_parameters": {"init": init}})
    for name in names:
        for how in HOWS:
            body = {"model": name, "messages": [{"role": "user", "content": how}]}
            run.call("POST", "/v1/chat/completions", {**body, "stream": how in ("stream", "cut")})
            run.call("GET", f"/v1/models/{name}")
    for name in KEYS:
        body = {"model": f"{name}-tls", "messages": [{"role": "user", "content": "whole"}]}
        run.call("POST", "/v1/chat/completions", body)
    ids = [model["id"] for model in daemon.call("GET", "/v1/models")[1]["data"]]
    assert {*names, "no-json", "bad-value", "odd-names", "two-words", "no-text"} <= set(ids)
    for path in ("/v1/models", "/v1/models?filter=running", "/v1/health", "/metrics"):
        run.call("GET", path)
    for name in ids:
        run.call("GET", f"/v1/models/{name}")
        run.call("GET", f"/v1/models/{name}/logs")
    for name in ("literal", "start", "no-json"):
        run.command("show", name)
        run.command("show", name, "--json")
        run.command("logs", name)
    for command in (("ls",), ("ls", "--json"), ("check",), ("check", "--json"), ("logs",), ("doctor",)):
        run.command(*command)
    own = [daemon.pid, *(child.pid for child in daemon.children())]
    assert len(own) > 1, "there is a child to look at"
    run.command_lines = b"\n".join(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in own)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder, outside = tmp_path_factory.mktemp("leaks"), tmp_path_factory.mktemp("outside")
    key_file = outside / "key"
    key_file.touch(0o600)
    key_file.write_text(KEYS["file"])
    tls = make_authority(outside).server("localhost")
    env = {"LEAK_KEY": KEYS["variable"]}
    daemon = Daemon(folder, env=env, remote_stall_s=STALL_S, log_level="debug")
    with Upstream() as upstream, Upstream(tls=tls) as secure, daemon:
        upstream.answer = gossip
        run, stop = Run(daemon), threading.Event()
        listening = threading.Thread(target=run.listen, args=(stop,))
        listening.start()
        try:
            go(run, drop_all(daemon, upstream, secure, key_file))
        finally:
            stop.set()
            listening.join()
        for call in upstream.calls:
            said = call.headers["Authorization"].split()
            run.shown.add(said[1] if said[0] == "Bearer" else base64.b64decode(said[1]).decode()[3:])
        assert not secure.calls
        yield run


def assert_silent(said: Mapping[str, bytes]) -> None:
    found = {place: leaks(text) for place, text in said.items() if leaks(text)}
    assert not found


def test_every_key_was_used(run: Run) -> None:
    assert run.shown == set(SECRETS.values())


def test_no_answer_holds_a_key(run: Run) -> None:
    assert_silent(run.answers)
    chats = {name: text for name, text in run.answers.items() if "completions" in name}
    for how in ("whole", "refused", "429", "500", "redirected", "stream", "cut"):
        assert SAFE.encode() in chats[f"POST /v1/chat/completions {how}"], "the rest of it came through"
        assert b"***" in chats[f"POST /v1/chat/completions {how}"]
    assert b'"API-KEY":"***"' in run.answers["GET /v1/models/literal "].replace(b" ", b"")


def test_no_event_holds_a_key(run: Run) -> None:
    text = b"".join(run.events)
    assert_silent({"events": text})
    assert b"upstream_auth" in text
    assert b'"id":"start-tls"' in text.replace(b" ", b"")


def test_no_command_prints_a_key(run: Run) -> None:
    assert_silent(run.commands)
    assert b"literal" in run.commands["ls"]
    assert b"no-json" in run.commands["check"]
    assert SAFE.encode() in run.commands["logs literal"]


def test_the_daemon_says_no_key_even_when_it_says_all(run: Run) -> None:
    text = "\n".join(run.daemon.lines).encode()
    assert b" DEBUG " in text
    assert_silent({"stderr": text})


def test_no_process_has_a_key_among_its_arguments(run: Run) -> None:
    assert b"janagent" in run.command_lines
    assert_silent({"arguments": run.command_lines})


def test_no_file_that_janagent_writes_holds_a_key(run: Run) -> None:
    daemon = run.daemon
    places = [daemon.folder, Path(daemon.environment["XDG_RUNTIME_DIR"])]
    own = {str(path): path.read_bytes() for place in places for path in place.rglob("*") if path.is_file()}
    dropped = {name for name in own if name.startswith(f"{daemon.models}/") and "/.janagent/" not in name}
    assert len(dropped) == 14, "the manifests are the person's"
    assert any(leaks(own[name]) for name in dropped)
    written = {name: text for name, text in own.items() if name not in dropped}
    assert any(b" DEBUG " in text for text in written.values()), "the log is among them"
    assert_silent(written)


def test_a_manifest_with_a_literal_key_that_others_may_read_is_warned_about_with_the_remedy(run: Run) -> None:
    model = run.daemon.model("literal") or {}
    assert any("chmod" in words for words in model["warnings"]), model["warnings"]


# -- a crash --------------------------------------------------------------------------------------


@contextmanager
def dumps_allowed() -> Iterator[None]:
    """Processes that are started now may leave a core file."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


def test_a_crash_leaves_no_dump_and_says_no_key(tmp_path: Path) -> None:
    """Even where the system would write one: a dump of the memory holds every key."""
    env = {"LEAK_KEY": KEYS["variable"], "PYTHONFAULTHANDLER": "1"}
    with Upstream() as upstream, ExitStack() as ends:
        with dumps_allowed():
            daemon = ends.enter_context(Daemon(tmp_path, env=env))
        upstream.answer = gossip
        for name, key in (("literal", KEYS["literal"]), ("variable", "${LEAK_KEY}")):
            daemon.drop(name, manifest(upstream.url, key=key))
            daemon.wait_state(name, "running")
            body = {"model": name, "messages": [{"role": "user", "content": "whole"}]}
            assert daemon.call("POST", "/v1/chat/completions", body)[0] == 200
        for pid in (daemon.pid, *(child.pid for child in daemon.children())):
            assert resource.prlimit(pid, resource.RLIMIT_CORE)[0] == 0
        assert_all_gone(daemon.kill(signal.SIGABRT))
        until(lambda: any("Fatal Python error: Aborted" in line for line in daemon.lines))
        assert not list(Path.cwd().glob("core*"))
        assert_silent({"last words": "\n".join(daemon.lines).encode()})
