"""What the statuses mean that say nothing about the file or the repo: the server is busy or in trouble.

Neighbours: `client` and `hub`, who put the others into words, each for what it asks.
"""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from janagent.fetch.faults import Code, FetchError

_LATER = frozenset({408, 425})


def trouble(status: int, headers: Mapping[str, str], *, host: str) -> FetchError | None:
    """The error for a status that may pass by itself, with the time that the server names; None for others.

    `headers` are those of the answer, however their names are written.
    """
    if status == 429:
        words = f"{host} takes no more requests for now (429); a token in HF_TOKEN may raise a hub's limit"
        return FetchError(Code.RATE_LIMITED, words, retry_after_s=_retry_after_s(headers))
    if status >= 500 or status in _LATER:
        words = f"{host} is in trouble ({status}); trying again later may help"
        return FetchError(Code.SERVER_ERROR, words, retry_after_s=_retry_after_s(headers))
    return None


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds, or a date (RFC 9110, section 10.2.3); the server's own clock tells how far that is."""
    said = headers.get("Retry-After", "").strip()
    if said.isascii() and said.isdecimal():
        return float(said)
    try:
        now = parsedate_to_datetime(headers.get("Date", ""))
        return max(0.0, (parsedate_to_datetime(said) - now).total_seconds())
    except (ValueError, TypeError):
        return None
