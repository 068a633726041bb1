"""One llama_context with a reusable batch: what the decode thread drives.

Owns the raw context and memory calls. Must be used from one thread only. Knows nothing of requests; its
neighbours are `scheduler` (chat) and `embeddings`.
"""

import ctypes
import enum
import mmap
from dataclasses import dataclass
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from janagent.engine.adapters import apply_adapters
from janagent.engine.drafts import MAX_OUTPUTS
from janagent.engine.model import LoadError, Model, Tokens, pointer

_KV_TYPES = {
    "f32": llama_cpp.GGML_TYPE_F32,
    "f16": llama_cpp.GGML_TYPE_F16,
    "bf16": 30,  # GGML_TYPE_BF16 in ggml.h; the binding has no name for it
    "q8_0": llama_cpp.GGML_TYPE_Q8_0,
    "q5_1": llama_cpp.GGML_TYPE_Q5_1,
    "q5_0": llama_cpp.GGML_TYPE_Q5_0,
    "q4_1": llama_cpp.GGML_TYPE_Q4_1,
    "q4_0": llama_cpp.GGML_TYPE_Q4_0,
}


#: tokens computed at once; llama.cpp's default, as its compute buffers grow with it
_N_UBATCH = 512
#: bytes of a sequence's state that may change places with another's: both pass through memory that nobody
#: planned for
_LARGEST_STATE = 1 << 28


class MemoryFault(RuntimeError):
    """The cache is in a state that nothing can go on from."""


class Decoded(enum.Enum):
    """What llama_decode said:

    Done, no room in the cache for this batch (nothing changed), or broken for good.
    """

    OK = enum.auto()
    NO_ROOM = enum.auto()
    BROKEN = enum.auto()


@dataclass(frozen=True, kw_only=True)
class ContextOptions:
    """Sizes of a context. `n_ctx` is tokens over all sequences, `n_batch` tokens in one decode call.

    `is_cache_on_gpu`: the cache of a layer that is on a GPU lies there too, else in main memory.
    """

    n_ctx: int
    n_batch: int
    n_seq_max: int
    n_threads: int
    flash_attn: bool | None = None
    kv_type: str | None = None
    embeddings: bool = False
    pooling_type: int = -1
    is_cache_on_gpu: bool = True


class Context:
    """A llama_context and a batch of numpy arrays that its C struct points into: filling it copies slices."""

    def __init__(self, handle: Any, *, model: Model, n_batch: int, n_ubatch: int) -> None:
        self.handle = handle
        self.model = model
        self.memory: Any = llama_cpp.llama_get_memory(handle)
        self.n_batch = n_batch
        self.n_ubatch = n_ubatch
        self.n_tokens = 0
        self.can_cut = not (
            llama_cpp.llama_model_is_recurrent(model.handle) or llama_cpp.llama_model_is_hybrid(model.handle)
        )
        """Whether a sequence can be cut anywhere; a recurrent state is that of its last token alone."""
        n_window = int(llama_cpp.llama_model_n_swa(model.handle))
        self.window = (n_window if n_window > 0 else None) if self.can_cut else 0
        """The tokens after which a sequence cannot be cut anywhere any more; None: it always can."""
        self.can_draft = self.can_cut
        """Whether tokens that turned out wrong can be taken back. A sliding window gives up for them only
        what the first of them, which is right, does not see either (`llama_kv_cache::find_slot`)."""
        self.can_shift = (
            self.window is None
            and bool(llama_cpp.llama_memory_can_shift(self.memory))
            and not _scales_attention(model)
        )
        """Whether a part in the middle of a sequence can be dropped."""
        self._copying: tuple[set[int], set[int]] = set(), set()
        """The sequences that the next decode copies from, and into."""
        self._token = np.zeros(n_batch, dtype=np.int32)
        self._position = np.zeros(n_batch, dtype=np.int32)
        self._output = np.zeros(n_batch, dtype=np.int8)
        self._seq_id = np.zeros(n_batch, dtype=np.int32)
        self._n_seq_id = np.ones(n_batch, dtype=np.int32)
        itemsize = self._seq_id.itemsize
        addresses = self._seq_id.ctypes.data + itemsize * np.arange(n_batch, dtype=np.uint64)
        self._seq_id_pointers = addresses.astype(np.uint64)
        self._no_output = np.zeros(n_batch, dtype=np.int8)
        self._logits_type = ctypes.c_float * model.n_vocab
        self._batch = llama_cpp.llama_batch(
            n_tokens=0,
            token=pointer(self._token),
            embd=None,
            pos=pointer(self._position),
            n_seq_id=pointer(self._n_seq_id),
            seq_id=ctypes.cast(
                int(self._seq_id_pointers.ctypes.data), ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))
            ),
            logits=pointer(self._output),
        )

    @property
    def room(self) -> int:
        """How many tokens still fit into the batch."""
        return self.n_batch - self.n_tokens

    def clear_batch(self) -> None:
        """Start an empty batch."""
        self.n_tokens = 0

    def add_token(self, token: int, *, position: int, seq_id: int) -> int:
        """Add one token whose logits are wanted; returns its index in the batch."""
        index = self.n_tokens
        self._token[index] = token
        self._position[index] = position
        self._seq_id[index] = seq_id
        self._output[index] = 1
        self.n_tokens = index + 1
        return index

    def add_tokens(
        self, tokens: Tokens, *, position: int, seq_id: int, want_last: bool = False, want_all: bool = False
    ) -> int:
        """Add consecutive tokens of a sequence; returns the batch index of the last.

        Outputs (logits, embeddings) are computed for the last or for all of them when wanted.
        """
        start, end = self.n_tokens, self.n_tokens + tokens.size
        self._token[start:end] = tokens
        self._position[start:end] = np.arange(position, position + tokens.size, dtype=np.int32)
        self._seq_id[start:end] = seq_id
        self._output[start:end] = want_all
        if want_last:
            self._output[end - 1] = 1
        self.n_tokens = end
        return end - 1

    def decode(self) -> Decoded:
        """Run the batch through the model; releases the GIL for the whole time."""
        self._batch.n_tokens = self.n_tokens
        return self._decode(self._batch)

    def decode_embeddings(
        self,
        embeddings: npt.NDArray[np.float32],
        positions: npt.NDArray[np.int32],
        *,
        seq_id: int,
        is_causal: bool,
    ) -> Decoded:
        """Run embeddings through the model in the place of tokens, with which they cannot share a batch.

        `embeddings` has shape (n, the model's input width), n at most `n_batch`; `positions` (n) or (4, n).
        The batch that is being filled must be empty, and is afterwards.
        """
        n = len(embeddings)
        embeddings, positions = np.ascontiguousarray(embeddings), np.ascontiguousarray(positions)
        self._seq_id[:n] = seq_id
        batch = llama_cpp.llama_batch(
            n_tokens=n,
            token=None,
            embd=pointer(embeddings),
            pos=pointer(positions),
            n_seq_id=self._batch.n_seq_id,
            seq_id=self._batch.seq_id,
            logits=pointer(self._no_output),
        )
        if is_causal:
            return self._decode(batch)
        llama_cpp.llama_set_causal_attn(self.handle, False)
        try:
            return self._decode(batch)
        finally:
            llama_cpp.llama_set_causal_attn(self.handle, True)

    def _decode(self, batch: Any) -> Decoded:
        self._copying = set(), set()
        match llama_cpp.llama_decode(self.handle, batch):
            case 0:
                return Decoded.OK
            case 1:
                return Decoded.NO_ROOM
            case _:
                return Decoded.BROKEN

    def logits(self, index: int) -> npt.NDArray[np.float32]:
        """The logits after the batch's token `index`: a view that the next decode overwrites."""
        row = llama_cpp.llama_get_logits_ith(self.handle, index)
        # Not np.ctypeslib.as_array: it costs several times as much, and this runs for every token.
        memory = self._logits_type.from_address(ctypes.addressof(row.contents))
        logits: npt.NDArray[np.float32] = np.frombuffer(memoryview(memory), dtype=np.float32)
        return logits

    def embeddings(self, first: int, count: int) -> npt.NDArray[np.float32]:
        """The final hidden states of `count` tokens from batch token `first` on: a view of (count, n_embd).

        Only for batches whose tokens all are outputs, in contexts without pooling.
        """
        rows = llama_cpp.llama_get_embeddings(self.handle)
        shape = (self.n_tokens, self.model.n_embd)
        return np.ctypeslib.as_array(rows, shape=shape)[first : first + count]

    def sequence_embedding(self, seq_id: int, *, size: int | None = None) -> npt.NDArray[np.float32]:
        """The pooled embedding of a sequence, for contexts with a pooling type: a view of `size` numbers,
        n_embd where not told."""
        row = llama_cpp.llama_get_embeddings_seq(self.handle, seq_id)
        return np.ctypeslib.as_array(row, shape=(size or self.model.n_embd,))

    def trim(self, seq_id: int, *, keep: int) -> int:
        """Drop the cached tokens of a sequence beyond the first `keep`; returns how many are really kept.

        All of it goes and 0 is returned where the rest could not be gone on from: a recurrent state cannot be
        cut in the middle, and layers with a sliding window may have forgotten what the window held there.
        """
        if self.memory is None:
            return 0
        if (
            keep
            and self.can_keep(seq_id, keep)
            and llama_cpp.llama_memory_seq_rm(self.memory, seq_id, keep, -1)
        ):
            return keep
        llama_cpp.llama_memory_seq_rm(self.memory, seq_id, -1, -1)
        return 0

    def can_keep(self, seq_id: int, keep: int) -> bool:
        """Whether a sequence can be gone on from after its first `keep` positions: layers with a sliding
        window must still hold all that the next token looks at."""
        if self.window is None:
            return True
        first = llama_cpp.llama_memory_seq_pos_min(self.memory, seq_id)
        last = llama_cpp.llama_memory_seq_pos_max(self.memory, seq_id)
        if not self.can_cut:
            return bool(last + 1 == keep)
        return bool(0 <= first <= max(0, keep - self.window) and last + 1 >= keep)

    def shift(self, seq_id: int, first: int, end: int) -> None:
        """Drop the tokens of a sequence from `first` to before `end` and move up those that follow; the next
        `decode` turns their keys."""
        llama_cpp.llama_memory_seq_rm(self.memory, seq_id, first, end)
        llama_cpp.llama_memory_seq_add(self.memory, seq_id, end, -1, first - end)

    def share_sequence(self, source: int, target: int) -> None:
        """Put a copy of all that the cache holds for `source` in place of what it holds for `target`.

        The data is copied within the next `decode`, before which the target's is not there to be read, and
        neither may be written over. It is the whole part of the cache that a sequence has, full or not.
        """
        llama_cpp.llama_memory_seq_cp(self.memory, source, target, -1, -1)
        sources, targets = self._copying
        sources.add(source)
        targets.add(target)

    def may_write(self, seq_id: int) -> bool:
        """Whether no copy from or into this sequence is under way."""
        return not any(seq_id in sequences for sequences in self._copying)

    def swap_sequences(self, first: int, second: int) -> bool:
        """Exchange what the cache holds for two sequences; False, and nothing changed, if it is too large or
        being copied.

        What lies outside a sliding window is not taken along. Raises MemoryFault when llama.cpp fails midway.
        """
        if not (self.may_write(first) and self.may_write(second)):
            return False
        if max(self.state_bytes(first), self.state_bytes(second)) > _LARGEST_STATE:
            return False
        states = [self.read_state(seq_id) for seq_id in (first, second)]
        if states[0] is None or states[1] is None:
            return False
        if not (self.write_state(second, states[0]) and self.write_state(first, states[1])):
            raise MemoryFault(f"llama.cpp could not put back the state of sequence {first} or {second}")
        return True

    def state_bytes(self, seq_id: int) -> int:
        """The size of what `read_state` would bring; 0 while it is not there to be read."""
        if seq_id in self._copying[1]:
            return 0
        return int(llama_cpp.llama_state_seq_get_size(self.handle, seq_id))

    def read_state(self, seq_id: int) -> npt.NDArray[np.uint8] | None:
        """A copy of what the cache holds for a sequence; None where that is not there to be read."""
        if not (size := self.state_bytes(seq_id)):
            return None
        # A mapping of its own, as malloc would keep the memory of a dropped one for itself, and a private
        # one: shared memory takes the system nearly twice as long to hand out.
        state = np.frombuffer(mmap.mmap(-1, size, access=mmap.ACCESS_COPY), dtype=np.uint8)
        got = llama_cpp.llama_state_seq_get_data(self.handle, pointer(state), size, seq_id)
        return state if got == size else None

    def write_state(self, seq_id: int, state: npt.NDArray[np.uint8]) -> bool:
        """Put a state in place of what the cache holds for a sequence: nothing, if it returns False.

        Only for sequences that `may_write` allows.
        """
        assert self.may_write(seq_id), "a copy is under way"
        # First, because the state of an empty sequence would leave the other's cells where they are.
        llama_cpp.llama_memory_seq_rm(self.memory, seq_id, -1, -1)
        got = llama_cpp.llama_state_seq_set_data(self.handle, pointer(state), state.size, seq_id)
        if got == state.size:
            return True
        llama_cpp.llama_memory_seq_rm(self.memory, seq_id, -1, -1)
        return False

    def clear_memory(self) -> None:
        """Forget all sequences."""
        if self.memory is not None:
            llama_cpp.llama_memory_clear(self.memory, False)


def _scales_attention(model: Model) -> bool:
    """Whether RoPE makes keys longer (YaRN, LongRoPE). llama.cpp moves tokens by turning all keys in the
    cache once more, and makes them all longer each time (`llama_kv_cache::build_rope_shift`)."""
    prefix = f"{model.metadata('general.architecture')}.rope.scaling"
    factor = model.metadata(f"{prefix}.attn_factor")
    return model.metadata(f"{prefix}.type") == "yarn" or (factor is not None and float(factor) != 1.0)


def open_context(model: Model, options: ContextOptions) -> Context:
    """Make a context over the weights of `model`. Raises LoadError when llama.cpp cannot."""
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = options.n_ctx
    parameters.n_batch = options.n_batch
    parameters.n_ubatch = options.n_batch if options.embeddings else min(options.n_batch, _N_UBATCH)
    parameters.n_seq_max = options.n_seq_max
    parameters.n_threads = options.n_threads
    parameters.n_threads_batch = options.n_threads
    # The next token of each sequence and of its draft is all a chat step asks for; room for more would be
    # logits never computed, n_batch * n_vocab floats of them.
    n_outputs = max(options.n_seq_max, MAX_OUTPUTS)
    parameters.n_outputs_max = options.n_batch if options.embeddings else min(n_outputs, options.n_batch)
    # A part for each sequence in the chat context: see `table`. Embeddings share one, as they come and go.
    parameters.kv_unified = options.embeddings
    parameters.no_perf = True
    parameters.offload_kqv = options.is_cache_on_gpu
    parameters.embeddings = options.embeddings
    parameters.pooling_type = options.pooling_type
    if options.flash_attn is not None:
        parameters.flash_attn_type = int(options.flash_attn)
    if options.kv_type is not None:
        parameters.type_k = parameters.type_v = _KV_TYPES[options.kv_type]
    handle = llama_cpp.llama_init_from_model(model.handle, parameters)
    if not handle:
        raise LoadError("llama.cpp could not make a context")
    apply_adapters(model, handle)
    return Context(handle, model=model, n_batch=options.n_batch, n_ubatch=parameters.n_ubatch)
