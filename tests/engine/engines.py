"""The real engine program as a child process for tests: started, heard and stopped as the daemon does it."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Self, TypeVar

import aiohttp

from janagent.children import wire

DEADLINE_S = 180.0
Line = TypeVar("Line", bound=wire.Wire)
Json = dict[str, Any]


class Engine:
    """One engine process. Everything it says on its status pipe is kept in `lines`."""

    def __init__(self, *arguments: str) -> None:
        # Unix socket paths are short; pytest's folders are not.
        self.folder = Path(tempfile.mkdtemp(prefix="je-", dir="/tmp"))
        self.socket = self.folder / "e.sock"
        self.lines: list[wire.StatusLine] = []
        self._changed = threading.Condition()
        status_read, status_write = os.pipe()
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "janagent.engine", *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(status_write,),
                env=os.environ | {wire.STATUS_FD_VARIABLE: str(status_write)},
                start_new_session=True,
            )
        os.close(status_write)
        self._reader = threading.Thread(target=self._read, args=(status_read,))
        self._reader.start()

    def _read(self, fd: int) -> None:
        with os.fdopen(fd, "rb") as pipe:
            for line in pipe:
                with self._changed:
                    self.lines.append(wire.parse_status(line))
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        shutil.rmtree(self.folder)

    def spec(self, model: Path, **fields: Any) -> wire.EngineSpec:
        """A spec for `model` on this engine's socket."""
        given: Json = {"ctx_len": 256, "n_parallel": 1, "model_id": "m", **fields}
        return wire.EngineSpec(socket_path=str(self.socket), model_path=str(model), **given)

    def give(self, spec: wire.EngineSpec | bytes) -> None:
        """Write the first line."""
        assert self.process.stdin is not None
        self.process.stdin.write(spec if isinstance(spec, bytes) else wire.encode(spec))
        self.process.stdin.flush()

    def start(self, model: Path, **fields: Any) -> Self:
        """Give a spec and wait until it is ready."""
        self.give(self.spec(model, **fields))
        self.wait_for(wire.Ready)
        return self

    def hang_up(self) -> None:
        """Close its stdin, as the death of the parent does."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def wait_for(
        self, kind: type[Line], condition: Callable[[Line], bool] = lambda _line: True, *, after: int = 0
    ) -> Line:
        """The first status line of `kind` that meets `condition`, among those from number `after` on."""
        seen = after
        until_s = time.monotonic() + DEADLINE_S
        with self._changed:
            while True:
                for line in self.lines[seen:]:
                    seen += 1
                    if isinstance(line, kind) and condition(line):
                        return line
                if not self._reader.is_alive() or time.monotonic() > until_s:
                    raise AssertionError(f"no {kind.__name__}: {self.lines[-3:]}\n{self.log()}")
                self._changed.wait(0.5)

    def exit_status(self) -> int:
        """Wait for its end."""
        return self.process.wait(DEADLINE_S)

    def log(self) -> str:
        """What it wrote to stderr."""
        return (self.folder / "log").read_text(errors="replace")

    def wait_for_log(self, text: str) -> None:
        """Wait until it has written `text` to stderr."""
        until_s = time.monotonic() + DEADLINE_S
        while text not in self.log():
            assert time.monotonic() < until_s, self.log()
            time.sleep(0.05)

    def idle(self) -> None:
        """Wait for a report, made from now on, that nothing is live or queued."""
        self.wait_for(wire.Stats, lambda s: s.live == 0 and s.queued == 0, after=len(self.lines))


class Client:
    """A client of one engine, on one event loop."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def post(self, path: str, **body: Any) -> tuple[int, Json]:
        """POST `body` to /v1/`path`; the status and the JSON of the answer."""
        async with self.session.post(f"/v1/{path}", json=body) as answer:
            return answer.status, await answer.json()

    async def ok(self, path: str, **body: Any) -> Json:
        """The same, which must succeed."""
        status, shown = await self.post(path, **body)
        assert status == 200, shown
        return shown

    async def error(self, path: str, **body: Any) -> Json:
        """The error of a request that must fail with 400."""
        status, shown = await self.post(path, **body)
        assert status == 400, shown
        assert set(shown["error"]) == {"message", "type", "param", "code"}
        return shown["error"]

    async def events(self, path: str, **body: Any) -> list[Json]:
        """The events of a streamed answer, without the closing [DONE], which must be there."""
        async with self.session.post(f"/v1/{path}", json=body | {"stream": True}) as answer:
            assert answer.status == 200, await answer.text()
            assert answer.content_type == "text/event-stream"
            data = await answer.read()
        *events, done, end = data.decode().split("\n\n")
        assert (done, end) == ("data: [DONE]", "")
        assert all(event.startswith("data: ") for event in events)
        return [json.loads(event.removeprefix("data: ")) for event in events]


@contextlib.asynccontextmanager
async def client_of(engine: Engine) -> AsyncIterator[Client]:
    """A client of `engine`."""
    connector = aiohttp.UnixConnector(path=str(engine.socket), limit=0)
    timeout = aiohttp.ClientTimeout(total=DEADLINE_S)
    async with aiohttp.ClientSession("http://engine", connector=connector, timeout=timeout) as session:
        yield Client(session)


def user(text: str) -> list[Json]:
    """A conversation of one message."""
    return [{"role": "user", "content": text}]


def answer_text(shown: Json, index: int = 0) -> str:
    """The text of a whole chat answer."""
    text = shown["choices"][index]["message"]["content"]
    assert isinstance(text, str)
    return text


def streamed_text(events: list[Json], index: int = 0) -> str:
    """The text of a streamed chat answer."""
    deltas = [c["delta"] for event in events for c in event["choices"] if c["index"] == index]
    return "".join(delta.get("content") or "" for delta in deltas)
