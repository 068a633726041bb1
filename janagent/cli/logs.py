"""`logs`: the last lines of a model's engine and fetcher, or of the daemon itself."""

from __future__ import annotations

import os
import time
from collections import deque
from pathlib import Path
from typing import Annotated

import typer

from janagent import paths
from janagent.caller import lines as client_lines
from janagent.caller import model_path
from janagent.cli import output
from janagent.cli.client import connect
from janagent.cli.options import Config, Root
from janagent.cli.output import Failure

POLL_S = 0.2


def logs(
    model_id: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="A model; without it, the daemon.", show_default=False),
    ] = None,
    root: Root = None,
    config: Config = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 200,
) -> None:
    """Print the log of a model, or of the daemon."""
    if model_id is None:
        _daemon_log(root, config, follow=follow, lines=lines)
        return
    client = connect(root, config)
    with client.open("GET", model_path(model_id, "/logs?follow=true" if follow else "/logs")) as response:
        if follow:
            for line in client_lines(response):
                output.write(line)
        else:
            text = response.read().decode("utf-8", "replace").splitlines(keepends=True)
            output.write("".join(text[-lines:] if lines else []))


def _daemon_log(root: Path | None, config: Path | None, *, follow: bool, lines: int) -> None:
    from janagent.config import Settings

    settings = Settings.load({"root": root}, config=config)
    file = paths.log_file(settings.root)
    if not file.is_file():
        raise Failure(f"no daemon of {settings.root} has written a log yet ({file})")
    with file.open("r", encoding="utf-8", errors="replace", newline="\n") as log:
        output.write("".join(deque(log, maxlen=lines)))
        end = log.tell()
    if follow:
        _follow(file, end)


def _follow(file: Path, position: int) -> None:
    """Print what is appended, until Ctrl-C; a file that was replaced or cut starts anew."""
    identity = None
    while True:
        try:
            with file.open("rb") as log:
                now = os.fstat(log.fileno())
                if identity not in (None, (now.st_dev, now.st_ino)) or now.st_size < position:
                    position = 0
                identity = (now.st_dev, now.st_ino)
                log.seek(position)
                data = log.read()
                # Half a line, or half a character, waits for the rest of it.
                data = data[: data.rfind(b"\n") + 1]
                position += len(data)
        except FileNotFoundError:
            data = b""
        if data:
            output.write(data.decode("utf-8", "replace"))
        time.sleep(POLL_S)
