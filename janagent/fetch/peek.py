"""The first bytes of a remote file: a model's dimensions before it is chosen, or a small file whole.

Bounded in bytes and in time, also where a server ignores `Range`: the connection is closed at the limit.
Neighbours: `importers` asks, `client` speaks HTTP.
"""

import asyncio
import logging

from janagent.fetch.client import Auth, Client, Source
from janagent.fetch.faults import Code, FetchError
from janagent.fetch.plan import RemoteFile
from janagent.folder.gguf import Header, header_of_beginning

log = logging.getLogger(__name__)

HEADER_BYTES = 256 << 10
"""The dimensions come before the vocabulary, within the first kilobytes."""
STALL_S = 10.0
LONGEST_S = 20.0


async def beginning(file: RemoteFile, *, auth: Auth, limit_bytes: int) -> bytes:
    """The first bytes of `file`, at most `limit_bytes`. Raises FetchError."""
    data = bytearray()
    try:
        async with (
            asyncio.timeout(LONGEST_S),
            Client(auth=auth, connections=1, stall_s=STALL_S) as client,
            client.get(Source(file), start=0, end=limit_bytes, etag=None) as answer,
        ):
            async for chunk in answer.response.content.iter_any():
                data += chunk
                if len(data) >= limit_bytes:
                    break
    except TimeoutError:
        words = f"the beginning of {file.name} did not come within {LONGEST_S:g} s"
        raise FetchError(Code.STALLED, words) from None
    return bytes(data[:limit_bytes])


async def header_of(file: RemoteFile, *, auth: Auth) -> Header | None:
    """What the header of a GGUF says of the model's dimensions; None where it cannot be had, which is no
    reason to give up: the choice is then made by size."""
    try:
        return header_of_beginning(await beginning(file, auth=auth, limit_bytes=HEADER_BYTES))
    except FetchError as error:
        log.info("the header of %s could not be read (%s): estimating by size", file.name, error.message)
        return None
