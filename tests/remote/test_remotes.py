"""The lives of remote engines, without a daemon."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from janagent.children.logs import LogRing
from janagent.core import events as ev
from janagent.core.actions import StartEngine
from janagent.core.memory import remote_plan
from janagent.folder.manifest import read_manifest
from janagent.redact import redact_text
from janagent.remote.client import RemoteClient
from janagent.remote.keys import KeyProblem
from janagent.remote.remotes import Remotes
from janagent.upstream import EngineLost, Trail
from tests.core.driver import remote
from tests.remote.upstream import KEY, Upstream


class Bench:
    def __init__(self) -> None:
        self.told: list[ev.Event] = []
        self.logs = LogRing(redact=redact_text)
        self.lost: list[str] = []
        self.remotes = Remotes(post=self.told.append, logs_of=lambda _key: self.logs, stall_s=60.0)

    async def open(self, origin: str, key: str | None) -> RemoteClient:
        init = {} if key is None else {"API-KEY": key}
        text = {"origin": origin, "import_format": "openai", "parameters": {"init": init}}
        manifest = read_manifest(json.dumps(text).encode()).manifest
        assert manifest is not None
        entry = replace(remote("far"), manifest=manifest)
        action = StartEngine(1, 2, entry, remote_plan("k", manifest.init), deadline_s=60)
        return await self.remotes.open(action, key_lost=self.lost.append)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    async with made.remotes:
        yield made


async def encode(body: Any) -> bytes:
    return json.dumps(body).encode()


async def ask(client: RemoteClient) -> Any:
    body = {"model": "far", "messages": [{"role": "user", "content": "Hi"}]}
    return await client.ask("chat/completions", body, encode=encode, trail=Trail("r1"))


async def test_a_key_that_is_not_there_is_told_once(bench: Bench) -> None:
    for _ in range(3):
        with pytest.raises(KeyProblem):
            await bench.open("http://localhost:1", "${NOBODY_SET_THIS_KEY}")
    assert bench.logs.text().count("NOBODY_SET_THIS_KEY") == 1


async def test_a_key_that_goes_away_is_told_to_the_engine_s_owner(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(KEY)
    path.chmod(0o600)
    with Upstream(key=KEY) as upstream:
        client = await bench.open(upstream.url, f"file:{path}")
        (await ask(client)).close()
        assert not bench.lost
        path.unlink()
        with pytest.raises(EngineLost):
            await ask(client)
    assert len(bench.lost) == 1
    seen = [event for event in bench.told if isinstance(event, ev.RemoteSeen)]
    assert [event.fault.code if event.fault else "" for event in seen] == ["", "key_missing"]


async def test_a_closed_client_asks_nobody(bench: Bench) -> None:
    with Upstream() as upstream:
        client = await bench.open(upstream.url, None)
        client.close()
        with pytest.raises(EngineLost, match="stopped"):
            await ask(client)
        assert not upstream.calls
