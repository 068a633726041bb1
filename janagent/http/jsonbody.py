"""JSON in and out of HTTP bodies: bounded, strict where it protects us, plain where clients are sloppy.

Owns reading a request body within its limits and turning it into an object. Knows nothing of the fields.
Of duplicate keys the last one wins, here and for everything behind us, because the body is written anew.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

from aiohttp import web

from janagent.core.faults import Refusal

MAX_DEPTH = 128
"""Arrays and objects inside one another. Chat messages with tool schemas stay far below."""
LARGE_BYTES = 2**20
"""A larger body is read and written in a thread: tens of megabytes take a second, and streams would stall.

Within one call into the json module no other thread gets its turn, so the thread also works in steps.
"""
_STEP_ITEMS = 200


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _dumps_in_steps(value: Any) -> str:
    """The same text, made of many short calls."""
    match value:
        case dict():
            return (
                "{"
                + ",".join(f"{_dumps(name)}:{_dumps_in_steps(part)}" for name, part in value.items())
                + "}"
            )
        case [list(), *_]:
            return "[" + ",".join(map(_dumps_in_steps, value)) + "]"
        case list():
            starts = range(0, len(value), _STEP_ITEMS)
            return "[" + ",".join(_dumps(value[start : start + _STEP_ITEMS])[1:-1] for start in starts) + "]"
        case _:
            return _dumps(value)


def encode(value: Any) -> bytes:
    """JSON as UTF-8. Half a surrogate pair, which UTF-8 cannot hold, becomes a question mark."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


async def encode_for_engine(body: Mapping[str, Any], *, is_large: bool) -> bytes:
    """`encode_strictly`, out of the way of other requests."""
    if is_large:
        return await asyncio.to_thread(encode_strictly, body, dumps=_dumps_in_steps)
    return encode_strictly(body)


def encode_strictly(value: Any, *, dumps: Callable[[Any], str] = _dumps) -> bytes:
    """JSON as UTF-8 for an engine. Raises Refusal for what JSON over UTF-8 cannot say."""
    try:
        return dumps(value).encode()
    except UnicodeEncodeError:
        raise Refusal("invalid_json", "The body holds half a surrogate pair (\\ud800-\\udfff).") from None
    except ValueError:
        raise Refusal("invalid_json", "The body holds a number that is out of range.") from None


async def read_body(request: web.Request, *, limit_bytes: int, idle_s: float) -> bytes:
    """The whole body. Raises Refusal when it is larger than `limit_bytes` (after decompression too), or
    when no byte of it came for `idle_s` seconds."""
    if (request.content_length or 0) > limit_bytes:
        raise _too_large(limit_bytes)
    parts: list[bytes] = []
    size = 0
    while True:
        try:
            async with asyncio.timeout(idle_s):
                part = await request.content.readany()
        except TimeoutError:
            raise Refusal("request_timeout", f"No byte of the body came for {idle_s:g} s.") from None
        except web.RequestPayloadError as error:
            raise Refusal("invalid_request", f"The body cannot be read: {error}") from None
        if not part:
            return parts[0] if len(parts) == 1 else b"".join(parts)
        size += len(part)
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        parts.append(part)


async def parse_body(body: bytes) -> dict[str, Any]:
    """`parse_object`, out of the way of other requests."""
    if len(body) > LARGE_BYTES:
        return await asyncio.to_thread(parse_object, body, hooks=_STEPS)
    return parse_object(body)


def parse_object(body: bytes, *, hooks: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """The JSON object that `body` is. Raises Refusal; the message gives line and column, never the text."""
    try:
        value = json.loads(body.decode("utf-8-sig"), parse_constant=_refuse_constant, **hooks)
    except UnicodeDecodeError:
        raise Refusal("invalid_json", "The body is not UTF-8.") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise Refusal("invalid_json", f"The body is not valid JSON ({error.msg}, {place}).") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:  # NaN, Infinity, an integer of thousands of digits
        raise Refusal("invalid_json", "The body holds a number that JSON does not have.") from None
    if not isinstance(value, dict):
        raise Refusal("invalid_json", "The body must be a JSON object.")
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH:
        _check_depth(value)
    return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise _too_deep()


def _int(text: str) -> int:
    return int(text)


def _float(text: str) -> float:
    return float(text)


def _dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(pairs)


_STEPS: Mapping[str, Any] = {"parse_int": _int, "parse_float": _float, "object_pairs_hook": _dict}
"""What json does itself, as Python functions: when it calls one, another thread may get its turn."""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _too_deep() -> Refusal:
    return Refusal("invalid_json", f"The body is nested deeper than {MAX_DEPTH} levels.")


def _too_large(limit_bytes: int) -> Refusal:
    return Refusal("body_too_large", f"The body is larger than {limit_bytes:,} bytes (max_body_bytes).")
