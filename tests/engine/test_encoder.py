"""Media encoded beside the loop, once for each content."""

import asyncio
import gc
import threading

import psutil
import pytest

from janagent.engine.encoder import MediaEncoder
from janagent.engine.faults import RequestError
from janagent.engine.llama_log import EngineLog
from janagent.engine.media import Encoded
from janagent.engine.model import load_model
from janagent.engine.parts import Kind
from janagent.engine.projector import Pixels, Projector, open_projector
from janagent.engine.work import QueueFull
from tests.engine.pictures import picture
from tests.gguf_files import write_model, write_projector

RUN_BYTES = 16 * 64 * 4
"""Of one picture."""


@pytest.fixture(scope="module")
def projector(tmp_path_factory: pytest.TempPathFactory, engine_log: EngineLog) -> Projector:
    folder = tmp_path_factory.mktemp("pair")
    path = write_model(folder / "m.gguf")
    model = load_model(str(path), n_gpu_layers=0, on_progress=lambda _fraction: None)
    mmproj = write_projector(folder / "p.gguf")
    return open_projector(str(mmproj), model=model, n_threads=1, use_gpu=False, log=engine_log)


class Gated:
    """The projector behind a gate, so that a test decides how long a picture takes."""

    def __init__(self, projector: Projector) -> None:
        self._projector = projector
        self.gate = threading.Event()
        self.began = threading.Event()

    def encode_picture(self, pixels: Pixels) -> Encoded:
        self.began.set()
        assert self.gate.wait(30)
        return self._projector.encode_picture(pixels)


def seen(encoder: MediaEncoder, data: bytes) -> "asyncio.Task[tuple[bytes, Encoded]]":
    return asyncio.ensure_future(encoder.encode(data, Kind.PICTURE, param="p"))  # noqa: TID251


async def test_the_second_look_costs_nothing(projector: Projector):
    encoder = MediaEncoder(projector, queue_limit=9)
    first, other, again = [await seen(encoder, picture(seed)) for seed in (1, 2, 1)]
    assert encoder.n_encoded == 2
    assert again[1] is first[1]
    assert first[0] != other[0]
    assert encoder.kept_bytes == 2 * RUN_BYTES


async def test_those_who_ask_together_share_one_look(projector: Projector):
    gated = Gated(projector)
    encoder = MediaEncoder(gated, queue_limit=9)  # type: ignore[arg-type]
    tasks = [seen(encoder, picture(1)) for _ in range(5)]
    await asyncio.to_thread(gated.began.wait, 30)
    tasks[0].cancel()
    gated.gate.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert len({id(one[1]) for one in found[1:]}) == 1
    assert encoder.n_encoded == 1


async def test_what_nobody_waits_for_any_more_is_not_begun(projector: Projector):
    gated = Gated(projector)
    encoder = MediaEncoder(gated, queue_limit=9)  # type: ignore[arg-type]
    running, waiting = seen(encoder, picture(1)), seen(encoder, picture(2))
    await asyncio.to_thread(gated.began.wait, 30)
    waiting.cancel()
    running.cancel()
    await asyncio.gather(running, waiting, return_exceptions=True)
    gated.gate.set()
    await seen(encoder, picture(3))
    assert encoder.n_encoded == 2, "the first one had begun"
    await seen(encoder, picture(1))
    assert encoder.n_encoded == 2, "and is kept for whoever comes again"


async def test_a_long_line_is_refused(projector: Projector):
    gated = Gated(projector)
    encoder = MediaEncoder(gated, queue_limit=1)  # type: ignore[arg-type]
    tasks = [seen(encoder, picture(seed)) for seed in range(2)]
    await asyncio.to_thread(gated.began.wait, 30)
    with pytest.raises(QueueFull):
        await seen(encoder, picture(2))
    gated.gate.set()
    await asyncio.gather(*tasks)


async def test_files_that_wait_take_only_so_much_memory(projector: Projector):
    gated = Gated(projector)
    size = len(picture(0))
    encoder = MediaEncoder(gated, queue_limit=99, waiting_bytes=2 * size)  # type: ignore[arg-type]
    tasks = [seen(encoder, picture(0)), seen(encoder, picture(0)), seen(encoder, b"small" * (size // 10))]
    await asyncio.to_thread(gated.began.wait, 30)
    with pytest.raises(QueueFull):
        await seen(encoder, picture(1))
    gated.gate.set()
    with pytest.raises(RequestError):
        await tasks[2]
    assert (await tasks[0])[1] is (await tasks[1])[1]
    large = MediaEncoder(projector, queue_limit=9, waiting_bytes=1)
    assert await seen(large, picture(1)), "one alone may be as large as it likes"


async def test_a_bad_picture_is_an_error_each_time_and_takes_no_room(projector: Projector):
    encoder = MediaEncoder(projector, queue_limit=9)
    for _ in range(2):
        with pytest.raises(RequestError, match="no picture"):
            await seen(encoder, b"nonsense")
    assert (encoder.n_encoded, encoder.kept_bytes) == (0, 0)


async def test_what_was_used_least_lately_makes_room(projector: Projector):
    encoder = MediaEncoder(projector, queue_limit=9, kept_bytes=2 * RUN_BYTES)
    for seed in (1, 2, 1, 3):
        await seen(encoder, picture(seed))
    assert (encoder.n_encoded, encoder.kept_bytes) == (3, 2 * RUN_BYTES)
    await seen(encoder, picture(1))
    assert encoder.n_encoded == 3
    await seen(encoder, picture(2))
    assert encoder.n_encoded == 4


async def test_memory_is_flat_over_many_pictures(projector: Projector):
    encoder = MediaEncoder(projector, queue_limit=9, kept_bytes=10 * RUN_BYTES)

    async def look(seeds: range) -> int:
        for seed in seeds:
            await seen(encoder, picture(seed, width=300, height=200))
        gc.collect()
        return int(psutil.Process().memory_info().rss)

    before = await look(range(50))
    after = await look(range(50, 550))
    assert encoder.n_encoded == 550
    assert after - before < 500 * 20_000, "a bitmap is 180 kB, and mtmd's own are larger"
