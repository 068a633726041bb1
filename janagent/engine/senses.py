"""What a model can see and hear: from a part of a message to what the model gets of it.

Puts `sources`, `encoder` and `projector` together, and has the answer for models that lack them. Neighbours:
`server` asks, `worker` makes one.
"""

import logging

from janagent.children.wire import EngineSpec
from janagent.engine.encoder import MediaEncoder
from janagent.engine.faults import RequestError
from janagent.engine.llama_log import EngineLog
from janagent.engine.media import Encoded, MediaRun
from janagent.engine.model import LoadError, Model
from janagent.engine.parts import Kind, Medium
from janagent.engine.projector import Projector, open_projector
from janagent.engine.replies import queue_full
from janagent.engine.sources import read_source
from janagent.engine.work import QueueFull

log = logging.getLogger(__name__)

_WORDS = {Kind.PICTURE: "pictures", Kind.SOUND: "sound"}


class Senses:
    """Of one loaded model. `lack` says why there is no projector.

    `largest_run` is how many embeddings can be decoded at once, where they have to be.
    """

    def __init__(
        self, projector: Projector | None, *, spec: EngineSpec, largest_run: int, lack: str = ""
    ) -> None:
        self._rules = spec.media
        self._largest_run = largest_run
        self._lack = lack
        self._encoder = None if projector is None else MediaEncoder(projector, queue_limit=spec.queue_limit)

    @property
    def warnings(self) -> tuple[str, ...]:
        """For the person who loaded the model."""
        return (self._lack,) if self._lack else ()

    async def perceive(self, medium: Medium, *, param: str) -> tuple[bytes, Encoded]:
        """The digest of what a part shows, and what the model gets of it. Raises RequestError."""
        encoder = self._able(medium.kind, param)
        data = await read_source(medium, self._rules, param=param)
        try:
            digest, encoded = await encoder.encode(data, medium.kind, param=param)
        except QueueFull as error:
            raise queue_full(error) from error
        for piece in encoded:
            if isinstance(piece, MediaRun) and not piece.is_causal and piece.size > self._largest_run:
                raise RequestError(
                    f"{param}: it takes {piece.size} tokens at once, but n_batch is {self._largest_run}",
                    param=param,
                    code="invalid_image",
                )
        return digest, encoded

    def _able(self, kind: Kind, param: str) -> MediaEncoder:
        """Raises RequestError where the model lacks that sense."""
        encoder = self._encoder
        if encoder is None:
            reason = self._lack or "there is no projector (mmproj) beside it"
        elif not (encoder.projector.sees if kind is Kind.PICTURE else encoder.projector.hears):
            reason = "its projector is not made for that"
        else:
            return encoder
        words = f"this model does not take {_WORDS[kind]}: {reason}"
        raise RequestError(f"{param}: {words}", param=param, code="unsupported_content")


def open_senses(
    spec: EngineSpec, model: Model, *, n_threads: int, largest_run: int, engine_log: EngineLog
) -> Senses:
    """Load the projector of `spec`, if it has one. A model whose projector cannot be used still reads."""
    projector, lack = None, ""
    if spec.projector_path is not None:
        engine_log.forget()
        try:
            projector = open_projector(
                spec.projector_path,
                model=model,
                n_threads=n_threads,
                use_gpu=spec.ngl > 0,
                log=engine_log,
            )
        except LoadError as error:
            reason = engine_log.last_errors() or str(error)
            lack = f"the projector cannot be used: {reason[:500]}"
            log.warning("%s", lack)
    return Senses(projector, spec=spec, largest_run=largest_run, lack=lack)
