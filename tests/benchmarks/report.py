"""Owns the shape of a result: one line with its goal, figure and verdict, and the markdown made of them.

It must not know how anything is measured; every benchmark module hands lines to `__main__.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil
from statistics import median


class Verdict(StrEnum):
    """How a figure stands to its goal."""

    PASS = "pass"
    SHORT = "short"
    NOTE = "for the record"
    FAILED = "could not be measured"


@dataclass(frozen=True)
class Line:
    """One measured thing, in words that stand alone in a document."""

    what: str
    figure: str
    goal: str = ""
    verdict: Verdict = Verdict.NOTE


@dataclass(frozen=True)
class Section:
    """All lines of one benchmark, and how it was measured."""

    title: str
    how: str
    lines: Sequence[Line]
    details: str = ""
    """More markdown (tables of medians) below the lines."""


@dataclass(frozen=True)
class Plan:
    """How much to measure; `quick` proves that a benchmark works, its figures are rough."""

    quick: bool = False
    rounds: int = 5
    tokens: int = 128
    only_engine: bool = False
    wait_s: float = 60.0
    """How long to go on for one figure of a calm machine."""
    disturbances: list[float] = field(default_factory=list)
    """Of each figure taken on a busy machine, the share of the cores that others used."""
    notes: list[str] = field(default_factory=list)
    """Sentences about disturbances, printed under the tables."""


@dataclass(frozen=True)
class Spread:
    """Median, least and greatest of some figures."""

    middle: float
    low: float
    high: float

    def text(self, digits: int = 2, unit: str = "") -> str:
        """`1.02x (0.98-1.05)`."""
        return f"{self.middle:.{digits}f}{unit} ({self.low:.{digits}f}-{self.high:.{digits}f})"


def spread(values: Sequence[float]) -> Spread:
    """Median and range. Raises ValueError when nothing was measured."""
    if not values:
        raise ValueError("nothing was measured")
    return Spread(median(values), min(values), max(values))


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of `values`, `share` in 0..1: p99 of 100 values is the 99th."""
    ordered = sorted(values)
    return ordered[max(0, ceil(round(share * len(ordered), 6)) - 1)]


def verdict(*, ok: bool) -> Verdict:
    """Pass or short."""
    return Verdict.PASS if ok else Verdict.SHORT


def parity(ratio: Spread) -> Verdict:
    """At least 1.0x, or 1.0x lies within the printed spread (issue: "parity")."""
    return verdict(ok=ratio.high >= 1.0)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table, columns padded so that it reads well in a terminal too."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([line(head), line(["-" * width for width in widths]), *map(line, rows)])


def markdown(machine: str, sections: Sequence[Section], plan: Plan) -> str:
    """The whole document."""
    parts = [machine]
    for section in sections:
        rows = [[line.what, line.figure, line.goal, line.verdict.value] for line in section.lines]
        parts.append(f"### {section.title}\n\n{section.how}")
        parts.append(table(["what", "measured", "goal", "verdict"], rows))
        if section.details:
            parts.append(section.details)
    if plan.quick:
        parts.append("Quick run: few rounds, rough figures.")
    parts.extend(plan.notes)
    return "\n\n".join(parts) + "\n"
