"""Hides secrets in whatever leaves the daemon: objects, errors, warnings, events, logs (contract 3).

Leaf helper, pure, imports nothing of ours. Two kinds of secret: values under a telling name, at any depth,
and what URLs carry along (user-info, query values).
"""

import logging
import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
_TELLING = ("apikey", "secret", "password", "authorization", "credential")
_HARMLESS_NAMES = frozenset({"tokenlimit", "maxtokens"})
_HARMLESS_QUERY = frozenset({"download", "api-version"})
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>\\^`{|}]+")
_QUERY_PAIR = re.compile(r"([^&;=#]*)=([^&;#]*)")
_TOKEN_LIKE = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")


def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret."""
    plain = name.replace("-", "").replace("_", "").lower()
    if any(word in plain for word in _TELLING):
        return True
    return plain.endswith("token") and plain not in _HARMLESS_NAMES


def redact(value: Any) -> Any:
    """A copy of a JSON value with every secret replaced by `***`; empty values hide nothing and stay."""
    if isinstance(value, str):
        return redact_text(value) if "://" in value else value
    if isinstance(value, Mapping):
        return {
            name: HIDDEN if is_secret_name(str(name)) and _says_something(field) else redact(field)
            for name, field in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    return value


def redact_text(text: str) -> str:
    """`text` with the secrets in its URLs, and keys behind `Bearer` or `Basic`, replaced by `***`."""
    if "://" in text:
        text = _URL.sub(lambda match: _redact_url(match[0]), text)
    return _TOKEN_LIKE.sub(lambda match: f"{match[1]} {HIDDEN}", text)


def _says_something(value: Any) -> bool:
    return value is not None and value not in ("", [], {})


def _redact_url(url: str) -> str:
    scheme, _, rest = url.partition("://")
    cut = min((at for mark in "/?#" if (at := rest.find(mark)) >= 0), default=len(rest))
    authority, tail = rest[:cut], rest[cut:]
    if "@" in authority:
        authority = f"{HIDDEN}@{authority.rpartition('@')[2]}"
    path, mark, query = tail.partition("?")
    return f"{scheme}://{authority}{path}{mark}{_QUERY_PAIR.sub(_hide_pair, query)}"


def _hide_pair(match: re.Match[str]) -> str:
    name, value = match[1], match[2]
    return match[0] if not value or name.lower() in _HARMLESS_QUERY else f"{name}={HIDDEN}"


class RedactingFilter(logging.Filter):
    """For log handlers: the formatted message, and the text of an exception, without secrets."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record; always true."""
        message = record.getMessage()
        told = redact_text(message)
        if told != message:
            record.msg, record.args = told, None
        if record.exc_info:
            record.exc_text = redact_text(logging.Formatter().formatException(record.exc_info))
        return True
