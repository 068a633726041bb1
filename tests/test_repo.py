"""The house rules, as tests."""

import ast
import importlib.metadata
import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPO = Path(__file__).parent.parent
PACKAGE = REPO / "janagent"
MODULES = sorted(PACKAGE.rglob("*.py"))
PYPROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())

TOP_LEVEL = {"pyproject.toml", "README.md", "janagent", "tests", "systemd", "launchd", "config"}
TOP_LEVEL |= {"Makefile", "LICENSE", ".ci", ".gitignore", ".gitattributes", ".editorconfig"}

MAX_LINES = 400
MAX_FUNCTION_LINES = 60

THROUGH_MACHINE = "tests/core/test_machine.py and test_machine_stateful.py drive it through Machine"
THROUGH_CATALOG = "tests/folder/test_catalog*.py drive it with real folders"
THROUGH_GGUF = "tests/folder/test_gguf.py drives it with real and hostile headers"

WITHOUT_A_TEST_FILE = {
    "__main__": "two lines; every test in tests/cli runs through it",
    "cli/options": "only declares options; tests/cli uses each of them",
    "children/sinks": "tests/children/test_spawn.py drives it with real children that flood their pipes",
    "children/wire": "types alone; tests/children/test_spawn.py and test_real_engine.py speak it",
    "core/actions": "types alone",
    "core/events": "types alone",
    "core/limits": "types alone",
    "core/records": THROUGH_MACHINE,
    "core/status": "types alone",
    "core/steps": THROUGH_MACHINE,
    "folder/contents": THROUGH_CATALOG,
    "folder/derived": THROUGH_CATALOG,
    "folder/entries": THROUGH_CATALOG,
    "folder/entry": "types alone",
    "folder/fault": "types alone",
    "folder/ggml_tables": THROUGH_GGUF,
    "folder/gguf_reader": THROUGH_GGUF,
    "folder/listing": THROUGH_CATALOG,
    "folder/parameters": "tests/folder/test_sections.py and test_manifest.py read every field through it",
    "folder/watches": "tests/folder/test_watch.py drives it with real file events",
    "service/report": "types alone",
    "upstream": "types alone",
}
"""Modules that no test file mirrors, with the reason. The list only shrinks."""


def relative(module: Path) -> str:
    return module.relative_to(PACKAGE).with_suffix("").as_posix()


def top_level_entries() -> set[str]:
    if not (REPO / ".git").exists():
        return {path.name for path in REPO.iterdir()}
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True).stdout.split("\0")
    return {name.split("/")[0] for name in names if name and (REPO / name).exists()}


def test_nothing_lies_at_the_top_but_what_belongs_there():
    assert top_level_entries() - TOP_LEVEL == set()


def test_every_module_has_a_test_file_that_mirrors_it():
    missing = {
        relative(module)
        for module in MODULES
        if module.name != "__init__.py"
        and not (REPO / "tests" / module.relative_to(PACKAGE).parent / f"test_{module.name}").exists()
    }
    assert missing - set(WITHOUT_A_TEST_FILE) == set()
    assert set(WITHOUT_A_TEST_FILE) - missing == set(), "these have a test file now; take them off the list"


def test_every_test_folder_mirrors_a_package():
    folders = {path.parent.relative_to(REPO / "tests") for path in (REPO / "tests").rglob("test_*.py")}
    assert {str(folder) for folder in folders if not (PACKAGE / folder).is_dir()} == set()


@pytest.mark.parametrize("module", MODULES, ids=relative)
def test_a_module_is_short_enough_to_hold_one_idea(module: Path):
    assert len(module.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("module", MODULES, ids=relative)
def test_a_function_fits_a_screen(module: Path):
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= MAX_FUNCTION_LINES
    ]
    assert long == []


@pytest.mark.parametrize("module", MODULES, ids=relative)
def test_a_module_says_what_it_is(module: Path):
    assert ast.get_docstring(ast.parse(module.read_text())), "no module docstring"


def test_no_test_is_skipped_or_expected_to_fail():
    marks = re.compile(r"pytest\.(mark\.(skip|skipif|xfail)|skip\(|xfail\(|importorskip)")
    sinners = [
        str(path.relative_to(REPO))
        for path in (REPO / "tests").rglob("*.py")
        if path != Path(__file__) and marks.search(path.read_text())
    ]
    assert sinners == []


def test_imports_run_downwards():
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([linter, "--no-cache"], cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_layers_name_every_package():
    layers = PYPROJECT["tool"]["importlinter"]["contracts"][0]
    assert layers["containers"] == ["janagent"]
    assert layers["exhaustive"] is True
    named = {name.strip(" ()") for layer in layers["layers"] for name in layer.split("|")}
    there = {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert there - {"__init__"} <= named


def test_every_import_is_a_declared_dependency():
    extras = PYPROJECT["project"]["optional-dependencies"].values()
    lines = [*PYPROJECT["project"]["dependencies"], *itertools.chain(*extras)]
    declared = {re.split(r"[<>=\[~! ]", line)[0].lower() for line in lines}
    packages = importlib.metadata.packages_distributions()
    imported = set()
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - {"janagent"}
    undeclared = {
        name
        for name in foreign
        if not {one.lower().replace("_", "-") for one in packages.get(name, [name])}
        & {name.replace("_", "-") for name in declared}
    }
    assert undeclared == set()


def test_ci_runs_what_a_person_runs():
    assert "exec make test" in (REPO / ".ci" / "run").read_text()
