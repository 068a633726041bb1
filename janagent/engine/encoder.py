"""Encodes the media of requests, one at a time on a thread beside the decode thread, and keeps the results.

Answers that run go on meanwhile; the request itself takes no slot before its media are there. Results are
found again by their content, and what was used least lately goes first, so that the second question about a
picture need not look at it again. Neighbours: `sources` brings the bytes, `pictures` and `sounds` decode,
`projector` encodes.
"""

import asyncio
import collections
import concurrent.futures
import functools
import hashlib
from dataclasses import dataclass

from janagent.engine.faults import RequestError
from janagent.engine.media import Encoded, MediaRun
from janagent.engine.parts import Kind
from janagent.engine.pictures import pixels_of
from janagent.engine.projector import Projector, ProjectorError
from janagent.engine.sounds import checked_sound
from janagent.engine.work import QueueFull
from janagent.slices import ask_for_usual_slices

KEPT_BYTES = 256 << 20
"""Of embeddings; a picture for LLaVA 1.5 13B takes 12 MB. `folder.estimate` counts them in."""
#: of files that wait for their turn
_WAITING_BYTES = 256 << 20


@dataclass(eq=False, slots=True)
class _Job:
    """One content that is being encoded, for however many requests."""

    future: "concurrent.futures.Future[Encoded]"
    n_bytes: int
    n_waiting: int = 0


class MediaEncoder:
    """Over one projector. `encode` is called on the loop."""

    def __init__(
        self,
        projector: Projector,
        *,
        queue_limit: int,
        kept_bytes: int = KEPT_BYTES,
        waiting_bytes: int = _WAITING_BYTES,
    ) -> None:
        self.projector = projector
        self._waiting_limit = waiting_bytes
        self._queue_limit = queue_limit
        self._kept_limit = kept_bytes
        self._kept: collections.OrderedDict[bytes, Encoded] = collections.OrderedDict()
        self._underway: dict[bytes, _Job] = {}
        self._thread = concurrent.futures.ThreadPoolExecutor(
            1, thread_name_prefix="encode", initializer=ask_for_usual_slices
        )
        self.n_encoded = 0
        self.kept_bytes = 0
        """What the remembered embeddings take."""

    async def encode(self, data: bytes, kind: Kind, *, param: str) -> tuple[bytes, Encoded]:
        """The digest of a medium's content and what the model gets of it.

        Raises RequestError naming `param`, and QueueFull.
        """
        digest = hashlib.sha256(kind.encode() + data).digest()
        kept = self._kept.get(digest)
        if kept is not None:
            self._kept.move_to_end(digest)
            return digest, kept
        job = self._underway.get(digest)
        if job is None:
            waiting_bytes = len(data) + sum(other.n_bytes for other in self._underway.values())
            if self._underway and (
                len(self._underway) > self._queue_limit or waiting_bytes > self._waiting_limit
            ):
                raise QueueFull(retry_after_s=min(60, 1 + len(self._underway)))
            job = _Job(self._thread.submit(self._encode, data, kind, param), len(data))
            self._underway[digest] = job
        job.n_waiting += 1
        waiter = asyncio.wrap_future(job.future)
        waiter.add_done_callback(functools.partial(self._ended, digest))
        try:
            return digest, await asyncio.shield(waiter)
        finally:
            job.n_waiting -= 1
            if job.n_waiting == 0:
                self._underway.pop(digest, None)
                job.future.cancel()  # if nobody wants it any more and it has not begun

    def _encode(self, data: bytes, kind: Kind, param: str) -> Encoded:
        """On the thread."""
        try:
            if kind is Kind.PICTURE:
                encoded = self.projector.encode_picture(pixels_of(data, param=param))
            else:
                encoded = self.projector.encode_sound(checked_sound(data, param=param))
        except ProjectorError as error:
            code = "invalid_image" if kind is Kind.PICTURE else "invalid_audio"
            raise RequestError(f"{param}: {error}", param=param, code=code) from error
        self.n_encoded += 1
        return encoded

    def _ended(self, digest: bytes, waiter: "asyncio.Future[Encoded]") -> None:
        """Whether or not anybody still waits: whoever left because it took too long may come again."""
        if not waiter.cancelled() and waiter.exception() is None:
            self._keep(digest, waiter.result())

    def _keep(self, digest: bytes, encoded: Encoded) -> None:
        size = _bytes_of(encoded)
        if digest in self._kept or size > self._kept_limit:
            return
        self._kept[digest] = encoded
        self.kept_bytes += size
        while self.kept_bytes > self._kept_limit:
            _, oldest = self._kept.popitem(last=False)
            self.kept_bytes -= _bytes_of(oldest)


def _bytes_of(encoded: Encoded) -> int:
    return sum(piece.embeddings.nbytes for piece in encoded if isinstance(piece, MediaRun))
