"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Root = Annotated[
    Path | None,
    typer.Option("--root", help="Folder that holds models/ (default ~/janroot).", show_default=False),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", help="Settings file (default: janagent.toml in your configuration folder)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
ModelId = Annotated[str, typer.Argument(metavar="ID", help="Id or alias of the model.", show_default=False)]
