import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from janagent.children.machine import Gpu, Probe
from janagent.cli import doctor
from janagent.config import Settings
from janagent.lock import DaemonLock
from tests.cli.conftest import Run
from tests.daemons import Daemon


@pytest.fixture
def settings(root: Path) -> Settings:
    return Settings.load({"root": root})


def checks(cli: Run, *arguments: object, **more: Any) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in json.loads(cli("doctor", "--json", *arguments, **more).stdout)}


def test_everything_is_fine_on_a_machine_where_tests_run(cli: Run, root: Path):
    done = cli("doctor", "--root", root, "--json", env={"JANAGENT_PORT": "0"})
    assert done.returncode == 0, done.stdout
    found = {check["name"]: check["verdict"] for check in json.loads(done.stdout)}
    assert {"python", "llama.cpp", "gpu", "settings", "root", "disk", "daemon", "memory"} <= set(found)
    assert "fault" not in found.values()


def test_a_person_reads_a_table(cli: Run, root: Path):
    lines = cli("doctor", "--root", root).stdout.splitlines()
    assert lines[0].startswith("CHECK")
    assert any(line.startswith("llama.cpp") and "llama-cpp-python" in line for line in lines)


def test_the_settings_file_in_use_is_named(cli: Run, root: Path, tmp_path: Path):
    file = tmp_path / "j.toml"
    file.write_text("port = 0")
    assert checks(cli, "--config", file)["settings"]["message"] == f"from {file}"


def test_without_a_file_its_place_is_named(cli: Run, root: Path, home: Path):
    assert f"{home}" in checks(cli, "--root", root)["settings"]["message"]


def test_a_bad_setting_is_a_fault_and_not_the_end(cli: Run):
    found = checks(cli, env={"JANAGENT_PORTT": "1"})
    assert found["settings"]["verdict"] == "fault"
    assert "JANAGENT_PORTT" in found["settings"]["message"]
    assert found["python"]["verdict"] == "ok"


def test_an_absent_root_is_a_fault(cli: Run, tmp_path: Path):
    done = cli("doctor", "--root", tmp_path / "disk", "--json")
    assert done.returncode == 1
    assert f"mkdir -p {tmp_path / 'disk'}" in done.stdout


def test_an_absent_default_root_is_fine(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(home))
    check = doctor.check_root(Settings.load())
    assert (check.verdict, check.message) == ("ok", f"{home / 'janroot'} will be created by the first start")


def test_a_root_without_models_is_a_warning(settings: Settings):
    settings.models_dir.rmdir()
    assert doctor.check_root(settings).verdict is doctor.Verdict.WARNING


def test_a_taken_port_is_a_fault_that_names_it(root: Path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        check = doctor.check_port(Settings.load({"root": root, "port": port}))
    assert check.verdict is doctor.Verdict.FAULT
    assert f"port {port} on 127.0.0.1 is taken" in check.message


def test_our_own_daemon_on_the_port_is_fine(root: Path, home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    with DaemonLock(root) as lock:
        lock.publish("http://127.0.0.1:4242")
        check = doctor.check_port(Settings.load({"root": root}))
    assert check.verdict is doctor.Verdict.OK
    assert f"process {os.getpid()}" in check.message
    assert "http://127.0.0.1:4242" in check.message


def test_the_memory_that_models_may_use_is_told(root: Path):
    check = doctor.check_memory(Settings.load({"root": root, "memory_budget": "8GB"}))
    assert check.message == "models may use 8.0 GB (memory_budget)"
    check = doctor.check_memory(Settings.load({"root": root, "gpu_memory_budget": "4GB"}))
    assert check.message.endswith(" and 4.0 GB of the GPUs (gpu_memory_budget)")


def told(**probe: Any) -> list[str]:
    return [f"{check.verdict} {check.message}" for check in doctor.check_gpus(Probe(**probe))]


def test_gpus_are_told_with_what_is_free() -> None:
    card = Gpu(name="NVIDIA H100 80GB HBM3", backend="CUDA", free_bytes=79 * 10**9, total_bytes=85 * 10**9)
    apple = Gpu(name="Apple M2", backend="MTL", free_bytes=10**10, total_bytes=10**10, shares_ram=True)
    assert told(gpus=(card,), backends=("CUDA",)) == [
        "ok NVIDIA H100 80GB HBM3 (CUDA), 79.0 GB of 85.0 GB free"
    ]
    assert "a part of the main memory" in told(gpus=(apple,))[0]


def test_a_build_for_gpus_that_sees_none_says_where_to_look() -> None:
    (line,) = told(backends=("CUDA", "Vulkan"))
    assert line.startswith("warning ")
    assert "could use CUDA or Vulkan, but sees no such GPU" in line
    assert "CUDA_VISIBLE_DEVICES" in line


def test_a_build_for_the_processor_only_is_no_fault() -> None:
    (line,) = told()
    assert line.startswith("ok this build of llama.cpp uses the processor only")


def test_the_session_daemon_is_found(daemon: Daemon, cli: Run):
    found = checks(cli, env=daemon.environment)
    assert found["daemon"]["verdict"] == "ok"
    assert daemon.url in found["daemon"]["message"]
