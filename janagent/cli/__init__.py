"""What a person types. `app` wires the commands; heavy imports wait inside the commands that need them."""


def main() -> None:
    """Run the command line and exit with its status."""
    from janagent.cli.app import run

    raise SystemExit(run())
