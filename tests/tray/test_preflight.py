"""What is missing, said before the toolkit is loaded. Whole processes without it: test___main__."""

import importlib.machinery
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from janagent.tray import preflight

REPO = Path(__file__).parent.parent.parent
DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12"\nID=debian\n'
UBUNTU = "NAME=Ubuntu\nID=ubuntu\nID_LIKE=debian\n"
FEDORA = "ID=fedora\n"
ROCKY = 'ID="rocky"\nID_LIKE="rhel centos fedora"\n'
SUSE = 'ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"\n'
MANJARO = "ID=manjaro\nID_LIKE=arch\n"


@pytest.fixture(autouse=True)
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(preflight, "_os_release", lambda: DEBIAN)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":4711")


def test_a_mac_has_all_it_needs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert preflight.why_not() is None


def test_another_system_is_told_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "win32")
    assert preflight.why_not() == "the tray is made for Linux and macOS, not for win32"


def test_without_a_display_nothing_is_loaded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DISPLAY")
    monkeypatch.setattr(preflight, "find_gi", lambda: pytest.fail("too early"))
    assert "there is no display" in (preflight.why_not() or "")


@pytest.mark.parametrize(
    ("release", "command"),
    [
        (DEBIAN, "sudo apt install python3-gi gir1.2-ayatanaappindicator3-0.1"),
        (UBUNTU, "sudo apt install python3-gi gir1.2-ayatanaappindicator3-0.1"),
        (FEDORA, "sudo dnf install python3-gobject libayatana-appindicator-gtk3"),
        (ROCKY, "sudo dnf install python3-gobject libayatana-appindicator-gtk3"),
        (SUSE, "sudo zypper install python3-gobject typelib-1_0-AyatanaAppIndicator3-0_1"),
        (MANJARO, "sudo pacman -S python-gobject libayatana-appindicator"),
        ("ID=slackware\n", "sudo apt install python3-gi gir1.2-ayatanaappindicator3-0.1"),
        ("", "sudo apt install python3-gi gir1.2-ayatanaappindicator3-0.1"),
    ],
)
def test_missing_pygobject_is_named_with_the_packages_of_the_distribution(
    monkeypatch: pytest.MonkeyPatch, release: str, command: str
):
    monkeypatch.setattr(preflight, "_os_release", lambda: release)
    monkeypatch.setattr(preflight, "find_gi", lambda: False)
    monkeypatch.setattr(Path, "exists", lambda self: True)
    assert preflight.why_not() == f"PyGObject is missing; install it with: {command}"


def test_a_python_that_is_not_the_distribution_s_is_told_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(preflight, "find_gi", lambda: False)
    monkeypatch.setattr(Path, "exists", lambda self: False)
    assert f"{sys.executable} -m pip install 'janagent[tray]'" in (preflight.why_not() or "")


def test_the_release_file_of_this_machine_is_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    assert "ID=" in preflight._os_release() or not Path("/etc/os-release").exists()


def adopting(*places: Path) -> "subprocess.CompletedProcess[str]":
    """A Python without any installed package tries these places and uses what it found."""
    code = """if True:
        import sys
        from pathlib import Path
        from janagent.tray import preflight
        if not preflight.adopt(map(Path, sys.argv[1:])):
            sys.exit("none fits")
        from gi.repository import GLib
        print(GLib.MAJOR_VERSION, Path(sys.modules["gi"].__file__).parent)
    """
    environment = os.environ | {"PYTHONPATH": str(REPO)}
    command = [sys.executable, "-S", "-c", code, *map(str, places)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def installed_gi() -> Path:
    spec = importlib.util.find_spec("gi")
    assert spec is not None
    assert spec.origin is not None, "PyGObject is not installed: make test installs it"
    return Path(spec.origin).parent


def test_the_distribution_s_pygobject_is_used_where_it_fits():
    done = adopting(Path("/nowhere/gi"), installed_gi())
    assert done.stdout == f"2 {installed_gi()}\n", done.stderr


def test_one_that_is_made_for_another_python_is_left_alone(tmp_path: Path):
    other = tmp_path / "gi"
    other.mkdir()
    (other / "__init__.py").write_text("raise SystemExit('loaded')")
    (other / "_gi.cpython-39-x86_64-linux-gnu.so").write_bytes(b"")
    assert adopting(other).stderr.strip() == "none fits"


def test_a_broken_one_is_passed_over(tmp_path: Path):
    broken = tmp_path / "gi"
    broken.mkdir()
    (broken / "__init__.py").write_text("import nothing_of_this_name")
    (broken / f"_gi{importlib.machinery.EXTENSION_SUFFIXES[0]}").write_bytes(b"")
    assert adopting(broken).stderr.strip() == "none fits"
    assert adopting(broken, installed_gi()).returncode == 0


def test_opengl_is_switched_off_for_us_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("GDK_GL", raising=False)
    with preflight._without_gl():
        assert os.environ["GDK_GL"] == "disable"
    assert "GDK_GL" not in os.environ
    monkeypatch.setenv("GDK_GL", "always")
    with preflight._without_gl():
        pass
    assert os.environ["GDK_GL"] == "always"
