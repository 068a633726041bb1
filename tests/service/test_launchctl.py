"""How launchd is asked; the answers are those of a stand-in (see conftest)."""

from pathlib import Path

import pytest

from janagent.service.launchctl import Launchctl
from janagent.service.systemctl import ServiceError

PLIST = Path("/Users/ann/Library/LaunchAgents/a.b.plist")


def calls(mac: Path) -> list[str]:
    return [line for line in (mac / "calls").read_text().splitlines() if not line.startswith("print")]


def test_an_agent_is_loaded_started_stopped_and_forgotten(mac: Path) -> None:
    launchd = Launchctl()
    assert not launchd.unit("a.b").is_loaded
    launchd.load("a.b", PLIST)
    assert (launchd.unit("a.b").pid, launchd.unit("a.b").active) == (77, "active")
    launchd.stop("a.b")
    assert launchd.unit("a.b").is_loaded
    assert launchd.unit("a.b").active == "inactive"
    launchd.start("a.b", PLIST)
    assert launchd.unit("a.b").pid == 78
    launchd.unload("a.b")
    launchd.unload("a.b")
    label = f"{launchd.domain}/a.b"
    assert calls(mac) == [
        f"enable {label}",
        f"bootstrap {launchd.domain} {PLIST}",
        f"kill SIGTERM {label}",
        f"kickstart {label}",
        f"bootout {label}",
    ]


def test_an_agent_that_is_loaded_is_loaded_anew(mac: Path) -> None:
    launchd = Launchctl()
    launchd.load("a.b", PLIST)
    launchd.load("a.b", PLIST)
    assert calls(mac)[-2:] == [f"bootout {launchd.domain}/a.b", f"bootstrap {launchd.domain} {PLIST}"]


def test_start_loads_an_agent_that_launchd_does_not_know(mac: Path) -> None:
    Launchctl().start("a.b", PLIST)
    assert Launchctl().unit("a.b").pid == 77


def test_what_launchctl_says_is_passed_on(mac: Path, tmp_path: Path) -> None:
    (tmp_path / "tools" / "launchctl").write_text("#!/bin/sh\necho 'Bootstrap failed: 5' >&2; exit 5\n")
    with pytest.raises(ServiceError, match=r"launchctl enable .*: Bootstrap failed: 5"):
        Launchctl().load("a.b", PLIST)


def test_a_machine_without_launchctl_is_told_in_a_sentence(no_systemctl: None) -> None:
    assert not Launchctl().unit("a.b").is_loaded
    with pytest.raises(ServiceError, match="there is no launchctl"):
        Launchctl().load("a.b", PLIST)
