"""Programs that stand for the desktop's own: each writes down how it was called."""

import os
from pathlib import Path

from tests.daemons import until


def install(programs: Path, name: str, what: str = 'printf "%s\\n" "$@"') -> Path:
    """A program `name`; the file that will hold what it was given."""
    told = programs.parent / f"{name}.txt"
    program = programs / name
    program.write_text(f'#!/bin/sh\n{{ {what}; }} > "{told}.new" && /bin/mv "{told}.new" "{told}"\n')
    program.chmod(0o755)
    return told


def gate(folder: Path) -> tuple[dict[str, str], Path]:
    """(variables with which every daemon waits at its start until the file is there, the file)."""
    file, module = folder / "gate", folder / "held" / "sitecustomize.py"
    module.parent.mkdir()
    is_held = f"os.path.isdir({str(folder)!r}) and not os.path.exists({str(file)!r})"
    wait = f"while {is_held}:\n        time.sleep(0.02)\n"
    module.write_text(f'import os, sys, time\nif "serve" in sys.orig_argv:\n    {wait}')
    paths = [str(module.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths)}, file


def given(told: Path) -> list[str]:
    until(told.exists)
    return told.read_text().splitlines()
