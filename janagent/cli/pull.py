"""`pull`: write a manifest that says where a model comes from, and follow it until the model runs.

The daemon does the rest, as with any manifest that is dropped. Never writes over a file.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from janagent.caller import model_path
from janagent.cli import output
from janagent.cli.client import ApiError, Client, connect
from janagent.cli.models import start_with_progress
from janagent.cli.options import Config, Json, Root
from janagent.cli.output import Exit, Failure

LISTED_WITHIN_S = 15.0
POLL_S = 0.1


def pull(
    origin: Annotated[
        str, typer.Argument(metavar="ORIGIN", help="owner/repo, or the URL of a repo or file.")
    ],
    file: Annotated[str | None, typer.Argument(metavar="[FILE]", help="The one file to fetch.")] = None,
    root: Root = None,
    config: Config = None,
    as_json: Json = False,
    import_format: Annotated[
        str | None, typer.Option("--format", help="default, thebloke or janhq (recognised if absent).")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Id of the model (default: the repo's name).")] = None,
    wait: Annotated[bool, typer.Option(help="Follow it until the model runs.")] = True,
) -> None:
    """Fetch a model: writes its manifest, and the daemon brings what is missing."""
    text = manifest(origin, file=file, import_format=import_format)
    client = connect(root, config)
    client.get("/v1/health")  # without a daemon nobody would bring anything
    models = client.models_dir
    path = write(text, models=models, name=name or name_of(origin))
    shown = str(path.relative_to(models.parent))
    try:
        if not as_json:
            output.say(f"wrote {path}")
        model = _listed(client, shown)
        if wait:
            model = _followed(client, model["id"])
    except KeyboardInterrupt:
        model = _listed(client, shown)
        client.call("PUT", model_path(model["id"], "/stop"))
        output.say(f"paused; go on with: janagent start {model['id']}")
        raise
    if as_json:
        output.print_json(model)
    else:
        print(f"{output.clean(model['id'])} {model['state']}")


def manifest(origin: str, *, file: str | None, import_format: str | None) -> bytes:
    """The manifest's text, checked by the same reader that the daemon has. Raises Failure."""
    from janagent.folder.manifest import read_manifest

    said = {"origin": origin, "import_format": import_format, "download_url": file}
    text = json.dumps({key: value for key, value in said.items() if value is not None}, indent=2) + "\n"
    reading = read_manifest(text.encode())
    if reading.fault is not None:
        raise Failure(reading.fault.message, Exit.USAGE)
    if reading.manifest is not None and not reading.manifest.has_source:
        raise Failure(f"{origin!r} is no place to fetch from; give owner/repo or a URL", Exit.USAGE)
    return text.encode()


def name_of(origin: str) -> str:
    """What a model from `origin` is called: a file's name without its extension, else the repo's name."""
    from janagent.folder.origin import is_repo

    plain = origin.partition("?")[0]
    path = plain if is_repo(plain) else plain.rpartition("://")[2].partition("/")[2] or plain
    parts = path.partition("@")[0].strip("/").split("/")
    is_file = parts[-1].lower().endswith(".gguf")
    plain = parts[-1][: -len(".gguf")] if is_file else "/".join(parts[1:2]) or parts[0]
    return re.sub(r"[^\w.-]+", "-", plain).strip("-.") or "model"


def write(text: bytes, *, models: Path, name: str) -> Path:
    """Put the manifest into a folder of its own. Raises Failure when that name is taken."""
    if not models.is_dir():
        raise Failure(f"{models} is not there; mount it, or create it with: mkdir -p {models}")
    if name != Path(name).name or name.startswith("."):
        raise Failure(f"--name: {name!r} should be a plain file name", Exit.USAGE)
    path = models / name / f"{name}.json"
    try:
        path.parent.mkdir()
        with path.open("xb") as file:
            file.write(text)
    except FileExistsError:
        raise Failure(
            f"{path.parent} is there already; nothing was changed. To fetch it again: janagent start {name}; "
            "for another name: --name"
        ) from None
    return path


def _followed(client: Client, model_id: str) -> Any:
    """Start the model and wait until it runs. A download that failed for now is tried again by the daemon,
    at a time of its choice; that is waited for. Raises Failure."""
    while True:
        try:
            return start_with_progress(client, model_id, None)
        except ApiError as error:
            if error.error_code != "model_missing" or not error.is_passing:
                raise
            output.say(str(error))
        failed = client.get(model_path(model_id))
        while (model := client.get(model_path(model_id)))["state"] == "failed":
            if model.get("error") != failed.get("error"):
                break  # it was tried meanwhile, and this failure may be for good
            time.sleep(POLL_S)
        if (model.get("error") or {}).get("code") == "paused":
            raise Failure(f"paused; go on with: janagent start {model_id}")


def _listed(client: Client, path: str) -> dict[str, Any]:
    """The model of the manifest at `path`, once the daemon knows it."""
    deadline = time.monotonic() + LISTED_WITHIN_S
    while time.monotonic() < deadline:
        try:
            models: list[dict[str, Any]] = client.get("/v1/models")["data"]
        except ApiError:
            models = []
        if found := next((model for model in models if model["path"] == path), None):
            return found
        time.sleep(POLL_S)
    raise Failure(f"the daemon does not list {path}; janagent doctor may know why")
