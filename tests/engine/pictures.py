"""Pictures and sounds for tests, and the parts of messages that hold them."""

import base64
import io
import wave
from typing import Any

import numpy as np
from PIL import Image


def picture(seed: int = 0, *, width: int = 80, height: int = 60, form: str = "PNG", **options: Any) -> bytes:
    """A picture of coloured squares, different for each seed, as a file."""
    cells = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    drawn = Image.fromarray(cells).resize((width, height), Image.Resampling.NEAREST)
    file = io.BytesIO()
    drawn.save(file, form, **options)
    return file.getvalue()


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def image(data: bytes | str) -> dict[str, Any]:
    """The part of a message for a picture, or for the URL of one."""
    return {"type": "image_url", "image_url": {"url": data if isinstance(data, str) else data_url(data)}}


def noise(seconds: float, *, rate: int = 16000, seed: int = 0) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Samples of one channel."""
    return np.random.default_rng(seed).standard_normal(int(seconds * rate)) / 8


def wav(samples: "np.ndarray[Any, Any]", *, rate: int = 16000) -> bytes:
    """A WAV file of 16 bits."""
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(rate)
        written.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()


def sound(data: bytes) -> dict[str, Any]:
    """The part of a message for a sound file."""
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": "wav"}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def shown(*parts: dict[str, Any] | bytes | str, role: str = "user") -> list[dict[str, Any]]:
    """A conversation of one message; bytes are pictures, strings texts."""
    made = [image(p) if isinstance(p, bytes) else text(p) if isinstance(p, str) else p for p in parts]
    return [{"role": role, "content": made}]
