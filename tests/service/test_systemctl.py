"""systemctl where no manager answers, and where it is absent; with a real one it is in test_own_systemd."""

import shutil
from pathlib import Path

import pytest

from janagent.service.systemctl import ServiceError, Systemctl


def test_a_manager_that_does_not_answer_is_not_reachable(nowhere: Path) -> None:
    assert Systemctl().is_installed
    assert not Systemctl().is_reachable()
    unit = Systemctl().unit("janagent.service")
    assert (unit.is_loaded, unit.active, unit.pid, unit.is_enabled) == (False, "unknown", 0, False)


def test_its_words_are_passed_on(nowhere: Path) -> None:
    with pytest.raises(ServiceError, match=r"^systemctl --user start janagent\.service: .*bus"):
        Systemctl().do("start", "janagent.service")


def test_a_unit_is_linked_also_while_no_manager_answers(nowhere: Path) -> None:
    units = nowhere / ".config" / "systemd" / "user"
    units.mkdir(parents=True)
    (units / "a.service").write_text("[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=default.target\n")
    Systemctl().link("enable", "a.service")
    assert (units / "default.target.wants" / "a.service").is_symlink()
    assert Systemctl().unit("a.service").is_enabled
    Systemctl().link("disable", "a.service")
    assert not Systemctl().unit("a.service").is_enabled


def test_without_systemctl_nothing_is_known_and_nothing_can_be_done(no_systemctl: None) -> None:
    assert shutil.which("systemctl") is None
    assert not Systemctl().is_reachable()
    assert Systemctl(is_system=True).unit("janagent.service").active == "unknown"
    with pytest.raises(ServiceError, match="there is no systemctl"):
        Systemctl().do("start", "janagent.service")
