"""How the command line speaks: exit codes, sentences, tables. The words for people are made here.

Knows no command and no HTTP. What comes from files, models and logs passes `clean`, so that it cannot steer
the terminal. rich is imported when something is drawn, not before.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from janagent import words

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


class Exit(IntEnum):
    """What the exit status means to a script."""

    OK = 0
    FAULT = 1
    USAGE = 2
    NO_DAEMON = 3
    INTERRUPTED = 130


class Failure(Exception):
    """Ends the command with one sentence on stderr and this exit status."""

    def __init__(self, message: str, code: Exit = Exit.FAULT) -> None:
        super().__init__(message)
        self.code = code


STATE_STYLES = {
    "running": "green",
    "starting": "cyan",
    "stopping": "cyan",
    "downloading": "cyan",
    "downloaded": "",
    "stopped": "dim",
    "missing": "yellow",
    "invalid": "red",
    "failed": "red",
}

_WIDE = 100_000
"""Columns of a pipe: a program that reads the table wants whole lines."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean(text: str) -> str:
    """`text` without control characters other than newline and tab; a terminal obeys those."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def say(message: str) -> None:
    """One sentence for the person, on stderr, so that stdout stays for data."""
    print(f"janagent: {clean(message)}", file=sys.stderr)


def write(text: str) -> None:
    """Text as it comes, to stdout, at once."""
    sys.stdout.write(clean(text))
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """`value` as JSON for a script."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_json_line(value: Any) -> None:
    """`value` as one line of JSON, at once: for a stream."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def console(*, stderr: bool = False) -> Console:
    """A rich console that neither wraps nor colours what goes into a pipe."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    return made if made.is_terminal else Console(file=made.file, width=_WIDE, highlight=False, markup=False)


def table(*columns: str) -> Table:
    """A table without lines, whose cells hold cleaned text."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold", justify="right" if column in ("SIZE", "CONTEXT") else "left")
    return made


def cell(text: str, style: str = "") -> Any:
    """One cell, its text taken literally."""
    from rich.text import Text

    return Text(clean(text), style=style)


def notes(model: Mapping[str, Any]) -> str:
    """The last column of `ls`: the error (of a remote model its last), else the progress, else a warning."""
    if error := model.get("error") or model.get("last_error"):
        return str(error.get("message", ""))
    if progress := model.get("progress"):
        return words.progress_text(progress)
    if warnings := model.get("warnings"):
        rest = f" (and {len(warnings) - 1} more)" if len(warnings) > 1 else ""
        return f"{warnings[0]}{rest}"
    return ""


def context(model: Mapping[str, Any]) -> str:
    """Tokens of one conversation where the manifest says so, `of` those the model was trained for."""
    trained = model.get("context_length")
    wanted = (model.get("parameters") or {}).get("init", {}).get("ctx_len")
    return " of ".join(str(tokens) for tokens in dict.fromkeys([wanted, trained]) if tokens)


def model_table(models: Iterable[Mapping[str, Any]]) -> Table:
    """`ls`: one row per model object."""
    made = table("ID", "STATE", "SIZE", "QUANT", "CONTEXT", "NOTES")
    for model in models:
        state = str(model.get("state", ""))
        made.add_row(
            cell(str(model["id"])),
            cell(state, STATE_STYLES.get(state, "")),
            cell(words.size(model.get("size_bytes"))),
            cell(str(model.get("quantization") or "")),
            cell(context(model)),
            cell(notes(model), "red" if model.get("error") else "dim"),
        )
    return made
