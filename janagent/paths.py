"""Where things are: the root, the user's own folders, sockets. Imports nothing of ours.

Only `make_private` and `socket_folder` create anything; every other function just names a place.
The neighbour is `janagent.config`, which decides which root is meant.
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

APP = "janagent"
MODELS = "models"
SOCKET_NAME_BYTES = 32
"""Bytes that a socket's own file name may take inside `socket_folder`."""

_SUN_PATH_BYTES = 103
"""`sockaddr_un.sun_path` less its NUL: 104 bytes on macOS and BSD, 108 on Linux (unix(7))."""


def default_root() -> Path:
    """`~/janroot`, the only root that janagent creates by itself."""
    return Path.home() / "janroot"


def models_dir(root: Path) -> Path:
    """The folder that is the truth."""
    return root / MODELS


def config_dir() -> Path:
    """The user's configuration (`~/.config/janagent`, on macOS `~/Library/Application Support/janagent`)."""
    return platformdirs.user_config_path(APP, appauthor=False)


def config_file() -> Path:
    """`janagent.toml` in the user's configuration folder; it need not exist."""
    return config_dir() / "janagent.toml"


def state_dir() -> Path:
    """What janagent remembers between starts (`~/.local/state/janagent`)."""
    return platformdirs.user_state_path(APP, appauthor=False)


def log_dir() -> Path:
    """The user's log folder (`~/.local/state/janagent/log`, on macOS `~/Library/Logs/janagent`)."""
    return platformdirs.user_log_path(APP, appauthor=False)


def log_file(root: Path) -> Path:
    """The log of the daemon of `root`."""
    return log_dir() / f"{root_name(root)}.log"


def lock_file(root: Path) -> Path:
    """The lock of the daemon of `root`.

    Outside the root on purpose: an open file there would keep a disk from being unmounted, and a root may be
    read-only or not there at this moment.
    """
    return state_dir() / "daemons" / f"{root_name(root)}.lock"


def pause_file(root: Path) -> Path:
    """There while the downloads of `root` are paused."""
    return state_dir() / "daemons" / f"{root_name(root)}.paused"


def root_name(root: Path) -> str:
    """A short file name that stands for `root`; two paths to the same folder give the same name."""
    real = os.path.realpath(root)
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", os.path.basename(real)).strip("._")[:40] or "root"
    return f"{stem}-{hashlib.sha256(os.fsencode(real)).hexdigest()[:12]}"


def make_private(folder: Path) -> Path:
    """Create `folder` and its missing parents, readable by this user alone; returns it. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


@contextmanager
def socket_folder() -> Iterator[Path]:
    """A fresh folder of mode 0700 for Unix sockets, removed at the end.

    Its path leaves `SOCKET_NAME_BYTES` for a file name within the 103 bytes that every platform takes. Raises
    OSError when no place is both writable and short enough.
    """
    folder = _make_socket_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_socket_folder() -> Path:
    refusal: OSError | None = None
    for parent in _socket_parents():
        try:
            return Path(tempfile.mkdtemp(prefix="jan-", dir=parent))
        except OSError as error:
            refusal = error
    raise refusal or OSError(
        "no folder for sockets: every temporary folder's path is too long; set TMPDIR=/tmp"
    )


def _socket_parents() -> list[str]:
    """Places for the socket folder, best first; `/tmp` for when the temporary folder's path is too long."""
    candidates = [os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"]
    made = len("/jan-12345678/") + SOCKET_NAME_BYTES
    return [
        parent
        for parent in dict.fromkeys(candidates)
        if parent and os.path.isdir(parent) and len(os.fsencode(parent)) + made <= _SUN_PATH_BYTES
    ]
