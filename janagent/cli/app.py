"""Wires the commands into one program and turns what they raise into a sentence and an exit status."""

import os
import sys
from typing import Annotated

import typer

from janagent import __version__
from janagent.cli import chat, check, doctor, logs, models, pull, serve, service, starter, tray
from janagent.cli.output import Exit, Failure, say

app = typer.Typer(
    name="janagent",
    help="Drop models into a folder, talk to them through an OpenAI-equivalent API.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"janagent {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Drop models into a folder, talk to them through an OpenAI-equivalent API."""


app.command("serve")(serve.serve)
app.command("tray")(tray.tray)
app.command("ls")(models.ls)
app.command("show")(models.show)
app.command("start")(models.start)
app.command("stop")(models.stop)
app.command("rm")(models.rm)
app.command("pull")(pull.pull)
app.command("chat")(chat.chat)
app.command("logs")(logs.logs)
app.command("check")(check.check)
app.command("schema")(check.schema)
app.command("starter")(starter.starter)
app.command("doctor")(doctor.doctor)
app.add_typer(service.app, name="service")


def run(arguments: list[str] | None = None) -> int:
    """Run one command line (`sys.argv` by default); returns the exit status."""
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of a pipe (`janagent ls | head`) has left; nothing more to say, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAULT
    return code


def _run(arguments: list[str] | None) -> int:
    try:
        app(args=arguments, prog_name="janagent")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        raise
    except Failure as failure:
        say(str(failure))
        return failure.code
    except Exception as error:
        if (code := _status_of(error)) is None:
            raise
        say(str(error))
        return code
    return Exit.OK


def _status_of(error: Exception) -> Exit | None:
    """The exit status of an error that is the person's to mend, None for a mistake of ours."""
    from janagent.config import ConfigError
    from janagent.lock import RootHeld

    if isinstance(error, ConfigError):
        return Exit.USAGE
    return Exit.FAULT if isinstance(error, RootHeld | OSError) else None
