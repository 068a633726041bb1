"""What a person types."""


def main() -> None:
    """Run the command line."""
    raise SystemExit("not there yet")
