"""A daemon in small: `parent.py SPEC PROGRAM...` prints the pids of two ready engines and a warm spare."""

import asyncio
import sys

from janagent.children.logs import LogRing
from janagent.children.pool import EnginePool
from janagent.children.wire import EngineSpec, Ready

SPEC = EngineSpec.model_validate_json(sys.argv[1])


async def main() -> None:
    async with EnginePool(argv=sys.argv[2:], refill_delay_s=0) as pool:
        pids = []
        for number in range(2):
            await pool.wait_until_warm()
            spec = SPEC.model_copy(update={"socket_path": f"{SPEC.socket_path}{number}"})
            child = await pool.start(spec, logs=LogRing())
            pids.append(child.pid)
            async for line in child.status():
                if isinstance(line, Ready):
                    break
        await pool.wait_until_warm()
        print(*pids, pool.spare_pid, flush=True)
        await asyncio.Event().wait()


asyncio.run(main())
