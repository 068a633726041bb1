"""README says what the code can, no less and no more."""

import ast
import re
from pathlib import Path

import pytest
from typer.main import get_command

from janagent.cli.app import app
from janagent.config import Settings
from janagent.folder import parameters
from janagent.http.errors import TABLE
from janagent.http.routing import ENDPOINTS

REPO = Path(__file__).parent.parent
README = (REPO / "README.md").read_text()
COMMANDS = sorted(getattr(get_command(app), "commands"))  # noqa: B009  -- typer types it as a plain command


def chapter(title: str) -> str:
    """The text of one `## title`."""
    return README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def words(text: str) -> set[str]:
    """What stands in backticks, split at everything that is not part of a name."""
    return {word for quoted in re.findall(r"`([^`]+)`", text) for word in re.split(r"[^\w$-]+", quoted)}


def routes() -> list[str]:
    """The fixed beginnings of every path that `http.app` routes."""
    tree = ast.parse((REPO / "janagent" / "http" / "app.py").read_text())
    paths = {
        argument.value.split("{")[0].rstrip("/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if node.func.attr.startswith("add_")
        for argument in node.args
        if isinstance(argument, ast.Constant) and str(argument.value).startswith("/")
    }
    return sorted(paths | {f"/v1/{endpoint}" for endpoint in ENDPOINTS})


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_in_the_settings_table(name: str):
    assert name in words(chapter("Settings"))


def test_the_settings_table_names_no_setting_that_is_not_there():
    rows = re.findall(r"^\| (`.*?) \|", chapter("Settings"), re.MULTILINE)
    assert words("\n".join(rows)) - set(Settings.model_fields) == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_chapter_about_commands(name: str):
    assert name in words(chapter("Commands"))


def test_every_command_that_readme_types_is_there():
    typed = set(re.findall(r"(?:^|`)janagent ([a-z]+)", README, re.MULTILINE))
    assert typed
    assert typed - set(COMMANDS) == set()


@pytest.mark.parametrize("path", routes())
def test_every_route_is_in_the_api_table(path: str):
    assert path in chapter("API")


def test_every_error_code_that_readme_names_is_one():
    rows = re.findall(r"^\| [45]\d\d[^|]*\|([^|]+)\|", chapter("API"), re.MULTILINE)
    assert rows
    assert words("\n".join(rows)) - set(TABLE) - {""} == set()


@pytest.mark.parametrize(
    "section", [parameters.InitParameters, parameters.RuntimeParameters, parameters.Metadata]
)
def test_every_manifest_field_is_in_the_manifest_table(section: type[parameters.Section]):
    names = set(parameters.field_names(section))
    assert names - words(chapter("Manifest")) == set()


def test_every_file_that_readme_links_to_is_there():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert [link for link in links if not (REPO / link).exists()] == []


def test_every_make_target_that_readme_names_is_there():
    targets = re.findall(r"^([a-z]+):", (REPO / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE)) - set(targets) == set()
