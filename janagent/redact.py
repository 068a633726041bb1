"""Hides secrets in whatever leaves the daemon: objects, errors, warnings, events, logs (contract 3).

Leaf helper, pure, imports nothing of ours. Three kinds of secret: values under a telling name, at any depth;
what URLs carry along (user-info, query values); and in free text whatever stands behind a telling name.
"""

import logging
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

HIDDEN = "***"
_TELLING = ("apikey", "secret", "password", "authorization", "credential")
_HARMLESS_NAMES = frozenset({"tokenlimit", "maxtokens"})
_HARMLESS_QUERY = frozenset({"download", "api-version"})
_TOO_DEEP = 200
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s\"<>]+")
_PAIR = re.compile(r"([?&;#])([^?&;=#\s]+)=([^&;#\s]*)")
_USER_INFO = re.compile(r"[^/?#]*@|[^/?#:]*:(?![0-9]*(?:[/?#]|$))[^@\s]*@")
_BARE_QUERY = re.compile(r"[^\s?]+\?[^\s=?]+=\S+")
_BARE_USER = re.compile(r"[^\s/?#:@]+:[^\s@]+@[^\s/]+\.\S+")
_SCHEME = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")
_KEY_SHAPED = re.compile(r"\b(?:sk-[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{16,})")
_NAMED = re.compile(
    r"(?i)(?<![\w-])([\w-]{0,64}(?:api[-_]*key|secret|password|authorization|credential|token)[\w-]{0,64})"
    r"([\"']?\s*[:=]\s*)"
    r"(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|(?!(?:bearer|basic)\s)[^\s\"',;&})\]]+)"
)
_MENTION = re.compile(r"(?i)key|secret|password|authorization|credential|token")


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret."""
    plain = name.replace("-", "").replace("_", "").lower()
    if any(word in plain for word in _TELLING):
        return True
    return plain.endswith("token") and plain not in _HARMLESS_NAMES


def redact(value: Any) -> Any:
    """A copy of a JSON value with every secret replaced by `***`; empty values hide nothing and stay.

    What lies deeper than any real object is hidden unseen.
    """
    return _redact(value, _TOO_DEEP)


def _redact(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _redact_field(value)
    if isinstance(value, dict | Mapping):  # the plain type first: it is what nearly every value is
        if not depth:
            return HIDDEN
        return {
            name: HIDDEN
            if is_secret_name(str(name)) and _says_something(field)
            else _redact(field, depth - 1)
            for name, field in value.items()
        }
    if isinstance(value, list | tuple):
        return [_redact(item, depth - 1) for item in value] if depth else HIDDEN
    return value


def _redact_field(text: str) -> str:
    """A field may hold a URL, a text with URLs, or a URL without its scheme (`f.gguf?sig=x`)."""
    if "://" in text:
        return _URL.sub(lambda match: redact_url(match[0]), text)
    if ("?" in text and _BARE_QUERY.fullmatch(text)) or ("@" in text and _BARE_USER.fullmatch(text)):
        return redact_url(text)
    return text


def redact_url(url: str) -> str:
    """`url` without user-info and without the values of its query, except `download` and `api-version`."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    if (info := _USER_INFO.match(rest)) is not None:
        rest = f"{HIDDEN}@{rest[info.end() :]}"
    return scheme + separator + _PAIR.sub(_hide_pair, rest)


def redact_text(text: str) -> str:
    """Free text, such as a log line, without secrets: those in its URLs, what stands behind `Bearer`, `Basic`
    or a telling name (`api_key=...`, `"password": "..."`), and what has the shape of a well-known key.
    """
    if "://" in text:
        text = _URL.sub(lambda match: redact_url(match[0]), text)
    text = _SCHEME.sub(lambda match: f"{match[1]} {HIDDEN}", text)
    text = _KEY_SHAPED.sub(HIDDEN, text)
    return _NAMED.sub(_hide_named, text) if _MENTION.search(text) else text


def _says_something(value: Any) -> bool:
    return value is not None and value not in ("", [], {})


def _hide_pair(match: re.Match[str]) -> str:
    mark, name, value = match.groups()
    return match[0] if not value or name.lower() in _HARMLESS_QUERY else f"{mark}{name}={HIDDEN}"


def _hide_named(match: re.Match[str]) -> str:
    """Hide a value unless it is prose ("API-KEY: unknown, did you mean ...") or a count ("EOS token = 2")."""
    name, between, value = match.groups()
    if not is_secret_name(name) or value in ("null", "None"):
        return match[0]
    if value[0] in "\"'":
        return f"{name}{between}{value[0]}{HIDDEN}{value[0]}" if len(value) > 2 else match[0]
    is_quoted_name = between[0] in "\"'"
    if name.lower().endswith("token") and value.isdigit():
        return match[0]
    if "=" not in between and not is_quoted_name and not re.search(r"[0-9]", value):
        return match[0]
    return f"{name}{between}{HIDDEN}"


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
