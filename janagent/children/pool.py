"""Engine processes, one of them started before anybody needs it.

Owns the spare worker: interpreter up, llama.cpp imported, no model, so that a cold start costs only the model
load. Knows nothing of models; the executor says what to load and owns each child that `start` returns. The
neighbour is `spawn`, which knows how to run a process but not why.
"""

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from janagent import aio
from janagent.children import wire
from janagent.children.exits import Exit
from janagent.children.logs import LogRing
from janagent.children.spawn import Child

log = logging.getLogger(__name__)

ENGINE_ARGV = (sys.executable, "-P", "-m", "janagent.engine")
"""`-P`: a module that lies in the current folder must not be imported in place of a real one."""
_GOOD_LIFE_S = 60.0
"""A spare that lived so long did not die of what it is."""


@dataclass(slots=True)
class _Spare:
    """A worker without a model. `life` ends with its process; it is cancelled when the spare is taken."""

    child: Child
    life: asyncio.Task[Exit]
    is_taken: bool = False


class EnginePool:
    """Starts engines; as a context manager it keeps one spare warm when `spare` is true.

    A taken spare is replaced after `refill_delay_s`, so that its imports do not compete with the load. One
    that dies is replaced after `backoff_s[0]`, doubling to `backoff_s[1]`. One that is not warm within
    `warm_limit_s` counts as dead.
    """

    def __init__(
        self,
        *,
        argv: Sequence[str] = ENGINE_ARGV,
        spare: bool = True,
        env: Mapping[str, str] | None = None,
        refill_delay_s: float = 3.0,
        backoff_s: tuple[float, float] = (1.0, 300.0),
        warm_limit_s: float = 120.0,
    ) -> None:
        self._argv = tuple(argv)
        self._env = env
        self._keeps_spare = spare
        self._refill_delay_s = refill_delay_s
        self._backoff_s = backoff_s
        self._warm_limit_s = warm_limit_s
        self._is_open = False
        self._spare: _Spare | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._is_warm = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._is_open = True
        if self._keeps_spare:
            self._keeper = aio.create_task(self._keep_spare(), name="spare engine")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the spare. The engines that `start` returned are their takers' to stop."""
        self._is_open = False
        if self._keeper is not None:
            await aio.cancel_and_wait(self._keeper)

    @property
    def spare_pid(self) -> int | None:
        """The spare's process, warm or not yet; None while there is none."""
        return self._spare.child.pid if self._spare is not None else None

    async def start(self, spec: wire.EngineSpec, *, logs: LogRing) -> Child:
        """A process that has been told `spec`, writing to `logs`. Raises OSError when none can be started.

        What it reports may begin with `Spare`. The caller owns it, also when this call is cancelled: then
        it is killed here.
        """
        if not self._is_open:
            raise RuntimeError("the pool is not open")
        name = f"engine {spec.model_id}"
        child = self._take_spare()
        if child is not None:
            child.adopt(name=name, logs=logs)
        else:
            child = await Child.spawn(self._argv, logs=logs, name=name, env=self._env)
        try:
            await child.send(wire.encode(spec))
        except BaseException:
            child.kill()
            raise
        return child

    async def wait_until_warm(self) -> None:
        """Return once there is a spare that only waits for its spec."""
        await self._is_warm.wait()

    def _take_spare(self) -> Child | None:
        spare, self._spare = self._spare, None
        self._is_warm.clear()
        if spare is None or not spare.child.is_alive:
            return None  # the keeper replaces a dead one
        # From here on its task takes no status line any more: they are for the new owner.
        spare.life.cancel()
        spare.is_taken = True
        return spare.child

    async def _keep_spare(self) -> None:
        """Replace the spare for ever, at a pace that depends on how the last one went."""
        first_s, longest_s = self._backoff_s
        backoff_s = first_s
        while True:
            started = time.monotonic()
            words = await self._one_spare()
            if words is None or time.monotonic() - started > _GOOD_LIFE_S:
                backoff_s = first_s
            if words is None:
                await asyncio.sleep(self._refill_delay_s)
                continue
            log.warning("no spare engine, next try in %g s: %s", backoff_s, words)
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, longest_s)

    async def _one_spare(self) -> str | None:
        """The life of one spare. None when it was taken, else words about its end."""
        logs = LogRing(max_lines=200)
        try:
            child = await Child.spawn(self._argv, logs=logs, name="spare engine", env=self._env)
        except OSError as error:
            return f"it cannot be started ({error})"
        life = aio.create_task(self._live(child), name=f"spare engine {child.pid}")
        spare = self._spare = _Spare(child, life)
        try:
            await asyncio.wait([life])
        finally:
            if not spare.is_taken:
                self._spare = None
                self._is_warm.clear()
                life.cancel()
                await child.stop(grace_s=0)
        if spare.is_taken:
            return None
        last_words = "".join(f"\n    {line.text}" for line in logs.lines(last=10))
        return f"{life.result().message}; it wrote:{last_words or ' nothing'}"

    async def _live(self, child: Child) -> Exit:
        try:
            async with asyncio.timeout(self._warm_limit_s), contextlib.aclosing(child.status()) as lines:
                async for line in lines:
                    if isinstance(line, wire.Spare):
                        self._is_warm.set()
                        break
        except TimeoutError:
            log.warning("the spare engine (pid %d) did not get ready in %g s", child.pid, self._warm_limit_s)
            child.kill()
        return await child.wait()
