"""Pictures between tokens: the logits are those that llama.cpp's own way through a prompt brings."""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from janagent.engine.context import Context, ContextOptions, Decoded, open_context
from janagent.engine.feeding import next_to_see, prefill_medium
from janagent.engine.llama_log import EngineLog
from janagent.engine.media import Prompt, joined
from janagent.engine.model import Model, load_model
from janagent.engine.projector import Pixels, Projector, open_projector
from janagent.engine.sampling import Sampling
from janagent.engine.slots import Slot
from janagent.engine.text import TextStream
from janagent.engine.work import Generation
from tests.engine.projectors import write_gridded, write_gridded_model, write_whole
from tests.gguf_files import write_model, write_projector

BEFORE, AFTER = "Look at this: ", " What is it?"
Write = Callable[[Path], Path]


class Pair:
    """A model with its projector, in this process."""

    def __init__(self, model: Path, projector: Path, log: EngineLog) -> None:
        self.model: Model = load_model(str(model), n_gpu_layers=0, on_progress=lambda _fraction: None)
        self.projector: Projector = open_projector(
            str(projector), model=self.model, n_threads=1, use_gpu=False, log=log
        )

    def context(self) -> Context:
        options = ContextOptions(n_ctx=512, n_batch=256, n_seq_max=1, n_threads=1)
        return open_context(self.model, options)

    def prompt(self, pixels: Pixels) -> Prompt:
        before, after = (self.model.tokenize(text, special=True) for text in (BEFORE, AFTER))
        return joined([before, (b"digest", self.projector.encode_picture(pixels)), after])

    def expected(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """The last logits, by mtmd's helper."""
        mtmd: Any = self.projector._mtmd
        handle, context = self.projector._handle, self.context()
        bitmap = mtmd.mtmd_bitmap_init(
            pixels.shape[1], pixels.shape[0], pixels.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        )
        text = (BEFORE + "<__media__>" + AFTER).encode()
        given = mtmd.mtmd_input_text(text=text, text_len=len(text), add_special=False, parse_special=True)
        chunks = mtmd.mtmd_input_chunks_init()
        bitmaps = (ctypes.c_void_p * 1)(bitmap)
        assert mtmd.mtmd_tokenize(handle, chunks, ctypes.byref(given), bitmaps, 1) == 0
        past = ctypes.c_int32(0)
        assert (
            mtmd.mtmd_helper_eval_chunks(handle, context.handle, chunks, 0, 0, 256, True, ctypes.byref(past))
            == 0
        )
        return context.logits(-1).copy()


def ours(pair: Pair, prompt: Prompt, *, at_most: int) -> npt.NDArray[np.float32]:
    """The last logits, by the slots' way."""
    context = pair.context()
    slot = Slot(seq_id=0, tokens=np.zeros(512, dtype=np.int32))
    slot.generation = Generation(
        prompt=prompt.tokens,
        media=prompt.media,
        max_tokens=1,
        sampling=Sampling(),
        text=TextStream(()),
        receive=lambda _progress: None,
    )
    index = -1
    while slot.n_prefill:
        if slot.medium is not None:
            assert next_to_see([slot]) is slot
            assert prefill_medium(context, slot, at_most=at_most) is Decoded.OK
        else:
            context.clear_batch()
            chunk = prompt.tokens[slot.n_past : slot.n_past + slot.n_text]
            index = context.add_tokens(chunk, position=slot.position, seq_id=0, want_last=True)
            slot.put(chunk, batch_index=index)
            assert context.decode() is Decoded.OK
            slot.commit()
    return context.logits(index).copy()


def drawn(seed: int, *, width: int = 100, height: int = 60) -> Pixels:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("write", "write_its_projector"),
    [(write_model, write_projector), (write_gridded_model, write_gridded), (write_model, write_whole)],
    ids=["llava", "qwen2-vl", "gemma 3"],
)
def test_the_logits_are_those_of_llama_cpp_s_own_helper(
    write: Write, write_its_projector: Write, tmp_path: Path, engine_log: EngineLog
) -> None:
    pair = Pair(write(tmp_path / "model.gguf"), write_its_projector(tmp_path / "mmproj.gguf"), engine_log)
    found = {}
    for seed in (1, 2):
        pixels = drawn(seed)
        expected = pair.expected(pixels)
        prompt = pair.prompt(pixels)
        for at_most in (256, 7):
            np.testing.assert_allclose(ours(pair, prompt, at_most=at_most), expected, atol=2e-3)
        found[seed] = expected
    assert np.abs(found[1] - found[2]).max() > 0.05, "it sees"
