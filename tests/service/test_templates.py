"""Command lines quoted for each format, read back by programs that know it; and templates out of a wheel."""

import plistlib
import subprocess
import sys
import zipfile
from pathlib import Path

import hatchling.build
import pytest

from janagent.service import templates

REPO = Path(__file__).parents[2]
ODD = ["/home/a b/100%/$HOME/py", 'say "hi"', "back\\slash", "<&>", "plain-1.0", "tab\there", "it's"]


def test_a_placeholder_without_a_value_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError, match="STOP_S"):
        templates.render("systemd/janagent.service", SERVE="x")


def test_every_placeholder_is_filled_in() -> None:
    text = templates.render("systemd/janagent.service", SERVE="/bin/true", STOP_S="120")
    assert "ExecStart=/bin/true\n" in text
    assert "TimeoutStopSec=120\n" in text
    assert "@SERVE@" not in text
    assert "SystemCallFilter=@system-service\n" in text


def test_systemd_is_told_what_to_take_literally() -> None:
    """How systemd itself reads it is in test_own_systemd."""
    quoted = templates.for_systemd(ODD)
    assert quoted.startswith('"/home/a b/100%%/$$HOME/py" "say \\"hi\\"" "back\\\\slash" "<&>" plain-1.0 ')


def test_what_was_written_for_systemd_can_be_read_again() -> None:
    assert templates.from_systemd(templates.for_systemd(ODD)) == ODD


def test_a_desktop_gets_the_words_back() -> None:
    value = templates.for_desktop(ODD).replace("\\\\", "\\")  # as a value of type string is read
    # Its quotes and backslashes are a shell's within double quotes.
    words = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {value}"], capture_output=True, text=True, check=True
    )
    assert [word.replace("%%", "%") for word in words.stdout.splitlines()] == ODD


def test_launchd_gets_the_words_back() -> None:
    text = f'<plist version="1.0"><array>{templates.for_plist(ODD)}</array></plist>'
    assert plistlib.loads(text.encode()) == ODD


def test_a_wheel_carries_the_templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPO)
    name = hatchling.build.build_wheel(str(tmp_path))
    with zipfile.ZipFile(tmp_path / name) as wheel:
        wheel.extractall(tmp_path / "site")
    code = (
        "import sys\n"
        "from janagent.service import plan\n"
        "from janagent.service.plan import Facts, Part\n"
        "print(plan.__file__)\n"
        "for part in Part:\n"
        "    for platform in ('linux', 'darwin'):\n"
        "        sys.platform = platform\n"
        "        print(*(f.path for f in plan.files(part, Facts('/p'))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={"PYTHONPATH": str(tmp_path / "site"), "HOME": "/home/ann"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "site") in done.stdout.splitlines()[0]
    assert "/home/ann/Library/LaunchAgents/janagent.tray.plist" in done.stdout
