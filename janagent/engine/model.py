"""The weights and the vocabulary: loading, tokenising, token texts and what the GGUF says about itself.

Raw llama_cpp calls live here, in `adapters`, `context`, `sampling` and `llama_log`, and nowhere else. The
vocabulary calls are safe from any thread; the weights are only read once loaded.
"""

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import llama_cpp
import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int32]

_TEXT_BUFFER_BYTES = 256


class LoadError(Exception):
    """llama.cpp could not load the model or make a context. The reason is in the engine's log."""


class PairMarks(NamedTuple):
    """Tokens before, between and after two texts."""

    before: Tokens
    between: Tokens
    after: Tokens


class Model:
    """A loaded GGUF. Make one with `load_model`; it lives until the process ends."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.vocab: Any = llama_cpp.llama_model_get_vocab(handle)
        self.n_vocab: int = llama_cpp.llama_vocab_n_tokens(self.vocab)
        self.n_embd: int = llama_cpp.llama_model_n_embd_out(handle)
        self.n_scores: int = llama_cpp.llama_model_n_cls_out(handle)
        """Of a model that ranks: how many its classifier head gives."""
        self.n_ctx_train: int = llama_cpp.llama_model_n_ctx_train(handle)
        self.bos: int = llama_cpp.llama_vocab_bos(self.vocab)
        self.eos: int = llama_cpp.llama_vocab_eos(self.vocab)
        self.adds_bos: bool = llama_cpp.llama_vocab_get_add_bos(self.vocab)
        self.adapters: list[tuple[Any, float]] = []
        """Handle and scale of each LoRA adapter; `adapters` fills it before the first context is made."""
        self._pieces: list[bytes | None] = [None] * self.n_vocab

    def piece(self, token: int) -> bytes:
        """The bytes that `token` adds to a text; empty for control tokens. May end inside a character."""
        piece = self._pieces[token]
        if piece is None:
            piece = self._pieces[token] = self._to_piece(token, special=False)
        return piece

    def special_text(self, token: int) -> str:
        """The text of a token, control tokens spelled out; empty for an absent token (-1)."""
        return self._to_piece(token, special=True).decode(errors="replace") if token >= 0 else ""

    @functools.cached_property
    def end_tokens(self) -> frozenset[int]:
        """All tokens that end an answer."""
        is_eog, vocab = llama_cpp.llama_vocab_is_eog, self.vocab
        return frozenset(token for token in range(self.n_vocab) if is_eog(vocab, token))

    @functools.cached_property
    def fill_in_middle(self) -> tuple[int, int, int] | None:
        """The (prefix, suffix, middle) tokens of a model trained to fill in the middle, else None."""
        tokens = (
            llama_cpp.llama_vocab_fim_pre(self.vocab),
            llama_cpp.llama_vocab_fim_suf(self.vocab),
            llama_cpp.llama_vocab_fim_mid(self.vocab),
        )
        return tokens if min(tokens) >= 0 else None

    @functools.cached_property
    def pair_marks(self) -> PairMarks:
        """What stands around two texts that are one input.

        `[CLS] a [SEP] b [SEP]` of BERT, `<s> a </s></s> b </s>` of RoBERTa. A tokenizer without an end mark
        of its own closes the second text with the separator, as it does a single text.
        """
        eos = self.eos if self.eos >= 0 else llama_cpp.llama_vocab_sep(self.vocab)
        sep = llama_cpp.llama_vocab_sep(self.vocab) if llama_cpp.llama_vocab_get_add_sep(self.vocab) else -1
        end = eos if llama_cpp.llama_vocab_get_add_eos(self.vocab) else -1

        def marks(*tokens: int) -> Tokens:
            return np.array([token for token in tokens if token >= 0], dtype=np.int32)

        return PairMarks(
            before=marks(self.bos if self.adds_bos else -1),
            between=marks(end, sep),
            after=marks(end if end >= 0 else sep),
        )

    def tokenize(self, text: str, *, special: bool, add_special: bool = False) -> Tokens:
        """`text` as tokens. `special` reads control tokens written in it.

        `add_special` frames it as the model wants.
        """
        data = text.encode("utf-8", errors="replace")
        capacity = len(data) + 8
        while True:
            tokens = np.empty(capacity, dtype=np.int32)
            n = llama_cpp.llama_tokenize(
                self.vocab, data, len(data), pointer(tokens), capacity, add_special, special
            )
            if n >= 0:
                return tokens[:n].copy()
            if n == -(2**31):
                raise OverflowError("the text is too long to tokenize")
            capacity = -n

    def with_bos(self, tokens: Tokens) -> Tokens:
        """`tokens` beginning with the model's BOS token when it wants one, never twice."""
        if not self.adds_bos or self.bos < 0 or (tokens.size and tokens[0] == self.bos):
            return tokens
        return np.concatenate((np.array([self.bos], dtype=np.int32), tokens))

    def text_of(self, tokens: Sequence[int] | Tokens) -> str:
        """The text of `tokens`, control tokens left out."""
        return b"".join(self.piece(int(token)) for token in tokens).decode(errors="replace")

    def metadata(self, key: str) -> str | None:
        """A metadata value of the GGUF as text, or None when the key is absent."""
        size = 1 << 10
        while True:
            buffer = ctypes.create_string_buffer(size)
            n = llama_cpp.llama_model_meta_val_str(self.handle, key.encode(), buffer, size)
            if n < 0:
                return None
            if n < size:
                return buffer.raw[:n].decode(errors="replace")
            size = n + 1

    @property
    def chat_template(self) -> str | None:
        """The Jinja chat template in the GGUF, or None."""
        template: bytes | None = llama_cpp.llama_model_chat_template(self.handle, None)
        return template.decode(errors="replace") if template else None

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether the model needs an encoder pass before decoding (T5); not served."""
        return bool(llama_cpp.llama_model_has_encoder(self.handle))

    def _to_piece(self, token: int, *, special: bool) -> bytes:
        size = _TEXT_BUFFER_BYTES
        while True:
            buffer = ctypes.create_string_buffer(size)
            n = llama_cpp.llama_token_to_piece(self.vocab, token, buffer, size, 0, special)
            if n >= 0:
                return buffer.raw[:n]
            size = -n


def load_model(path: str, *, n_gpu_layers: int, on_progress: Callable[[float], None]) -> Model:
    """Read the GGUF at `path` (part 1 of a split set loads the set). Raises LoadError.

    Without layers on a GPU none is touched: llama.cpp would else open it and compute long prompts there, in
    memory that nobody planned for. `on_progress` gets a fraction from 0 to 1, often, from this thread.
    """

    def progressed(fraction: float, _user_data: object) -> bool:
        on_progress(fraction)
        return True

    parameters = llama_cpp.llama_model_default_params()
    parameters.n_gpu_layers = n_gpu_layers
    no_devices = (ctypes.c_void_p * 1)(None)
    if n_gpu_layers == 0:
        parameters.devices = ctypes.cast(no_devices, ctypes.c_void_p)
    callback = llama_cpp.llama_progress_callback(progressed)
    parameters.progress_callback = callback
    handle = llama_cpp.llama_model_load_from_file(path.encode(), parameters)
    if not handle:
        raise LoadError(f"llama.cpp could not load {path}")
    return Model(handle)


def pointer(array: npt.NDArray[Any]) -> Any:
    """The start of `array` as the ctypes pointer type llama.cpp's signatures ask for."""
    return array.ctypes.data_as(ctypes.POINTER(np.ctypeslib.as_ctypes_type(array.dtype)))
