from pathlib import Path

import pytest

from janagent.tray.services import find


def test_log_in_start_is_set_and_taken_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """By the real service module, in a home of its own that no service manager knows."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    services = find()
    assert services.is_installed() is False
    assert services.login_enabled() is False
    services.set_login(True)
    assert services.login_enabled() is True
    services.set_login(False)
    assert services.login_enabled() is False
