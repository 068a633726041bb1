"""llama.cpp's own log: info and above goes to stderr, and its last error lines are kept for the status pipe.

Also catches `ggml_abort`, llama.cpp's way out of a model it cannot digest, so that the parent learns the
reason instead of a bare signal. Knows nothing of models or requests.
"""

import collections
import ctypes
import os
import threading
from collections.abc import Callable
from typing import Any

import llama_cpp

_DEBUG, _INFO, _ERROR, _CONT = 1, 2, 4, 5
_GENERIC = ("failed to load model",)
#: hundreds of lines a load that tell a person nothing
_NOISE = (b"create_tensor:", b"llama_graph_n_input_tensors:", b"llama_model_loader: - tensor")
_abort_callback_t = ctypes.CFUNCTYPE(None, ctypes.c_char_p)


class EngineLog:
    """Keeps the ctypes callbacks alive and the last error lines readable."""

    def __init__(self, *, keep: int = 8) -> None:
        self._errors: collections.deque[str] = collections.deque(maxlen=keep)
        self._level = _INFO
        self._line = b""
        self._lock = threading.Lock()
        self._callbacks: list[Any] = []
        self.callback: Any = llama_cpp.llama_log_callback(self._on_text)
        """For llama.cpp's libraries that have a log of their own."""

    def install(self) -> None:
        """Take over llama.cpp's log for the whole process."""
        llama_cpp.llama_log_set(self.callback, ctypes.c_void_p(0))

    def forget(self) -> None:
        """Drop the error lines so far: what comes next is about something else."""
        self._errors.clear()

    def on_abort(self, tell: Callable[[str], None]) -> None:
        """Call `tell(reason)` when ggml is about to abort the process. Silent where ggml has no such hook."""

        def aborted(reason: bytes | None) -> None:
            text = (reason or b"ggml aborted").decode(errors="replace").strip()
            os.write(2, f"ggml_abort: {text}\n".encode())
            tell(text)

        library = ggml_library()
        if library is None or not hasattr(library, "ggml_set_abort_callback"):
            return
        callback = _abort_callback_t(aborted)
        self._callbacks.append(callback)
        library.ggml_set_abort_callback.argtypes = [_abort_callback_t]
        library.ggml_set_abort_callback.restype = ctypes.c_void_p
        library.ggml_set_abort_callback(callback)

    def last_errors(self) -> str:
        """The last error lines, joined; the generic closing line only when there is nothing better."""
        lines = list(dict.fromkeys(self._errors))
        telling = [line for line in lines if not line.endswith(_GENERIC)]
        return "; ".join(telling or lines)

    def _on_text(self, level: int, text: bytes, _user_data: object) -> None:
        with self._lock:
            if level != _CONT:
                self._level = level
            if self._level == _DEBUG or not text:
                return
            self._line += text
            *lines, self._line = self._line.split(b"\n")
            for line in lines:
                if line.strip(b". ") and not line.startswith(_NOISE):
                    os.write(2, line + b"\n")
                    if self._level == _ERROR:
                        self._errors.append(line.decode(errors="replace").strip())


def ggml_library() -> Any:
    """The shared library with ggml's device and abort functions, or None where it is laid out differently."""
    try:
        from llama_cpp import _ggml
    except (ImportError, OSError, RuntimeError):
        return None
    return _ggml.libggml
