"""How long the daemon's event loop was blocked at most, seen from outside: a program asks a tiny question
every few milliseconds, and the slowest answer took at least as long as any block that fell on it.

An upper bound: what the system made daemon and asker wait for a core is in it. What remains without any load
is measured in the same way, for comparison. Neighbour: `fetch`, which has a large file downloaded meanwhile.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

EVERY_S = 0.005
ASKER = """
import http.client, json, select, sys, time
connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=60)
connection.connect()
every_s, took = float(sys.argv[3]), []
print("asking", flush=True)
while not select.select([sys.stdin], [], [], every_s)[0]:
    begun = time.perf_counter()
    connection.request("GET", "/v1/models/nobody")
    connection.getresponse().read()
    took.append(time.perf_counter() - begun)
print(json.dumps(took))
"""
"""A process of its own: it must not wait for the loop of the benchmark, which serves the file. It asks for a
model that is not there, which costs the daemon next to nothing. Ends when its stdin does."""


@dataclass(slots=True)
class Answers:
    """Seconds that each answer took; filled when the asking is over."""

    took_s: list[float]

    @property
    def longest_ms(self) -> float:
        """The slowest one."""
        return 1e3 * max(self.took_s)


@asynccontextmanager
async def asking(url: str) -> AsyncIterator[Answers]:
    """Ask the daemon at `url` until the block ends."""
    parts, answers = urlsplit(url), Answers([])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ASKER, str(parts.hostname), str(parts.port), str(EVERY_S)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 26,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        await asyncio.wait_for(process.stdout.readline(), 30)
        yield answers
        process.stdin.close()
        answers.took_s = json.loads(await asyncio.wait_for(process.stdout.readline(), 70))
    finally:
        if process.returncode is None:
            process.stdin.close()
            await process.wait()
