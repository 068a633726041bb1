"""The lives of remote engines: opened for a `StartEngine`, closed when told, ended when their key is gone.

Part of the I/O half, as `fetchers` is. Owns the one HTTP session whose connections all remote models share,
kept alive per origin. Knows nothing of requests (`client` does) and decides nothing (the machine does).
"""

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Self

import aiohttp

from janagent import __version__
from janagent.children.logs import LogRing
from janagent.core import events as ev
from janagent.core.actions import StartEngine
from janagent.folder.fault import Fault
from janagent.network import client_tls
from janagent.remote.address import Address, address_of
from janagent.remote.client import Remote, RemoteClient
from janagent.remote.faults import KEY_MISSING
from janagent.remote.keys import KeyProblem, resolve
from janagent.remote.sending import tracing

log = logging.getLogger(__name__)

KEPT_S = 60.0
"""An idle connection is kept for so long: less than the common servers and balancers keep theirs."""
READ_BYTES = 16 << 10
"""Of an answer lie in memory before its sender must wait, about."""


class Remotes:
    """Opens remote engines; an async context manager."""

    def __init__(
        self, *, post: Callable[[ev.Event], None], logs_of: Callable[[str], LogRing], stall_s: float
    ) -> None:
        self._post = post
        self._logs_of = logs_of
        self._stall_s = stall_s
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()
        self._told: dict[str, str] = {}
        """What was said last of a key that is not there: it is looked for again and again."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def open(self, action: StartEngine, *, key_lost: Callable[[str], None]) -> RemoteClient:
        """A client for the model of `action`. `key_lost` is told, later, when its key cannot be had any more.

        Raises KeyProblem and BadEnvironment.
        """
        entry, init = action.entry, action.plan.init
        address = address_of(entry.manifest, init, model_id=entry.id)
        logs = self._logs_of(entry.key)
        try:
            await _check_key(init.api_key, address)
        except KeyProblem as problem:
            if self._told.get(entry.key) != str(problem):
                self._told[entry.key] = str(problem)
                logs.add(f"janagent: {problem}")
                log.info("%s cannot be used: %s", entry.id, problem)
            raise
        self._told.pop(entry.key, None)
        logs.add(f"janagent: requests go to {address.host} as model {address.model}")

        def seen(latency_ms: float | None, fault: Fault | None) -> None:
            if fault is not None:
                logs.add(f"janagent: {fault.message}")
            self._post(ev.RemoteSeen(action.engine, latency_ms, fault))
            if fault is not None and fault.code == KEY_MISSING:
                key_lost(fault.message)

        remote = Remote(entry.id, address, init.api_key, stall_s=self._stall_s)
        return RemoteClient(remote, session=await self._shared_session(), seen=seen)

    async def _shared_session(self) -> aiohttp.ClientSession:
        async with self._opening:
            if self._session is None:
                tls = await asyncio.to_thread(client_tls)
                self._session = aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_S, ssl=tls),
                    headers={"User-Agent": f"janagent/{__version__}"},
                    cookie_jar=aiohttp.DummyCookieJar(),
                    read_bufsize=READ_BYTES,
                    trace_configs=[tracing()],
                    trust_env=False,  # see janagent.network
                )
            return self._session


async def _check_key(reference: str | None, address: Address) -> None:
    """Raises KeyProblem if it is not to be had, or there is none where one is needed."""
    if reference:
        await resolve(reference)
    elif address.needs_key:
        raise KeyProblem(f"{address.host} lets nobody in without a key: set API-KEY in the manifest")
