"""Warnings about remote models' manifests."""

from pathlib import Path
from typing import Any

import pytest

from tests.folder.desks import Desk

KEY = "sk-literal-123"


def api(origin: str = "https://api.example/v1", import_format: str = "openai", **init: Any) -> dict[str, Any]:
    return {"origin": origin, "import_format": import_format, "parameters": {"init": init}}


def warnings(desk: Desk, content: dict[str, Any], *, mode: int = 0o600) -> tuple[str, ...]:
    desk.put("far.json", content).chmod(mode)
    desk.scan()
    return desk.entry("far.json").warnings


def test_a_key_in_a_file_that_others_may_read_is_warned_about_until_they_may_not(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    path = desk.models / "far.json"
    (warning,) = warnings(desk, api(**{"API-KEY": KEY}), mode=0o644)
    assert warning.endswith(f"chmod 600 {path}")
    assert KEY not in warning
    path.chmod(0o600)
    change = desk.scan()
    assert [entry.warnings for entry in change.changed] == [()]
    path.chmod(0o640)
    assert desk.scan().changed


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_file_that_vanishes_is_no_news_about_who_may_read_it(tmp_path: Path, mode: int) -> None:
    """Else a model that was deleted would be told anew, as changed, until its file counts as deleted."""
    desk = Desk(tmp_path)
    told = warnings(desk, api(**{"API-KEY": KEY}), mode=mode)
    (desk.models / "far.json").unlink()
    assert desk.scan().changed == ()
    assert desk.entry("far.json").warnings == told


@pytest.mark.parametrize("key", ["${A_KEY}", "file:/run/secrets/key", "keyring:a/b", ""])
def test_a_reference_is_no_secret(tmp_path: Path, key: str) -> None:
    assert warnings(Desk(tmp_path), api(**{"API-KEY": key}), mode=0o644) == ()


def test_the_command_can_be_pasted(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.put("it's far/a b.json", api(**{"API-KEY": KEY})).chmod(0o644)
    desk.scan()
    (warning,) = desk.entry("it's far/a b.json").warnings
    import shlex

    command = shlex.split(warning.partition("read it: ")[2])
    assert command == ["chmod", "600", str(desk.models / "it's far" / "a b.json")]


@pytest.mark.parametrize(
    ("origin", "is_warned"),
    [
        ("http://llm.example.com/v1", True),
        ("https://llm.example.com/v1", False),
        ("http://localhost:8000", False),
        ("http://192.168.1.5:8000", False),
        ("http://gpu:8000", False),
        ("http://gpu.local:8000", False),
        ("http://8.8.8.8", True),
    ],
)
def test_a_key_over_plain_http_to_the_world_is_warned_about(
    tmp_path: Path, origin: str, is_warned: bool
) -> None:
    found = warnings(Desk(tmp_path), api(origin, **{"API-KEY": "${A_KEY}"}))
    assert bool(found) is is_warned
    assert warnings(Desk(tmp_path / "b"), api(origin)) == (), "nothing secret travels"


def test_azure_without_a_deployment_s_name_is_warned_about(tmp_path: Path) -> None:
    azure = "https://x.openai.azure.com"
    (warning,) = warnings(Desk(tmp_path), api(azure, "azure_openai"))
    assert warning.startswith("DEPLOYMENT-NAME: not set")
    assert warnings(Desk(tmp_path / "b"), api(azure, "azure_openai", **{"DEPLOYMENT-NAME": "d"})) == ()
    named = api(f"{azure}/openai/deployments/d", "azure_openai")
    assert warnings(Desk(tmp_path / "c"), named) == ()
