"""A manifest alone is enough: the real daemon, the real fetcher, a hub on loopback, the real model."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.daemons import Daemon, chat_body, until
from tests.fetch.hosting import REPO, big, tree
from tests.fetch.hub import TestHub
from tests.fetch.transfers import parts
from tests.gguf_files import write_model

DATA = Path(__file__).parent.parent / "data"


def chats(daemon: Daemon, model_id: str) -> bool:
    return daemon.call("POST", "/v1/chat/completions", chat_body(model_id))[0] == 200


def test_the_specification_s_zephyr_is_fetched_loaded_and_answers(
    online: Daemon, hub: TestHub, starter: Path
) -> None:
    repo = "TheBloke/zephyr-7B-beta-GGUF"
    hub.add_repo(repo, {"zephyr-7b-beta.Q2_K.gguf": starter, "other.Q4_0.gguf": b"GGUF", "README.md": b"# z"})
    hub.file(repo, "zephyr-7b-beta.Q2_K.gguf").slow_bytes_per_s = 1_000_000  # until it was seen to be brought
    folder = online.models / "zephyr"
    folder.mkdir()
    shutil.copyfile(DATA / "model-zephyr-7B.json", folder / "model-zephyr-7B.json")
    online.wait_state("model-zephyr-7B", "downloading")
    hub.file(repo, "zephyr-7b-beta.Q2_K.gguf").slow_bytes_per_s = None
    online.wait_state("model-zephyr-7B", "running")
    assert chats(online, "model-zephyr-7B")
    assert tree(online.models) == ["zephyr/model-zephyr-7B.json", "zephyr/zephyr-7b-beta.Q2_K.gguf"]
    manifest = (folder / "model-zephyr-7B.json").read_bytes()
    assert manifest == (DATA / "model-zephyr-7B.json").read_bytes()


def test_the_specification_s_llava_brings_the_whole_repo(online: Daemon, hub: TestHub, starter: Path) -> None:
    hub.add_repo("mys/ggml_llava-v1.5-13b", {"ggml-model-q4_1.gguf": starter, "README.md": b"# llava"})
    folder = online.models / "llava"
    folder.mkdir()
    shutil.copyfile(DATA / "model-llava-v1.5-ggml.json", folder / "model-llava-v1.5-ggml.json")
    online.wait_state("model-llava-v1.5-ggml", "running")
    assert chats(online, "model-llava-v1.5-ggml")
    assert "llava/README.md" in tree(online.models)


def test_a_file_of_a_plain_folder_and_a_quantization_within_a_repo_s_folder_are_found_where_they_are_put(
    online: Daemon, hub: TestHub, starter: Path
) -> None:
    hub.add_repo(REPO, {"Q4_1/smol-Q4_1.gguf": starter})
    address = hub.direct_url(REPO, "Q4_1/smol-Q4_1.gguf").rpartition("/")[0]
    online.drop("chosen", {"origin": REPO})
    online.drop("plain", {"origin": f"{address}/", "download_url": "smol-Q4_1.gguf"})
    online.drop("listed", {"origin": hub.url + "/" + REPO, "files": ["Q4_1/*.gguf"]})
    for name in ("chosen", "plain", "listed"):
        online.wait_state(name, "downloaded", "starting", "running")
    assert {path for path in tree(online.models) if path.endswith(".gguf")} == {
        "chosen/smol-Q4_1.gguf",
        "plain/smol-Q4_1.gguf",
        "listed/Q4_1/smol-Q4_1.gguf",
    }


def test_the_defaults_of_a_janhq_repo_fill_what_the_manifest_leaves_open_until_the_model_is_gone(
    online: Daemon, hub: TestHub, starter: Path
) -> None:
    said = {"settings": {"ctx_len": 256, "n_parallel": 2}, "parameters": {"top_p": 0.5, "temperature": 0.9}}
    hub.add_repo("janhq/smol", {"smol.Q4_1.gguf": starter, "model.json": json.dumps(said).encode()})
    folder = online.drop("smol", {"origin": "janhq/smol", "parameters": {"runtime": {"temperature": 0.1}}})
    wanted = {"init": {"ctx_len": 256, "n_parallel": 2}, "runtime": {"top_p": 0.5, "temperature": 0.1}}
    assert online.wait_state("smol", "running")["parameters"] == wanted
    assert chats(online, "smol")
    online.stop()
    online.start()
    assert online.wait_state("smol", "downloaded", "starting", "running")["parameters"] == wanted
    kept = [path for path in tree(online.models) if path.startswith(".janagent/defaults/")]
    assert len(kept) == 1
    manifest = json.dumps({"origin": "janhq/other"})
    (folder / "smol.json").write_text("{ broken")
    online.wait_state("smol", "invalid", "running")
    assert kept[0] in tree(online.models), "it may be theirs again"
    (folder / "smol.json").write_text(manifest)
    until(lambda: (online.model("smol") or {}).get("parameters") == {"init": {}, "runtime": {}})
    until(lambda: tree(online.models) == ["smol/smol.Q4_1.gguf", "smol/smol.json"], what="defaults are gone")


def test_a_deleted_model_takes_all_along_that_its_download_wrote_and_nothing_else(
    online: Daemon, hub: TestHub, starter: Path
) -> None:
    hub.add_repo(REPO, {"smol.gguf": starter, "README.md": b"# smol", "LICENSE": b"MIT", "doc/a.txt": b"a"})
    folder = online.models / "smol"
    folder.mkdir()
    (folder / "LICENSE").write_bytes(b"mine")
    online.drop("smol", {"origin": REPO, "import_format": "default"})
    online.wait_state("smol", "running")
    assert tree(folder) == ["LICENSE", "README.md", "doc/a.txt", "smol.gguf", "smol.json"]
    assert online.call("DELETE", "/v1/models/smol")[0] == 200
    until(lambda: tree(online.models) == ["smol/LICENSE"], what="only what the person put there is left")
    assert (folder / "LICENSE").read_bytes() == b"mine"
    assert sorted(path.name for path in online.models.iterdir()) == ["smol"]


def test_other_quantizations_that_its_download_wrote_go_with_a_model_unless_a_manifest_uses_them(
    online: Daemon, hub: TestHub, tmp_path: Path
) -> None:
    for name in ("Q2_K", "Q4_0", "Q8_0"):
        write_model(tmp_path / f"t.{name}.gguf")
    contents = {f"t.{name}.gguf": tmp_path / f"t.{name}.gguf" for name in ("Q2_K", "Q4_0", "Q8_0")}
    hub.add_repo(REPO, contents)
    folder = online.drop("t", {"origin": REPO, "import_format": "default"})
    online.wait_state("t", "downloaded", "running")
    online.wait_state("t.Q2_K", "downloaded", "running")
    (folder / "kept.json").write_text('{"download_url": "t.Q8_0.gguf"}')
    online.wait_state("kept", "downloaded", "running")
    assert online.call("DELETE", "/v1/models/t")[0] == 200
    until(lambda: tree(online.models) == ["t/kept.json", "t/t.Q8_0.gguf"], what="the rest is gone")
    online.wait_state("t.Q2_K", "")


def test_progress_pause_resume_and_the_right_bytes(online: Daemon, hub: TestHub, tmp_path: Path) -> None:
    path = big(hub, tmp_path, bytes_per_s=1_000_000)
    online.drop("big", {"origin": REPO})
    online.wait_state("big", "downloading")
    progress = until(lambda: ((online.model("big") or {}).get("progress") or {}).get("done_bytes"))
    assert 0 < progress <= path.stat().st_size
    status, answer = online.call("POST", "/v1/chat/completions", chat_body("big"))
    assert (status, answer["error"]["code"]) == (503, "model_downloading")
    status, model = online.call("PUT", "/v1/models/big/stop")
    assert (status, model["state"], model["error"]["code"]) == (200, "missing", "paused")
    assert parts(online.models / "big", "big.Q4_0.gguf")
    hub.file(REPO, "big.Q4_0.gguf").slow_bytes_per_s = None
    assert online.call("PUT", "/v1/models/big/start?wait=false")[0] == 202
    online.wait_state("big", "downloaded", "starting", "running", "failed")
    assert (online.models / "big" / "big.Q4_0.gguf").read_bytes() == path.read_bytes()
    assert hub.bytes_sent("big.Q4_0.gguf") < path.stat().st_size + 20_000_000


def test_kill_9_of_the_daemon_mid_download_resumes_and_leaves_nothing(
    online: Daemon, hub: TestHub, tmp_path: Path
) -> None:
    path = big(hub, tmp_path, bytes_per_s=1_000_000)
    folder = online.drop("big", {"origin": REPO})
    until(lambda: ((online.model("big") or {}).get("progress") or {}).get("done_bytes", 0) > 4_000_000)
    online.kill()
    hub.file(REPO, "big.Q4_0.gguf").slow_bytes_per_s = None
    online.start()
    online.wait_state("big", "downloaded", "starting", "running", "failed")
    assert (folder / "big.Q4_0.gguf").read_bytes() == path.read_bytes()
    until(lambda: tree(online.models) == ["big/big.Q4_0.gguf", "big/big.json"], what="nothing is left over")


@pytest.mark.parametrize("how", ["by hand", "by a call"])
def test_a_deleted_manifest_ends_the_download_and_takes_its_part_along(
    online: Daemon, hub: TestHub, tmp_path: Path, how: str
) -> None:
    big(hub, tmp_path, bytes_per_s=1_000_000)
    folder = online.drop("big", {"origin": REPO})
    until(lambda: parts(folder, "big.Q4_0.gguf"))
    if how == "by hand":
        (folder / "big.json").unlink()
    else:
        assert online.call("DELETE", "/v1/models/big")[0] == 200
    until(lambda: tree(online.models) == [], what="the part is gone")
    until(lambda: online.children() == [], what="the fetcher is gone")


def interrupt(daemon: Daemon, hub: TestHub, tmp_path: Path, how: str) -> Path:
    """A model whose download began, and rests; returns its folder."""
    big(hub, tmp_path, bytes_per_s=1_000_000)
    folder = daemon.drop("big", {"origin": REPO})
    until(lambda: ((daemon.model("big") or {}).get("progress") or {}).get("done_bytes"))
    if how == "paused":
        assert daemon.call("PUT", "/v1/models/big/stop")[0] == 200
    else:
        hosted = hub.file(REPO, "big.Q4_0.gguf")
        hosted.fail_status, hosted.retry_after_s = 503, 3600
        daemon.wait_state("big", "failed")
    assert parts(folder, "big.Q4_0.gguf")
    return folder


def test_a_folder_that_goes_while_its_download_rests_leaves_no_record(
    online: Daemon, hub: TestHub, tmp_path: Path
) -> None:
    shutil.rmtree(interrupt(online, hub, tmp_path, "paused"))
    until(lambda: list(online.models.iterdir()) == [], what="the record is gone")


@pytest.mark.parametrize("how", ["paused", "in back-off"])
def test_a_manifest_that_goes_while_its_download_rests_takes_the_part_along(
    online: Daemon, hub: TestHub, tmp_path: Path, how: str
) -> None:
    folder = interrupt(online, hub, tmp_path, how)
    (folder / "big.json").unlink()
    until(lambda: tree(online.models) == [], what="the part and the record are gone")
    write_model(folder / "big.Q4_0.gguf")
    online.wait_state("big.Q4_0", "downloaded", "running")


def test_an_edit_of_what_is_wanted_stops_the_download_and_what_came_goes(
    online: Daemon, hub: TestHub, tmp_path: Path
) -> None:
    path = big(hub, tmp_path, bytes_per_s=1_000_000)
    hub.add_repo(REPO, {"big.Q4_0.gguf": path, "other.gguf": tmp_path / "big.gguf"})
    hub.file(REPO, "big.Q4_0.gguf").slow_bytes_per_s = 1_000_000
    folder = online.drop("big", {"origin": REPO, "download_url": "big.Q4_0.gguf"})
    until(lambda: ((online.model("big") or {}).get("progress") or {}).get("done_bytes"))
    (folder / "big.json").write_text(json.dumps({"origin": REPO, "download_url": "other.gguf"}))
    online.wait_state("big", "downloaded", "running")
    assert tree(online.models) == ["big/big.json", "big/other.gguf"]
    assert hub.bytes_sent("big.Q4_0.gguf") < path.stat().st_size


def test_a_file_dropped_by_hand_under_a_manifest_without_origin_ends_an_interrupted_download(
    online: Daemon, hub: TestHub, tmp_path: Path
) -> None:
    folder = interrupt(online, hub, tmp_path, "paused")
    write_model(folder / "mine.gguf")
    (folder / "big.json").write_text('{"metadata": {"engine": "llamacpp"}}')
    online.wait_state("big", "downloaded", "running")
    until(lambda: tree(online.models) == ["big/big.json", "big/mine.gguf"], what="nothing is left over")


def test_a_repo_without_a_model_and_one_that_is_not_there_say_so(online: Daemon, hub: TestHub) -> None:
    hub.add_repo("owner/empty", {"README.md": b"nothing"})
    online.drop("empty", {"origin": "owner/empty"})
    online.drop("absent", {"origin": "owner/absent"})
    assert online.wait_state("empty", "failed")["error"]["code"] == "no_gguf"
    assert online.wait_state("absent", "failed")["error"]["code"] == "repo_not_found"


def test_pull_writes_a_manifest_and_follows_it_until_the_model_runs(
    online: Daemon, hub: TestHub, starter: Path
) -> None:
    hub.add_repo(REPO, {"smol.Q4_1.gguf": starter})
    command = [sys.executable, "-m", "janagent", "pull", REPO, "--json"]
    done = subprocess.run(
        command, env=online.environment, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "running"
    assert json.loads((online.models / "tiny-GGUF" / "tiny-GGUF.json").read_text()) == {"origin": REPO}


def test_ctrl_c_in_pull_pauses_the_download(online: Daemon, hub: TestHub, tmp_path: Path) -> None:
    big(hub, tmp_path, bytes_per_s=1_000_000)
    command = [sys.executable, "-m", "janagent", "pull", REPO]
    with subprocess.Popen(command, env=online.environment, stderr=subprocess.PIPE, text=True) as pulling:
        online.wait_state("tiny-GGUF", "downloading")
        until(psutil.Process(pulling.pid).net_connections, what="it follows what it has written")
        pulling.send_signal(signal.SIGINT)
        _, said = pulling.communicate(timeout=90)
    assert "paused" in said
    model = online.wait_state("tiny-GGUF", "missing")
    assert model["error"]["code"] == "paused"


def test_two_manifests_in_one_folder_that_want_the_same_file_fetch_it_once(
    online: Daemon, hub: TestHub, tmp_path: Path
) -> None:
    path = big(hub, tmp_path, bytes_per_s=20_000_000)
    folder = online.models / "both"
    folder.mkdir()
    for name in ("one", "two"):
        (folder / f"{name}.json").write_text(json.dumps({"origin": REPO}))
    for name in ("one", "two"):
        model = online.wait_state(name, "downloaded", "running", "failed")
        assert model["binaries"][0]["shared"]
    assert (folder / "big.Q4_0.gguf").read_bytes() == path.read_bytes()
    assert tree(online.models) == ["both/big.Q4_0.gguf", "both/one.json", "both/two.json"]
    assert hub.bytes_sent("big.Q4_0.gguf") == path.stat().st_size
