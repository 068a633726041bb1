"""What the desktop does for us: open a folder, a file, a page, a terminal. Starts programs, waits for none.

Linux opens through xdg-open and the terminal that the person chose, macOS through open and Terminal.
Neighbour: `shell`, which has what only the toolkit can do (dialogs, clipboard).
"""

import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ADDING = Path(__file__).with_name("adding.html")
"""The page that says how a model is added."""

_TERMINALS: Sequence[tuple[str, Sequence[str]]] = (
    ("xdg-terminal-exec", ()),
    ("x-terminal-emulator", ("-e",)),
    ("gnome-terminal", ("--",)),
    ("ptyxis", ("--",)),
    ("kgx", ("-e",)),
    ("konsole", ("-e",)),
    ("xfce4-terminal", ("-x",)),
    ("mate-terminal", ("-x",)),
    ("kitty", ()),
    ("alacritty", ("-e",)),
    ("foot", ()),
    ("wezterm", ("start", "--")),
    ("xterm", ("-e",)),
)
"""Programs, and what stands before a command that they run, in the order of asking."""


class NoProgram(Exception):
    """The desktop has no program for this; the message says what to do by hand."""


def open_place(place: Path | str) -> None:
    """Open a folder, a file or a URL in the program the person uses for it. Raises NoProgram."""
    opener = "open" if sys.platform == "darwin" else "xdg-open"
    if shutil.which(opener) is None:
        raise NoProgram(f"nothing opens {place} ({opener} is not installed, package xdg-utils)")
    _start([opener, str(place)])


def run_in_terminal(command: Sequence[str], *, environment: Mapping[str, str] = os.environ) -> None:
    """Open a terminal that runs `command`. Raises NoProgram."""
    if sys.platform == "darwin":
        line = shlex.join(command).replace("\\", "\\\\").replace('"', '\\"')
        script = f'tell application "Terminal" to do script "{line}"'
        _start(["osascript", "-e", script, "-e", 'tell application "Terminal" to activate'])
        return
    for program, before in _candidates(environment):
        if shutil.which(program, path=environment.get("PATH")):
            _start([program, *before, *command])
            return
    raise NoProgram(f"no terminal program was found; type: {shlex.join(command)}")


def _candidates(environment: Mapping[str, str]) -> Iterator[tuple[str, Sequence[str]]]:
    known = dict(_TERMINALS)
    if chosen := environment.get("TERMINAL"):
        yield chosen, known.get(Path(chosen).name, ("-e",))
    yield from _TERMINALS


def copy_by_tool(text: str) -> bool:
    """Put `text` on the clipboard with a program, where the toolkit cannot; whether there was one.

    A Wayland compositor takes a clipboard only from the window that has the focus, which a tray never has.
    """
    if sys.platform == "darwin":
        command = ["pbcopy"]
    elif os.environ.get("WAYLAND_DISPLAY"):
        command = ["wl-copy"]
    else:
        return False
    if shutil.which(command[0]) is None:
        return False
    done = subprocess.run(command, input=text.encode(), timeout=10, check=False)
    return done.returncode == 0


def _start(command: Sequence[str]) -> None:
    """A program of the desktop's: it lives on without us, and its words are nobody's."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=Path.home(),
            start_new_session=True,
        )
    except OSError as error:
        raise NoProgram(f"{command[0]} cannot be started: {error.strerror}") from error
    # Somebody has to take note of its end, or it stays in the list of processes.
    threading.Thread(target=process.wait, name=f"wait for {command[0]}", daemon=True).start()


def tell_by_tool(title: str, text: str) -> None:
    """A dialog of macOS. Raises NoProgram."""
    quoted = [part.replace("\\", "\\\\").replace('"', '\\"') for part in (text, title)]
    script = 'display dialog "{}" with title "{}" buttons {{"Close"}} default button 1'.format(*quoted)
    _start(["osascript", "-e", script])
