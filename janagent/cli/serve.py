"""`serve`: settings from flags, environment and file, then the daemon in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from janagent.cli.options import Config, Root


def serve(
    root: Root = None,
    config: Config = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on (default localhost).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (default 1337; 0: a free one).")] = None,
    api_key: Annotated[
        str | None, typer.Option(help="Better in the settings file: flags are public.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain (PEM) for https.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Private key (PEM) for https.")] = None,
    allowed_hosts: Annotated[
        list[str] | None, typer.Option("--allowed-host", help="A further name of this machine; repeatable.")
    ] = None,
    cors_origins: Annotated[
        list[str] | None, typer.Option("--cors-origin", help="A web origin that may call; repeatable.")
    ] = None,
    hot_load: Annotated[str | None, typer.Option(help="dropped, all or never (default dropped).")] = None,
    memory_budget: Annotated[str | None, typer.Option(help='For loaded models, such as "8GB".')] = None,
    idle_unload_s: Annotated[
        float | None, typer.Option(help="Unload after so long idle (default 900).")
    ] = None,
    drain_s: Annotated[float | None, typer.Option(help="How long a stop waits for answers (30).")] = None,
    spare_worker: Annotated[bool | None, typer.Option(help="Keep one empty worker ready.")] = None,
    offline: Annotated[bool | None, typer.Option(help="Never use the network to fetch models.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Run the daemon in the foreground. Every other setting: JANAGENT_* or janagent.toml."""
    flags = {
        "root": root,
        "host": host,
        "port": port,
        "api_key": api_key,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "allowed_hosts": allowed_hosts or None,
        "cors_origins": cors_origins or None,
        "hot_load": hot_load,
        "memory_budget": memory_budget,
        "idle_unload_s": idle_unload_s,
        "drain_s": drain_s,
        "spare_worker": spare_worker,
        "offline": offline,
        "log_level": log_level,
    }
    from janagent.config import Settings

    settings = Settings.load(flags, config=config)
    # Imported late: it costs several times what all other commands do, and a wrong setting needs none of it.
    from janagent import daemon

    raise typer.Exit(daemon.run(settings, reread=lambda: Settings.load(flags, config=config)))
