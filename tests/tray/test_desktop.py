"""Programs that stand for the desktop's: each writes down how it was called."""

import html.parser
import os
import subprocess
import sys
from pathlib import Path

import pytest

from janagent.tray.desktop import (
    ADDING,
    NoProgram,
    copy_by_tool,
    open_place,
    run_in_terminal,
    tell_by_tool,
)
from tests.tray.programs import given, install


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the path of a Linux desktop."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("TERMINAL", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def mac(programs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same of a Mac."""
    monkeypatch.setattr(sys, "platform", "darwin")
    return programs


def test_a_place_is_opened_by_the_desktop(programs: Path):
    told = install(programs, "xdg-open")
    open_place(Path("/a folder/of models"))
    assert given(told) == ["/a folder/of models"]


def test_a_mac_opens_with_its_own_program(mac: Path):
    told = install(mac, "open")
    open_place("http://127.0.0.1:1337/")
    assert given(told) == ["http://127.0.0.1:1337/"]


def test_without_an_opener_the_sentence_names_place_and_package(programs: Path):
    with pytest.raises(NoProgram, match=r"nothing opens /models \(.*xdg-utils"):
        open_place(Path("/models"))


@pytest.mark.parametrize(
    ("name", "before"),
    [("x-terminal-emulator", ["-e"]), ("gnome-terminal", ["--"]), ("foot", []), ("wezterm", ["start", "--"])],
)
def test_a_command_runs_in_the_terminal_that_is_there(programs: Path, name: str, before: list[str]):
    told = install(programs, name)
    run_in_terminal(["janagent", "chat", "a model; rm -rf"], environment=os.environ)
    assert given(told) == [*before, "janagent", "chat", "a model; rm -rf"]


def test_the_terminal_that_the_person_chose_comes_first(programs: Path, monkeypatch: pytest.MonkeyPatch):
    install(programs, "x-terminal-emulator")
    told = install(programs, "kitty")
    monkeypatch.setenv("TERMINAL", "kitty")
    run_in_terminal(["chat"], environment=os.environ)
    assert given(told) == ["chat"]


def test_without_a_terminal_the_sentence_says_what_to_type(programs: Path):
    with pytest.raises(NoProgram, match="no terminal program was found; type: janagent chat 'a b'"):
        run_in_terminal(["janagent", "chat", "a b"], environment=os.environ)


def test_a_mac_runs_it_in_terminal_with_quotes_that_hold(mac: Path):
    told = install(mac, "osascript")
    run_in_terminal(["janagent", "chat", 'say "hi"'])
    script = given(told)
    assert script[1] == 'tell application "Terminal" to do script "janagent chat \'say \\"hi\\"\'"'


def test_a_dialog_of_a_mac_holds_any_text(mac: Path):
    told = install(mac, "osascript")
    tell_by_tool("smol", 'no "such" \\ file')
    assert given(told)[1].startswith('display dialog "no \\"such\\" \\\\ file" with title "smol"')


def test_the_clipboard_of_x11_needs_no_program(programs: Path):
    assert copy_by_tool("smol") is False


@pytest.mark.parametrize(("platform", "tool"), [("linux", "wl-copy"), ("darwin", "pbcopy")])
def test_the_clipboard_of_others_takes_one(
    programs: Path, monkeypatch: pytest.MonkeyPatch, platform: str, tool: str
):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert copy_by_tool("smol") is False, "it is not installed"
    told = install(programs, tool, "/bin/cat")
    assert copy_by_tool("smöl") is True
    assert given(told) == ["smöl"]


def test_what_is_opened_outlives_us_and_says_nothing(programs: Path, capfd: pytest.CaptureFixture[str]):
    told = install(programs, "xdg-open", "echo noise >&2; /bin/ps -o sid= -p $$ || echo $$")
    open_place("/x")
    given(told)
    assert capfd.readouterr() == ("", "")


def test_the_page_on_adding_models_is_there_and_its_samples_are_manifests(tmp_path: Path):
    class Samples(html.parser.HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.found: list[str] = []
            self.is_inside = False

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.is_inside = tag == "pre"

        def handle_endtag(self, tag: str) -> None:
            self.is_inside = False

        def handle_data(self, data: str) -> None:
            if self.is_inside:
                self.found.append(data)

    samples = Samples()
    samples.feed(ADDING.read_text())
    assert len(samples.found) == 2
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JANAGENT_")}
    for number, text in enumerate(samples.found):
        (tmp_path / "models").mkdir(exist_ok=True)
        (tmp_path / "models" / f"m{number}.json").write_text(text)
    command = [sys.executable, "-m", "janagent", "check", str(tmp_path / "models"), "--json"]
    done = subprocess.run(
        command, env=environment | {"OPENAI_API_KEY": "k"}, capture_output=True, text=True, check=False
    )
    assert '"invalid"' not in done.stdout, done.stdout
