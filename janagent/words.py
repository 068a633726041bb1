"""Sizes, durations and progress in the words that command line and tray share. Leaf, pure."""

from collections.abc import Mapping
from typing import Any


def size(size_bytes: float | None) -> str:
    """`4.1 GB`; empty for None."""
    if size_bytes is None:
        return ""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit in ("B", "kB") or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def duration(seconds: float) -> str:
    """`1 h 05 min`, `2 min 10 s`, `7 s`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def progress_text(progress: Mapping[str, Any]) -> str:
    """`31 % of 4.1 GB, 12 MB/s, 3 min 10 s left`, as much of it as is known."""
    done, total = progress.get("done_bytes"), progress.get("total_bytes")
    parts = []
    if isinstance(done, int | float) and isinstance(total, int | float) and total > 0:
        parts.append(f"{100 * done / total:.0f} % of {size(total)}")
    if rate := progress.get("bytes_per_s"):
        parts.append(f"{size(rate)}/s")
    if (left := progress.get("eta_s")) is not None:
        parts.append(f"{duration(left)} left")
    return ", ".join(parts)


def fraction(progress: Mapping[str, Any]) -> float | None:
    """How far it is, 0 to 1; None when that is not known."""
    total = progress.get("total_bytes")
    return progress.get("done_bytes", 0) / total if total else None
