"""The projector beside a model: libmtmd's context, which turns pictures and sounds into embeddings.

Owns all raw mtmd calls. The library is loaded with the first projector. A `Projector` is used from one thread
at a time, which need not be the decode thread: it has a context and buffers of its own and only reads the
model's vocabulary. Knows neither files nor requests; neighbours: `pictures` and `sounds` decode, `encoder`
calls, `media` holds what comes out.
"""

import ctypes
import os
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from janagent.engine.llama_log import EngineLog
from janagent.engine.media import Encoded, MediaRun, Positions
from janagent.engine.model import LoadError, Model, Tokens, pointer

Pixels = npt.NDArray[np.uint8]
"""Shape (height, width, 3): red, green, blue."""

#: places of a grid are told apart from counted ones by asking for them at two distances
_FAR = 1000


class ProjectorError(Exception):
    """mtmd could not encode a picture or sound; its log has the reason."""


class Projector:
    """A loaded projector. Make one with `open_projector`; it lives until the process ends."""

    def __init__(self, mtmd: Any, handle: Any, *, model: Model) -> None:
        self._mtmd = mtmd
        self._handle = handle
        self._width = int(llama_cpp.llama_model_n_embd_inp(model.handle))
        self._has_grid = bool(mtmd.mtmd_decode_use_mrope(handle))
        self.sees = bool(mtmd.mtmd_support_vision(handle))
        self.hears = bool(mtmd.mtmd_support_audio(handle))

    def encode_picture(self, pixels: Pixels) -> Encoded:
        """A picture as the model gets it. Raises ProjectorError."""
        height, width, _ = pixels.shape
        pixels = np.ascontiguousarray(pixels)
        return self._encode(self._mtmd.mtmd_bitmap_init(width, height, pointer(pixels)))

    def encode_sound(self, data: bytes) -> Encoded:
        """A sound file, one that `sounds` let through, as the model gets it. Raises ProjectorError."""
        file = np.frombuffer(data, dtype=np.uint8)
        bitmap = self._mtmd.mtmd_helper_bitmap_init_from_buf(self._handle, pointer(file), file.size, False)
        if not bitmap:
            raise ProjectorError("the sound cannot be decoded")
        return self._encode(bitmap)

    def _encode(self, bitmap: Any) -> Encoded:
        """Takes `bitmap` over."""
        mtmd = self._mtmd
        chunks = mtmd.mtmd_input_chunks_init()
        try:
            part = mtmd.mtmd_input_part(text=None, bitmap=bitmap)
            parts = (ctypes.POINTER(mtmd.mtmd_input_part) * 1)(ctypes.pointer(part))
            if mtmd.mtmd_tokenize_from_parts(self._handle, chunks, parts, 1, False) != 0:
                raise ProjectorError("mtmd could not prepare it")
            count = mtmd.mtmd_input_chunks_size(chunks)
            return tuple(self._piece(mtmd.mtmd_input_chunks_get(chunks, i)) for i in range(count))
        finally:
            mtmd.mtmd_input_chunks_free(chunks)
            mtmd.mtmd_bitmap_free(bitmap)

    def _piece(self, chunk: Any) -> Tokens | MediaRun:
        mtmd = self._mtmd
        if mtmd.mtmd_input_chunk_get_type(chunk) == mtmd.MTMD_INPUT_CHUNK_TYPE_TEXT:
            count = ctypes.c_size_t()
            start = mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
            return np.ctypeslib.as_array(start, shape=(count.value,)).astype(np.int32)
        if mtmd.mtmd_encode_chunk(self._handle, chunk) != 0:
            raise ProjectorError("mtmd could not encode it")
        size = mtmd.mtmd_input_chunk_get_n_tokens(chunk)
        output = mtmd.mtmd_get_output_embd(self._handle)
        embeddings = np.ctypeslib.as_array(output, shape=(size, self._width)).copy()
        if not np.isfinite(embeddings).all():
            raise ProjectorError("the projector's answer is no number")
        offsets, n_moving = self._offsets(chunk, size) if self._has_grid else (None, 4)
        return MediaRun(
            embeddings=embeddings,
            n_positions=mtmd.mtmd_input_chunk_get_n_pos(chunk),
            offsets=offsets,
            n_moving=n_moving,
            is_causal=not mtmd.mtmd_decode_use_non_causal(self._handle, chunk),
        )

    def _offsets(self, chunk: Any, size: int) -> tuple[Positions, int]:
        """Where the embeddings stand, in M-RoPE's order of dimensions (time, row, column, none), and how many
        of these move with the run."""
        image = self._mtmd.mtmd_input_chunk_get_tokens_image(chunk)
        if not image:  # a sound goes along all dimensions at once
            return np.tile(np.arange(size, dtype=np.int32), (4, 1)), 4
        near, far = (self._places(image, size, first) for first in (0, _FAR))
        if not np.array_equal(near[:3] + _FAR, far[:3]):
            raise ProjectorError("this kind of model counts its pictures, which this engine does not do")
        return near, 3

    def _places(self, image: Any, size: int, first: int) -> Positions:
        places = (self._mtmd.mtmd_decoder_pos * size)()
        self._mtmd.mtmd_helper_image_get_decoder_pos(image, first, places)
        found = np.array([(place.t, place.y, place.x, place.z) for place in places], dtype=np.int32)
        return np.ascontiguousarray(found.T)


def open_projector(path: str, *, model: Model, n_threads: int, use_gpu: bool, log: EngineLog) -> Projector:
    """Load the projector at `path` for `model`. Raises LoadError; the reason is in the engine's log."""
    from llama_cpp import mtmd_cpp

    mtmd_cpp.mtmd_helper_log_set(log.callback, ctypes.c_void_p(0))
    parameters = mtmd_cpp.mtmd_context_params_default()
    parameters.use_gpu = use_gpu
    parameters.n_threads = n_threads
    parameters.print_timings = False
    handle = mtmd_cpp.mtmd_init_from_file(path.encode(), model.handle, parameters)
    if not handle:
        raise LoadError(f"llama.cpp could not load the projector {os.path.basename(path)}")
    return Projector(mtmd_cpp, handle, model=model)
