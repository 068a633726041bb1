"""The tray's way to `janagent.service`, which tests/service tries with real managers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from janagent import service
from janagent.service import ServiceError
from janagent.tray.services import Failed, OwnServices, Services


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    """In a home where nothing is installed, with no manager that answers."""
    for name in os.environ:
        if name.startswith(("JANAGENT_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return OwnServices()


def test_in_a_new_home_nothing_is_installed_or_starts_at_login(services: Services):
    assert services.is_installed() is False
    assert services.login_enabled() is False


def test_log_in_start_is_switched_on_and_off(services: Services, tmp_path: Path):
    services.set_login(True)
    assert services.login_enabled() is True
    assert [file for file in tmp_path.rglob("*") if "janagent" in file.name and file.is_file()]
    services.set_login(False)
    assert services.login_enabled() is False


def test_what_stands_in_the_way_is_said(services: Services, tmp_path: Path):
    (tmp_path / ".config").write_text("not a folder")
    with pytest.raises(Failed, match=r".config"):
        services.set_login(True)


def test_a_manager_that_fails_is_told_in_its_words(services: Services, monkeypatch: pytest.MonkeyPatch):
    def fail() -> None:
        raise ServiceError("Unit janagent.service not found.")

    for name in ("is_installed", "start", "stop"):
        monkeypatch.setattr(service, name, fail)
    assert services.is_installed() is False
    for call in (services.start, services.stop):
        with pytest.raises(Failed, match=r"Unit janagent\.service not found"):
            call()


def test_asking_brings_no_settings_into_the_process():
    code = """if True:
        import sys
        from janagent.tray.services import OwnServices
        OwnServices().is_installed(), OwnServices().login_enabled()
        print(*[name for name in ("pydantic", "janagent.config", "typer") if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
