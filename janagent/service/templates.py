"""The unit files, log-in entries and launchd agents that janagent ships, and how they are filled in.

They lie in the repository's `systemd/`, `launchd/` and `config/autostart/`; a wheel carries them inside this
package. A placeholder stands between at signs. Every format has its own way to quote a command line.
"""

import re
from collections.abc import Sequence
from pathlib import Path

_PACKED = Path(__file__).parent / "templates"
_CHECKOUT = Path(__file__).parents[2]
_PLACEHOLDER = re.compile(r"@([A-Z_]+)@")
_PLAIN = re.compile(r"[A-Za-z0-9_./:=,+-]+")


def read(name: str) -> str:
    """The template `name`, a path such as `systemd/janagent.service`. Raises OSError if it was not packed."""
    checkout = _CHECKOUT / name
    return (checkout if checkout.is_file() else _PACKED / name).read_text("utf-8")


def render(name: str, **values: str) -> str:
    """The template with its placeholders filled in. Raises KeyError for one that has no value."""
    return _PLACEHOLDER.sub(lambda found: values[found[1]], read(name))


def for_systemd(command: Sequence[str]) -> str:
    """A command line as ExecStart takes it (systemd.service(5), "Command lines")."""
    return " ".join(_systemd_word(word) for word in command)


def _systemd_word(word: str) -> str:
    text = word.replace("%", "%%").replace("$", "$$")
    if _PLAIN.fullmatch(word):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def from_systemd(line: str) -> list[str]:
    """The words of a command line that `for_systemd` wrote."""
    words = [quoted or plain for quoted, plain in re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', line)]
    special = {"n": "\n", "t": "\t"}
    words = [re.sub(r"\\(.)", lambda found: special.get(found[1], found[1]), word) for word in words]
    return [word.replace("%%", "%").replace("$$", "$") for word in words]


def for_desktop(command: Sequence[str]) -> str:
    """A command line as `Exec` takes it (Desktop Entry Specification, "The Exec key")."""
    # A value is unescaped before its quotes are read, so a backslash needs one more.
    return " ".join(_desktop_word(word) for word in command).replace("\\", "\\\\")


def _desktop_word(word: str) -> str:
    text = word.replace("%", "%%")
    if _PLAIN.fullmatch(word):
        return text
    return '"' + re.sub(r'(["`$\\])', r"\\\1", text) + '"'


def for_plist(command: Sequence[str]) -> str:
    """A command line as elements of a property list's array."""
    return "\n".join(f"        <string>{for_xml(word)}</string>" for word in command)


def for_xml(text: str) -> str:
    """Text between two tags."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
