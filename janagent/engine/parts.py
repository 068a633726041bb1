"""The content of a chat message: a text, or parts of which some are pictures or sounds.

Owns how OpenAI's content parts are written, and the text that stands for them in a prompt: every medium gets
a mark of its own, which `tokenizing` finds again in what the template made of the messages. Marks are drawn
anew for each request, so that no message can hold one. Pure. Neighbours: `requests`, `server`, `sources`.
"""

import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What a part shows."""

    PICTURE = "picture"
    SOUND = "sound"


@dataclass(frozen=True, slots=True)
class Medium:
    """A part that is no text. `source` is a URL, or base64 for a sound; `field` names it in errors."""

    kind: Kind
    source: str
    field: str


@dataclass(frozen=True, slots=True)
class Mixed:
    """Content of several parts, some of them media."""

    parts: tuple[str | Medium, ...]


def read_content(value: Any) -> Any:
    """For pydantic: a list of parts as one string where all are texts, else as `Mixed`. Raises ValueError."""
    if not isinstance(value, list):
        return value
    parts = [_part(part) for part in value]
    if all(isinstance(part, str) for part in parts):
        return "\n".join(str(part) for part in parts)
    return Mixed(tuple(parts))


def _part(part: Any) -> str | Medium:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise ValueError("a content part must be an object with a type")
    match part["type"]:
        case "text" | "input_text" | "output_text" | "refusal" as kind:
            field = "refusal" if kind == "refusal" else "text"
            if not isinstance(part.get(field), str):
                raise ValueError(f"a {kind} part must have a {field}")
            return str(part[field])
        case "image_url" | "input_image":
            value = part.get("image_url")
            url = value.get("url") if isinstance(value, Mapping) else value
            if not isinstance(url, str):
                raise ValueError("an image part must have an image_url with a url")
            return Medium(Kind.PICTURE, url, "image_url")
        case "input_audio":
            value = part.get("input_audio")
            data = value.get("data") if isinstance(value, Mapping) else None
            if not isinstance(data, str):
                raise ValueError("an audio part must have an input_audio with data")
            return Medium(Kind.SOUND, data, "input_audio")
        case other:
            raise ValueError(f"a content part may be text, image_url or input_audio, not {other}")


class Marks:
    """The marks of one request's media, in the order they were given out."""

    def __init__(self) -> None:
        self._secret = secrets.token_hex(8)
        self.count = 0

    def text_of(self, content: Mixed) -> str:
        """`content` as one text. Texts are set apart by a newline, media by nothing."""
        text = ""
        was_text = False
        for part in content.parts:
            if isinstance(part, str):
                text += ("\n" if was_text else "") + part
            else:
                text += f"<medium-{self._secret}-{self.count}>"
                self.count += 1
            was_text = isinstance(part, str)
        return text

    def split(self, prompt: str) -> Iterator[str | int]:
        """The texts of a prompt and, between them, the numbers of the media that stand there."""
        for at, piece in enumerate(re.split(f"<medium-{self._secret}-([0-9]+)>", prompt)):
            yield int(piece) if at % 2 else piece
