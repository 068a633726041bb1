"""What the tray asks. Start and stop of a real unit are in test_own_systemd."""

from pathlib import Path

import pytest

from janagent import service
from janagent.service import ServiceError, control, plan


def test_nothing_is_installed_at_first(nowhere: Path) -> None:
    assert not service.is_installed()
    assert not service.login_enabled()


def test_the_log_in_start_is_switched_on_and_off(nowhere: Path) -> None:
    service.set_login(True)
    assert service.login_enabled()
    assert (plan.user_unit_dir() / "janagent.service").is_file()
    service.set_login(True)
    service.set_login(False)
    assert not service.login_enabled()
    assert not plan.autostart_file().exists()
    links = [path.name for path in plan.user_unit_dir().rglob("*") if path.is_symlink()]
    assert links == []
    assert (plan.user_unit_dir() / "janagent.service").is_file(), "it can still be started by hand"
    service.set_login(True)
    assert service.login_enabled()


def test_a_daemons_unit_of_the_persons_own_is_good_enough(nowhere: Path) -> None:
    unit = plan.user_unit_dir() / "janagent.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/mine\n[Install]\nWantedBy=default.target\n")
    service.set_login(True)
    assert "ExecStart=/mine" in unit.read_text()
    assert (unit.parent / "default.target.wants" / unit.name).is_symlink()


def test_an_entry_that_a_person_changed_stays_and_is_named(nowhere: Path) -> None:
    service.set_login(True)
    plan.autostart_file().write_text(plan.autostart_file().read_text() + "X-Mine=1\n")
    with pytest.raises(ServiceError, match=r"janagent-tray\.desktop was changed.*remove it yourself"):
        service.set_login(False)
    assert service.login_enabled()


def test_an_entry_that_a_desktop_hid_does_not_count(no_systemctl: None) -> None:
    service.set_login(True)
    assert service.login_enabled()
    text = plan.autostart_file().read_text()
    plan.autostart_file().write_text(text.replace("Terminal=", "Hidden=true\nTerminal="))
    assert not service.login_enabled()


def test_without_a_manager_start_says_why(nowhere: Path) -> None:
    with pytest.raises(ServiceError, match="systemctl --user start"):
        service.start()
    with pytest.raises(ServiceError, match="systemctl --user stop"):
        service.stop()


def test_on_a_mac_the_agents_are_started_stopped_and_kept_for_log_in(mac: Path) -> None:
    service.set_login(True)
    assert service.is_installed()
    assert service.login_enabled()
    assert not (mac / "janagent.tray").exists(), "what runs is left alone"
    service.start()
    assert (mac / "janagent.daemon").read_text() == "77\n"
    service.stop()
    assert (mac / "janagent.daemon").read_text() == ""
    service.set_login(False)
    assert not service.login_enabled()
    assert not service.is_installed()


def test_the_tray_needs_no_more_than_this() -> None:
    assert set(service.__all__) - {"ServiceError"} == {
        name
        for name in vars(control)
        if name in {"is_installed", "start", "stop", "login_enabled", "set_login"}
    }
