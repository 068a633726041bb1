"""A daemon in small: one engine and a warm spare of `parent.py PROGRAM...`, pids on stdout, then waits."""

import asyncio
import sys

from janagent.children.logs import LogRing
from janagent.children.pool import EnginePool
from janagent.children.wire import EngineSpec

SPEC = EngineSpec(socket_path="/nowhere", model_path="/nowhere", model_id="m", ctx_len=8, n_parallel=1)


async def main() -> None:
    async with EnginePool(argv=sys.argv[1:], refill_delay_s=0) as pool:
        pids = []
        for _ in range(2):
            await pool.wait_until_warm()
            child = await pool.start(SPEC, logs=LogRing())
            pids.append(child.pid)
        await pool.wait_until_warm()
        print(*pids, pool.spare_pid, flush=True)
        await asyncio.Event().wait()


asyncio.run(main())
