"""`ls show start stop rm`: what the daemon knows of its models, and what it should do with one."""

from __future__ import annotations

import json
import sys
import threading
from datetime import datetime
from typing import Annotated, Any

import typer

from janagent import words
from janagent.caller import model_path
from janagent.cli import output
from janagent.cli.client import Client, connect
from janagent.cli.options import Config, Json, ModelId, Root
from janagent.cli.output import Exit, Failure

FILTERS = ("all", "running", "downloaded", "downloading")
FIRST_SHOWN = (
    "id",
    "state",
    "error",
    "last_error",
    "latency_ms",
    "progress",
    "warnings",
    "path",
    "binaries",
    "aliases",
)
POLL_S = 0.25


def ls(
    root: Root = None,
    config: Config = None,
    as_json: Json = False,
    only: Annotated[str, typer.Option("--filter", help=" ".join(FILTERS))] = "all",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the changes.")] = False,
) -> None:
    """List the models."""
    if only not in FILTERS:
        raise Failure(f"--filter: {only!r} should be one of {', '.join(FILTERS)}", Exit.USAGE)
    client = connect(root, config)
    if watch:
        _watch(client, as_json=as_json)
        return
    listing = client.get(f"/v1/models?filter={only}")["data"]
    if as_json:
        output.print_json(listing)
    elif listing:
        output.console().print(output.model_table(listing))
    elif only == "all":
        output.say("No models yet; drop a GGUF or a manifest into the models folder, or: janagent starter")


def _watch(client: Client, *, as_json: bool) -> None:
    """Draw the table anew after each event; into a pipe, one line per event."""
    if as_json:
        for name, data in client.events():
            output.print_json_line({"event": name, "data": data})
    elif output.console().is_terminal:
        _watch_table(client)
    else:
        for name, data in client.events():
            for model in data["models"] if name == "snapshot" else [data] if name == "model" else []:
                print(f"{output.clean(model['id'])}\t{model['state']}\t{output.clean(output.notes(model))}")
            if name == "removed":
                print(f"{output.clean(data['id'])}\tremoved\t")
            sys.stdout.flush()
    raise Failure("the daemon has stopped", Exit.NO_DAEMON)


def _watch_table(client: Client) -> None:
    from rich.live import Live

    known: dict[str, Any] = {}
    with Live(console=output.console(), auto_refresh=False) as live:
        for name, data in client.events():
            if name == "snapshot":
                known = {model["id"]: model for model in data["models"]}
            elif name == "model":
                known[data["id"]] = data
            elif name == "removed":
                known.pop(data["id"], None)
            live.update(output.model_table(known[key] for key in sorted(known)), refresh=True)


def show(model_id: ModelId, root: Root = None, config: Config = None, as_json: Json = False) -> None:
    """Show everything about one model."""
    model = connect(root, config).get(model_path(model_id))
    if as_json:
        output.print_json(model)
    else:
        output.console().print(_description(model))


def _description(model: dict[str, Any]) -> Any:
    """A grid of field and value; nested values as indented JSON."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    names = dict.fromkeys([*FIRST_SHOWN, *model])
    for name, value in ((name, model[name]) for name in names if name in model):
        match name, value:
            case "object", _:
                continue
            case "error" | "last_error", {"message": message}:
                shown = output.cell(str(message), "red")
            case "state", _:
                shown = output.cell(str(value), output.STATE_STYLES.get(value, ""))
            case "created", int():
                shown = output.cell(datetime.fromtimestamp(value).isoformat(sep=" "))
            case "size_bytes", int():
                shown = output.cell(words.size(value))
            case "progress", dict():
                shown = output.cell(words.progress_text(value))
            case "binaries", list():
                lines = [f"{one['path']}  {words.size(one['size_bytes'])}  {one['role']}" for one in value]
                shown = output.cell("\n".join(lines))
            case (("aliases" | "warnings" | "input_modalities"), list()):
                shown = output.cell("\n".join(map(str, value)))
            case _, dict() | list():
                shown = output.cell(json.dumps(value, indent=2, ensure_ascii=False))
            case _:
                shown = output.cell(str(value))
        grid.add_row(output.cell(name, "bold"), shown)
    return grid


def start(
    model_id: ModelId,
    root: Root = None,
    config: Config = None,
    as_json: Json = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter until the next stop: ctx_len=1024."),
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait until the model runs.")] = True,
) -> None:
    """Load a model and wait until it runs."""
    client = connect(root, config)
    body = {"model_parameters": dict(map(_parameter, settings))} if settings else None
    if wait:
        model = start_with_progress(client, model_id, body)
    else:
        model = client.call("PUT", model_path(model_id, "/start?wait=false"), body)
    if as_json:
        output.print_json(model)
    else:
        print(f"{output.clean(model['id'])} {model['state']}")


def _parameter(text: str) -> tuple[str, Any]:
    """`ctx_len=1024` or `stop=["a"]`: the value is JSON if it can be, else text."""
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise Failure(f"--set: {text!r} should be NAME=VALUE", Exit.USAGE)
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def start_with_progress(client: Client, model_id: str, body: Any) -> Any:
    """Start and wait until it runs; on a terminal the start waits in a thread of its own while this one
    shows how far the model is. Returns the model object."""
    if not output.console(stderr=True).is_terminal:
        return client.call("PUT", model_path(model_id, "/start"), body)
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    outcome: list[Any] = []

    def ask() -> None:
        try:
            outcome.append(client.call("PUT", model_path(model_id, "/start"), body))
        except Failure as failure:
            outcome.append(failure)

    # A daemon thread: Ctrl-C leaves at once, and the model goes on loading.
    asking = threading.Thread(target=ask, name="start", daemon=True)
    asking.start()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, TimeElapsedColumn(), console=output.console(stderr=True), transient=True) as bar:
        task = bar.add_task(output.clean(model_id), total=None, note="")
        while asking.is_alive():
            asking.join(POLL_S)
            model = _look(client, model_id)
            progress = model.get("progress") or {}
            bar.update(
                task,
                total=1.0 if words.fraction(progress) is not None else None,
                completed=words.fraction(progress) or 0.0,
                note=f"{model.get('state', '')} {words.progress_text(progress)}",
            )
    if isinstance(outcome[0], Failure):
        raise outcome[0]
    return outcome[0]


def _look(client: Client, model_id: str) -> dict[str, Any]:
    """The model object for the display; the start itself reports what is wrong."""
    try:
        model: dict[str, Any] = client.get(model_path(model_id))
    except Failure:
        return {}
    return model


def stop(model_id: ModelId, root: Root = None, config: Config = None, as_json: Json = False) -> None:
    """Unload a model; running answers finish first. A local model loads again on its next request."""
    model = connect(root, config).call("PUT", model_path(model_id, "/stop"))
    if as_json:
        output.print_json(model)
    else:
        print(f"{output.clean(model['id'])} {model['state']}")


def rm(
    model_id: ModelId,
    root: Root = None,
    config: Config = None,
    as_json: Json = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a model: its manifest and the binaries that only it uses."""
    client = connect(root, config)
    model = client.get(model_path(model_id))
    if not yes and sys.stdin.isatty():
        for path in _doomed(model):
            print(f"  {output.clean(path)}", file=sys.stderr)
        typer.confirm(f"Delete {output.clean(model['id'])}?", abort=True, err=True)
    deleted = client.call("DELETE", model_path(model["id"]))
    if as_json:
        output.print_json(deleted)
    else:
        print(f"{output.clean(deleted['id'])} deleted")


def _doomed(model: dict[str, Any]) -> list[str]:
    """The files that go: the manifest and what no other model shares."""
    binaries = [binary["path"] for binary in model.get("binaries", ()) if not binary.get("shared")]
    return list(dict.fromkeys([model["path"], *binaries]))
