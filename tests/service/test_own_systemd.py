"""The units under a real systemd: installed by the command, started, killed, reloaded, stopped, removed."""

import asyncio
import json
import re
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from janagent.aio import create_task
from janagent.cli.service import PRIVATE
from janagent.service import templates
from tests.daemons import chat_body, stream_chat, text_of, until
from tests.service.own_systemd import OwnMachine, OwnSystemd

UNIT = "janagent.service"


def url_of(own: OwnSystemd) -> str:
    """Where the daemon is, by what it tells systemd; while it reads its settings it tells that."""

    def told() -> str:
        words = own.show(UNIT, "StatusText").split(",")[0]
        return words if words.startswith("http") else ""

    return until(told, what="it says where it is")


def get(own: OwnSystemd, path: str) -> Any:
    with urllib.request.urlopen(url_of(own) + path, timeout=30) as answer:
        return json.load(answer)


def chat(own: OwnSystemd, model: str) -> str:
    async def talk() -> str:
        async with aiohttp.ClientSession() as session:
            return text_of(await stream_chat(session, url_of(own), chat_body(model)))

    return asyncio.run(talk())


def settings(own: OwnSystemd, text: str) -> None:
    file = own.home / ".config" / "janagent" / "janagent.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"port = 0\nspare_worker = false\n{text}")


@pytest.fixture(scope="module")
def person(starter: Path) -> Iterator[OwnSystemd]:
    """A person with a model in the folder, whose daemon was installed as a service."""
    with OwnSystemd() as own:
        settings(own, "")
        models = own.home / "janroot" / "models"
        models.mkdir(parents=True)
        (models / "smol.gguf").symlink_to(starter)
        (own.home / ".config" / "janagent" / "environment").write_text("VLLM_API_KEY=a-key\n")
        done = own.janagent("service", "install", "--tray")
        assert done.returncode == 0, done.stderr + own.log
        assert "the tray starts at the next log-in" in done.stderr
        yield own


@pytest.fixture
def running(person: OwnSystemd) -> OwnSystemd:
    """Its daemon runs, whatever the test before did to it."""
    person.run("systemctl", "--user", "reset-failed", UNIT)
    person.systemctl("start", UNIT)
    return person


def restarts(own: OwnSystemd) -> int:
    return int(own.show(UNIT, "NRestarts"))


def test_it_is_started_when_it_is_ready_and_serves_under_the_hardening(running: OwnSystemd) -> None:
    assert running.show(UNIT, "ActiveState") == "active"
    assert running.show(UNIT, "StatusText").endswith("1 model: 1 downloaded")
    assert chat(running, "smol")
    until(lambda: "1 running" in running.show(UNIT, "StatusText"), what="the status follows")
    done = running.janagent("service", "status")
    assert done.returncode == 0
    assert re.search(r"janagent\.service: active \(process \d+\), starts by itself; http://", done.stdout)
    assert running.systemctl("is-enabled", UNIT, "janagent-tray.service") == "enabled\nenabled"
    process = f"/proc/{running.show(UNIT, 'MainPID')}"
    assert "VLLM_API_KEY=a-key" in running.do("cat", f"{process}/environ").split("\0")
    assert running.do("grep", "NoNewPrivs", f"{process}/status").endswith("1")


def test_killed_it_is_started_again(running: OwnSystemd) -> None:
    before, pid = restarts(running), running.show(UNIT, "MainPID")
    running.systemctl("kill", "--kill-who=main", "--signal=KILL", UNIT)
    until(
        lambda: restarts(running) == before + 1 and running.show(UNIT, "ActiveState") == "active",
        what="it is back",
    )
    assert running.show(UNIT, "MainPID") != pid
    assert get(running, "/v1/health")["status"] == "ok"


def test_an_engine_that_is_killed_takes_nothing_else_down(running: OwnSystemd) -> None:
    chat(running, "smol")
    pid, before = running.show(UNIT, "MainPID"), restarts(running)
    running.do("sh", "-c", f"kill -9 $(cat /proc/{pid}/task/{pid}/children)")
    until(lambda: get(running, "/v1/models/smol")["state"] != "running", what="it is noticed")
    assert chat(running, "smol")
    assert (running.show(UNIT, "MainPID"), restarts(running)) == (pid, before)


def test_a_reload_changes_settings_and_not_the_process(running: OwnSystemd) -> None:
    pid = running.show(UNIT, "MainPID")
    settings(running, 'api_key = "fresh"\n')
    running.systemctl("reload", UNIT)
    try:
        until(
            lambda: list(get(running, "/v1/health")) == ["status"],
            what="without a key only the status is told",
        )
    finally:
        settings(running, "")
        running.systemctl("reload", UNIT)
    until(lambda: "counts" in get(running, "/v1/health"), what="no key is needed any more")
    assert (running.show(UNIT, "ActiveState"), running.show(UNIT, "MainPID")) == ("active", pid)


async def test_a_stop_lets_an_answer_finish(running: OwnSystemd) -> None:
    heard = asyncio.Event()
    body = chat_body("smol", "Count to a hundred.", max_tokens=40, ignore_eos=True)
    async with aiohttp.ClientSession() as session:
        talk = stream_chat(session, url_of(running), body, on_text=heard.set)
        answer = create_task(talk, name="answer")
        await asyncio.wait_for(heard.wait(), 60)
        await asyncio.to_thread(running.systemctl, "stop", UNIT)
        finish = (await answer)[-1]["choices"][0]["finish_reason"]
    assert finish == "length", "it came to its end, it was not cut off"
    assert (running.show(UNIT, "ActiveState"), running.show(UNIT, "Result")) == ("inactive", "success")


def test_asked_to_end_by_its_api_it_stays_stopped(running: OwnSystemd) -> None:
    before = restarts(running)
    request = urllib.request.Request(f"{url_of(running)}/v1/shutdown", method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 202
    until(lambda: running.show(UNIT, "ActiveState") == "inactive", what="it ends")
    assert (running.show(UNIT, "Result"), restarts(running)) == ("success", before)


def test_a_loop_that_stands_still_is_noticed_and_started_again(running: OwnSystemd) -> None:
    drop_in = running.home / ".config" / "systemd" / "user" / f"{UNIT}.d" / "watchdog.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nWatchdogSec=5\nTimeoutAbortSec=1\n")
    try:
        running.systemctl("daemon-reload")
        running.systemctl("restart", UNIT)
        running.do("sleep", "6")  # without pings it would be ending by then
        assert (restarts(running), running.show(UNIT, "ActiveState")) == (0, "active"), "it pings"
        running.systemctl("kill", "--kill-who=main", "--signal=STOP", UNIT)
        until(lambda: restarts(running) == 1, what="it is killed and started again")
    finally:
        drop_in.unlink()
        drop_in.parent.rmdir()
        running.systemctl("daemon-reload")


def test_the_tray_can_start_and_stop_it(running: OwnSystemd) -> None:
    code = (
        "from janagent import service\n"
        "assert service.is_installed() and service.login_enabled()\n"
        "service.stop(); service.start()\n"
        "service.set_login(False); assert not service.login_enabled()\n"
        "service.set_login(True); assert service.login_enabled()\n"
    )
    pid = running.show(UNIT, "MainPID")
    running.do(sys.executable, "-c", code)
    assert running.show(UNIT, "ActiveState") == "active"
    assert running.show(UNIT, "MainPID") != pid
    assert running.show("janagent-tray.service", "ActiveState") == "inactive", "what runs is left alone"


def test_settings_that_cannot_be_used_are_not_tried_again_and_again(running: OwnSystemd) -> None:
    running.systemctl("stop", UNIT)
    settings(running, "nonsense = 1\n")
    try:
        assert running.run("systemctl", "--user", "start", UNIT).returncode != 0
        assert (running.show(UNIT, "ActiveState"), running.show(UNIT, "NRestarts")) == ("failed", "0")
        settings(running, "host = '192.0.2.1'\napi_key = 'k'\n")  # can be read, but nobody can listen there
        done = running.janagent("service", "install")
        assert done.returncode == 1
        assert f"{UNIT}  unchanged" in done.stdout
        assert "systemctl --user start janagent.service: Job for janagent.service failed" in done.stderr
    finally:
        settings(running, "")


def test_words_reach_a_program_as_they_are(person: OwnSystemd) -> None:
    words = ["/home/a b/100%/$HOME", 'say "hi"', "back\\slash", "it's", "tab\there", "${HOME}", "%h"]
    out = person.home / "words"
    command = [
        sys.executable,
        "-c",
        f"import json, sys; json.dump(sys.argv[1:], open({str(out)!r}, 'w'))",
        *words,
    ]
    unit = person.home / ".config" / "systemd" / "user" / "words.service"
    unit.write_text(f"[Service]\nType=oneshot\nExecStart={templates.for_systemd(command)}\n")
    person.systemctl("daemon-reload")
    person.systemctl("start", "words.service")
    assert json.loads(out.read_text()) == words


def test_the_gpus_helper_runs_without_the_hardening(person: OwnSystemd) -> None:
    """A setuid program gains nothing under NoNewPrivileges."""
    out = person.home / "privileges"
    unit = person.home / ".config" / "systemd" / "user" / "helper.service"
    text = (person.home / ".config" / "systemd" / "user" / UNIT).read_text()
    hardened = text.replace("Type=notify", "Type=oneshot").replace("Restart=on-failure", "Restart=no")
    hardened = re.sub(
        r"(?m)^ExecStart=.*$", f"ExecStart=/bin/sh -c 'grep NoNewPrivs /proc/self/status >> {out}'", hardened
    )
    hardened = re.sub(
        r"(?m)^(ExecStartPre=\+-).*$", rf"\1/bin/sh -c 'grep NoNewPrivs /proc/self/status > {out}'", hardened
    )
    unit.write_text(hardened)
    person.systemctl("daemon-reload")
    person.systemctl("start", "helper.service")
    assert [line.split()[-1] for line in out.read_text().splitlines()] == ["0", "1"]


def test_uninstall_stops_it_and_leaves_nothing_enabled(person: OwnSystemd) -> None:
    """The last one of this person."""
    done = person.janagent("service", "uninstall", "--tray")
    assert done.returncode == 0, done.stderr
    assert person.show(UNIT, "LoadState") == "not-found"
    assert not list((person.home / ".config" / "systemd" / "user").rglob("janagent*"))
    assert (person.home / "janroot" / "models" / "smol.gguf").is_symlink()


def test_a_machine_serves_its_folder_as_a_user_of_its_own(starter: Path) -> None:
    with OwnMachine() as machine:
        machine.do("sh", "-c", "mkdir /etc/janagent && echo 'port = 0' > /etc/janagent/janagent.toml")
        done = machine.janagent("service", "install", "--system")
        if {*PRIVATE} & {
            *Path(sys.executable).parents
        }:  # a checkout below /tmp, which each service has of its own
            assert (done.returncode, "closed to it" in done.stderr) == (1, True)
            return
        assert done.returncode == 0, done.stderr + machine.log
        pid = machine.show(UNIT, "MainPID")
        assert machine.do("stat", "--format=%U", f"/proc/{pid}") == "janagent"
        assert machine.do("stat", "--format=%U:%G %A", "/janroot/models") == "janagent:janagent drwxrwsr-x"
        _drop_as_a_member(machine, starter)
        until(lambda: len(get(machine, "/v1/models")["data"]) == 2, what="both models are seen")
        assert chat(machine, "hers")
        until(
            lambda: get(machine, "/v1/models/far")["state"] in ("downloaded", "starting", "running"),
            what="it is reached through the link, once it stands still",
        )
        request = urllib.request.Request(f"{url_of(machine)}/v1/models/hers", method="DELETE")
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 200
        assert machine.do("ls", "/janroot/models") == "linked"
        _nothing_else_can_be_written(machine)
        done = machine.janagent("service", "uninstall", "--system")
        assert done.returncode == 0, done.stderr
        assert "/janroot and /var/lib/janagent stay" in done.stderr
        assert machine.run("ls", "/etc/systemd/system/janagent.service").returncode != 0
        assert machine.do("ls", "/janroot/models") == "linked"


def _drop_as_a_member(machine: OwnMachine, starter: Path) -> None:
    """A member of the group with a usual umask copies a model; another one lies behind a link."""
    machine.do("useradd", "--groups", "janagent", "ann")
    machine.do("sh", "-c", f"mkdir /srv/disk && cp {starter} /srv/disk/far.gguf && chmod -R a+rX /srv/disk")
    copy = "cd /janroot/models; mkdir hers; cp /srv/disk/far.gguf hers/hers.gguf; ln -s /srv/disk linked"
    machine.do("setpriv", "--reuid=ann", "--regid=ann", "--init-groups", "sh", "-ec", f"umask 022; {copy}")


def _nothing_else_can_be_written(machine: OwnMachine) -> None:
    inside = ["nsenter", "--target", machine.show(UNIT, "MainPID"), "--mount"]
    assert machine.run(*inside, "touch", "/janroot/models/x").returncode == 0
    machine.do(*inside, "rm", "/janroot/models/x")
    for place in ("/etc/x", "/srv/disk/x", "/root/x"):
        assert "Read-only file system" in machine.run(*inside, "touch", place).stderr
