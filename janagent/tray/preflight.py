"""What a tray needs of the desktop: what is missing, in words, and which package brings it.

`why_not` answers before pystray is imported, because that would end in an exception, in a process that hangs,
or in an icon that takes no clicks. Neighbour: `shell`, which needs what is checked here.
"""

import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

INDICATORS = ("AyatanaAppIndicator3", "AppIndicator3")
_SYSTEM = (
    "/usr/lib/python3/dist-packages",
    "/usr/lib64/python{version}/site-packages",
    "/usr/lib/python{version}/site-packages",
)
_PACKAGES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "debian": (
        "sudo apt install",
        {"gi": "python3-gi", "gtk": "gir1.2-gtk-3.0", "indicator": "gir1.2-ayatanaappindicator3-0.1"},
    ),
    "fedora": (
        "sudo dnf install",
        {"gi": "python3-gobject", "gtk": "gtk3", "indicator": "libayatana-appindicator-gtk3"},
    ),
    "arch": (
        "sudo pacman -S",
        {"gi": "python-gobject", "gtk": "gtk3", "indicator": "libayatana-appindicator"},
    ),
    "suse": (
        "sudo zypper install",
        {
            "gi": "python3-gobject",
            "gtk": "typelib-1_0-Gtk-3_0",
            "indicator": "typelib-1_0-AyatanaAppIndicator3-0_1",
        },
    ),
}
"""Families of distributions: how to install, and what brings what."""


def why_not() -> str | None:
    """Why no tray can be shown here, a sentence that says what to do; None if one can."""
    if sys.platform == "darwin":
        return None  # pystray brings what it needs
    if not sys.platform.startswith("linux"):
        return f"the tray is made for Linux and macOS, not for {sys.platform}"
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no display: start the tray in a desktop session (janagent serve needs none)"
    if not find_gi():
        return f"PyGObject is missing; {_how_to_get_gi()}"
    return _why_no_indicator() or _why_no_session()


def find_gi() -> bool:
    """PyGObject can be imported after this: the environment's own, else the system's.

    A virtual environment does not see what the distribution installed, but its compiled part fits whenever
    the version of Python is the same; its file name says so.
    """
    if importlib.util.find_spec("gi") is not None:
        return True
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return adopt(Path(place.format(version=version)) / "gi" for place in _SYSTEM)


def adopt(places: Iterable[Path]) -> bool:
    """Import the first of these packages `gi` that is made for this Python; whether there is one."""
    for place in places:
        fits = any((place / f"_gi{suffix}").is_file() for suffix in _tagged_suffixes())
        start = place / "__init__.py"
        if not fits or not start.is_file():
            continue
        spec = importlib.util.spec_from_file_location("gi", start, submodule_search_locations=[str(place)])
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["gi"] = module
        try:
            spec.loader.exec_module(module)
        except ImportError:
            del sys.modules["gi"]
            continue
        return True
    return False


def _tagged_suffixes() -> list[str]:
    """Endings of extension modules that name the version of Python; a bare `.so` may be of any."""
    return [suffix for suffix in importlib.machinery.EXTENSION_SUFFIXES if "cpython" in suffix]


def _why_no_indicator() -> str | None:
    import gi

    if not _is_there(gi, "Gtk", "3.0"):
        return f"GTK 3 is missing; install it with: {_install('gtk', 'indicator')}"
    if not any(_is_there(gi, name, "0.1") for name in INDICATORS):
        return f"the AppIndicator library is missing; install it with: {_install('indicator')}"
    return None


def _is_there(gi: object, namespace: str, version: str) -> bool:
    try:
        gi.require_version(namespace, version)  # type: ignore[attr-defined]
    except ValueError:
        return False
    return True


def _why_no_session() -> str | None:
    """The display and the session bus answer. Loads GTK, so it comes last."""
    with _without_gl():
        from gi.repository import Gio, GLib, Gtk

        is_open = Gtk.init_check()[0]
    if not is_open:
        display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        return f"the display {display} cannot be opened: start the tray in the desktop session that shows it"
    try:
        Gio.bus_get_sync(Gio.BusType.SESSION, None)
    except GLib.Error as error:
        reason = error.message.rstrip(".")
        return f"there is no session bus ({reason}): start the tray in a desktop session"
    return None


@contextmanager
def _without_gl() -> Iterator[None]:
    """Menus need no OpenGL, and its software renderer would be a fifth of our memory. Only for us: what we
    start later inherits the environment."""
    before = os.environ.get("GDK_GL")
    os.environ["GDK_GL"] = "disable"
    try:
        yield
    finally:
        del os.environ["GDK_GL"]
        if before is not None:
            os.environ["GDK_GL"] = before


def _how_to_get_gi() -> str:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if Path(f"/usr/bin/python{version}").exists():
        return f"install it with: {_install('gi', 'indicator')}"
    return f"for Python {version} install it with: {sys.executable} -m pip install 'janagent[tray]'"


def _install(*needs: str) -> str:
    """The command of this distribution, Debian's where it is unknown."""
    command, packages = _PACKAGES.get(_family(_os_release()), _PACKAGES["debian"])
    return f"{command} {' '.join(packages[need] for need in needs)}"


def _family(release: str) -> str:
    """Which row of `_PACKAGES` a text as in os-release(5) belongs to; empty for none."""
    values = dict(line.split("=", 1) for line in release.splitlines() if "=" in line)
    told = f"{values.get('ID', '')} {values.get('ID_LIKE', '')}".replace('"', "").split()
    for name in told:
        for family in _PACKAGES:
            if family in name or (family == "fedora" and name in ("rhel", "centos")):
                return family
    return ""


def _os_release() -> str:
    for place in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            return Path(place).read_text()
        except OSError:
            continue
    return ""
