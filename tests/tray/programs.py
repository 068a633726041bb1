"""Programs that stand for the desktop's own: each writes down how it was called."""

from pathlib import Path

from tests.daemons import until


def install(programs: Path, name: str, what: str = 'printf "%s\\n" "$@"') -> Path:
    """A program `name`; the file that will hold what it was given."""
    told = programs.parent / f"{name}.txt"
    program = programs / name
    program.write_text(f'#!/bin/sh\n{{ {what}; }} > "{told}.new" && /bin/mv "{told}.new" "{told}"\n')
    program.chmod(0o755)
    return told


def given(told: Path) -> list[str]:
    until(told.exists)
    return told.read_text().splitlines()
