"""Bad files, each with what it gets; one daemon, a good model beside them that goes on answering."""

import asyncio
import contextlib
import hashlib
import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from tests import gguf_files
from tests.clients import forget_peak, peak_bytes
from tests.daemons import Daemon, assert_all_gone, chat_body, starter_gguf, stream_chat, until


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("bad"), idle_unload_s=0) as running:
        running.drop("good", {"parameters": {"init": {"ctx_len": 256}}}, gguf=starter_gguf())
        running.wait_state("good", "running")
        yield running


@pytest.fixture(autouse=True)
def others_are_served(daemon: Daemon) -> Iterator[None]:
    """Whatever a test dropped: the good model answers from the same engine, every file that was there before
    is as it was, and there is no process that belongs to no model."""
    pid, before = daemon.pid, hashes(daemon.models)
    yield
    assert daemon.pid == pid
    status, answer = daemon.call("POST", "/v1/chat/completions", chat_body("good"))
    assert status == 200, answer
    after = hashes(daemon.models)
    assert {path: after.get(path) for path in before} == before
    until(lambda: len(daemon.children()) <= loaded(daemon) + 1, what="no more than the engines and a spare")


def hashes(models: Path) -> dict[Path, str]:
    """Of every file of the user's."""
    files = [path for path in models.rglob("*") if path.is_file() and ".janagent" not in path.parts]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def loaded(daemon: Daemon) -> int:
    models = daemon.call("GET", "/v1/models")[1]["data"]
    return sum(model["state"] in ("running", "starting", "stopping") for model in models)


def at_rest(daemon: Daemon) -> list[psutil.Process]:
    """The engines, once no model is on its way up or down."""

    def engines() -> list[psutil.Process]:
        states = [model["state"] for model in daemon.call("GET", "/v1/models")[1]["data"]]
        found = daemon.engines()
        is_moving = {"starting", "stopping"} & {*states} or states.count("running") != len(found)
        return [] if is_moving else found

    return until(engines, what="nothing starts or stops")


def dropped(daemon: Daemon, name: str, content: bytes, *, suffix: str = ".json") -> Path:
    """`models/<name>/<name><suffix>`, written in one go."""
    folder = daemon.models / name
    folder.mkdir()
    path = folder / f"{name}{suffix}"
    path.write_bytes(content)
    return path


def fault_of(daemon: Daemon, name: str, *states: str) -> str:
    """Wait for one of `states`; the error message."""
    model = daemon.wait_state(name, *states)
    return str(model["error"]["message"])


def refusal(daemon: Daemon, name: str) -> tuple[int, str]:
    status, answer = daemon.call("POST", "/v1/chat/completions", chat_body(name))
    return status, answer["error"]["code"]


def test_a_broken_json_is_invalid_with_line_and_column(daemon: Daemon) -> None:
    path = dropped(daemon, "broken", b'{\n  "origin": "a/b",\n  "parameters": {,}\n}')
    message = fault_of(daemon, "broken", "invalid")
    assert "line 3" in message
    assert refusal(daemon, "broken") == (409, "model_invalid")
    assert path.read_bytes().startswith(b'{\n  "origin"')


def test_a_foreign_json_is_ignored(daemon: Daemon) -> None:
    dropped(daemon, "package", b'{"name": "left-pad", "version": "1.0.0"}')
    dropped(daemon, "config", b'{"architectures": ["LlamaForCausalLM"], "vocab_size": 32000}')
    dropped(daemon, "after", b'{"origin": 5}')
    daemon.wait_state("after", "invalid")
    assert daemon.model("package") is None
    assert daemon.model("config") is None


def test_a_manifest_of_50_mb_is_ignored_unless_its_name_says_it_is_one(daemon: Daemon) -> None:
    big = b'{"origin": "a/b", "x": "' + b"y" * 50_000_000 + b'"}'
    dropped(daemon, "huge", big)
    (daemon.models / "hugemodel").mkdir()
    (daemon.models / "hugemodel" / "model.json").write_bytes(big)
    assert "1 MiB" in fault_of(daemon, "hugemodel", "invalid")
    assert daemon.model("huge") is None


def test_a_manifest_nested_10_000_deep_is_invalid(daemon: Daemon) -> None:
    dropped(daemon, "deep", b'{"origin": ' + b"[" * 10_000 + b"]" * 10_000 + b"}")
    assert "nested" in fault_of(daemon, "deep", "invalid")


def test_an_impossible_value_names_field_value_and_what_is_allowed(daemon: Daemon) -> None:
    dropped(daemon, "odd", b'{"origin": "a/b", "parameters": {"init": {"ctx_len": "plenty"}}}')
    message = fault_of(daemon, "odd", "invalid")
    assert "ctx_len" in message
    assert "plenty" in message


GGUFS: dict[str, tuple[bytes, str]] = {
    "zero": (b"", "nothing so far"),
    "lfs": (gguf_files.LFS_POINTER, "LFS"),
    "html": (gguf_files.HTML_PAGE, "web page"),
    "legacy": (gguf_files.LEGACY_GGML, "GGML|legacy"),
    "pytorch": (gguf_files.PYTORCH_ZIP, "PyTorch"),
    "big-endian": (gguf_files.BIG_ENDIAN, "big-endian"),
    "noise": (b"GGUF" + random.Random(1).randbytes(100_000), "has GGUF version"),
    "noise of a version": (b"GGUF\x03\0\0\0" + random.Random(2).randbytes(100_000), "it claims"),
}


@pytest.mark.parametrize("kind", GGUFS)
def test_what_is_no_gguf_is_named_for_what_it_is(daemon: Daemon, kind: str) -> None:
    content, words = GGUFS[kind]
    path = dropped(daemon, f"no-{kind}", content, suffix=".gguf")
    (path.parent / f"no-{kind}.json").write_text("{}")
    message = fault_of(daemon, f"no-{kind}", "invalid", "missing")
    assert any(word in message for word in words.split("|")), message
    assert refusal(daemon, f"no-{kind}")[0] == 409
    assert path.read_bytes() == content


@pytest.mark.parametrize("claim", gguf_files.hostile_headers())
def test_a_header_that_lies_is_refused_at_once(daemon: Daemon, claim: str) -> None:
    name = f"lie-{abs(hash(claim))}"
    forget_peak(daemon.pid)
    before = peak_bytes(daemon.pid)
    path = dropped(daemon, name, gguf_files.hostile_headers()[claim], suffix=".gguf")
    (path.parent / f"{name}.json").write_text("{}")
    fault_of(daemon, name, "invalid", "missing")
    assert peak_bytes(daemon.pid) < before + 20_000_000


def test_a_truncated_gguf_is_missing_with_its_percentage_and_completes_by_itself(
    daemon: Daemon, starter: Path
) -> None:
    folder = daemon.models / "cut"
    folder.mkdir()
    data = starter.read_bytes()
    with (folder / "cut.gguf").open("wb") as file:
        file.write(data[: len(data) // 3])
        file.flush()
        until(
            lambda: "incomplete: 33 %" in ((daemon.model("cut") or {}).get("error") or {}).get("message", "")
        )
        assert refusal(daemon, "cut") == (409, "model_missing")
        file.write(data[len(data) // 3 :])
    daemon.wait_state("cut", "downloaded", "starting", "running")


def test_a_gguf_that_llama_cpp_refuses_fails_with_its_own_words(daemon: Daemon) -> None:
    folder = daemon.models / "unloadable"
    folder.mkdir()
    gguf_files.write_unloadable(folder / "unloadable.gguf")
    message = fault_of(daemon, "unloadable", "failed")
    assert "tensor" in message
    assert refusal(daemon, "unloadable") == (502, "engine_failed")


def test_a_gguf_that_makes_llama_cpp_abort_fails_alone(daemon: Daemon) -> None:
    folder = daemon.models / "abort"
    folder.mkdir()
    gguf_files.write_aborts_on_load(folder / "abort.gguf")
    fault_of(daemon, "abort", "failed")
    status, code = refusal(daemon, "abort")
    assert (status, code) in ((502, "engine_failed"), (503, "engine_backoff"))


def test_a_gguf_that_aborts_while_answering_gets_its_request_502(daemon: Daemon) -> None:
    folder = daemon.models / "abort2"
    folder.mkdir()
    gguf_files.write_aborts_on_decode(folder / "abort2.gguf")
    daemon.wait_state("abort2", "running", "failed")
    status, code = refusal(daemon, "abort2")
    assert (status, code) in ((502, "engine_failed"), (503, "engine_backoff"))


def test_two_models_with_one_id_are_both_served(daemon: Daemon) -> None:
    for folder in ("first", "second"):
        (daemon.models / folder).mkdir()
        gguf_files.write_model(daemon.models / folder / "twin.gguf")
        (daemon.models / folder / "twin.json").write_text("{}")
        name = "twin" if folder == "first" else "second/twin"
        daemon.wait_state(name, "downloaded", "running")
    for name in ("twin", "first/twin", "second/twin", "second%2Ftwin"):
        model = daemon.model(name)
        assert model is not None
        assert model["path"].startswith("models/second" if "second" in name else "models/first")
    body = {"model": "second/twin", "prompt": "a", "max_tokens": 2}
    assert daemon.call("POST", "/v1/completions", body)[1]["model"] == "second/twin"


def test_a_folder_renamed_while_loading_ends_with_the_model_under_its_new_name(
    daemon: Daemon, starter: Path
) -> None:
    """The worker that is to load it stands still meanwhile, so that the load certainly lasts."""
    busy = {p.pid for p in at_rest(daemon)}
    (spare,) = until(lambda: [p for p in daemon.children() if p.pid not in busy], what="a spare")
    spare.suspend()
    try:
        daemon.drop("moving", {"parameters": {"init": {"ctx_len": 256}}}, gguf=starter)
        daemon.wait_state("moving", "starting")
        (daemon.models / "moving").rename(daemon.models / "moved")
        assert daemon.call("POST", "/v1/chat/completions", chat_body("good"))[0] == 200
        assert daemon.state("moving") != "running"
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            spare.resume()
    model = until(lambda: (m := daemon.model("moving")) and m["path"].startswith("models/moved") and m)
    assert model["path"] == "models/moved/moving.json"
    assert daemon.call("POST", "/v1/chat/completions", chat_body("moving"))[0] == 200


async def test_a_file_replaced_by_rename_under_running_answers_fails_no_request(
    daemon: Daemon, starter: Path
) -> None:
    """Contract 5: answers that run end on the old engine, which then goes; new requests get the new one."""
    others = {engine.pid for engine in at_rest(daemon)}
    folder = daemon.drop("swap", {"parameters": {"init": {"ctx_len": 1024}}}, gguf=starter)
    await asyncio.to_thread(daemon.wait_state, "swap", "running")
    (old,) = [engine for engine in daemon.engines() if engine.pid not in others]
    new = gguf_files.write_model(folder / "new.part", chat_template=gguf_files.CHATML)
    new_size = new.stat().st_size
    begun, body = asyncio.Semaphore(0), chat_body("swap") | {"max_tokens": 600, "ignore_eos": True}

    def is_replaced() -> bool:
        status, answer = daemon.call("POST", "/v1/chat/completions", chat_body("swap"))
        assert status == 200, answer
        model = daemon.model("swap") or {}
        return bool(model["state"] == "running" and model["size_bytes"] == new_size)

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        answers = [
            group.create_task(stream_chat(session, daemon.url, body, on_text=begun.release)) for _ in range(3)
        ]
        for _ in range(3 * 10):
            await begun.acquire()
        new.rename(folder / "swap.gguf")
        await asyncio.to_thread(until, is_replaced, within_s=120)
        assert old.is_running()
        assert not any(answer.done() for answer in answers), "the answers were over before the replacement"
    assert [task.result()[-1]["choices"][0]["finish_reason"] for task in answers] == ["length"] * 3
    await asyncio.to_thread(until, lambda: not old.is_running(), within_s=120)
    assert daemon.call("POST", "/v1/chat/completions", chat_body("swap"))[0] == 200


def test_a_file_overwritten_in_place_under_a_running_model_gets_a_new_worker(
    daemon: Daemon, tmp_path: Path
) -> None:
    folder, others = daemon.models / "over", {p.pid for p in at_rest(daemon)}
    folder.mkdir()
    gguf_files.write_model(folder / "over.gguf")
    daemon.wait_state("over", "running")
    (old,) = [p for p in daemon.engines() if p.pid not in others]
    gguf_files.write_model(tmp_path / "new.gguf", layers=3)
    (folder / "over.gguf").write_bytes((tmp_path / "new.gguf").read_bytes())
    until(lambda: not old.is_running())
    body = {"model": "over", "prompt": "a", "max_tokens": 2}
    until(lambda: daemon.call("POST", "/v1/completions", body)[0] == 200)
    assert (folder / "over.gguf").read_bytes() == (tmp_path / "new.gguf").read_bytes()


def test_an_unmounted_root_is_offline_and_all_comes_back(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        folder = daemon.models / "tiny"
        folder.mkdir()
        gguf_files.write_model(folder / "tiny.gguf")
        daemon.wait_state("tiny", "running")
        away = tmp_path / "away"
        daemon.models.rename(away)
        model = daemon.wait_state("tiny", "missing")
        assert "offline" in model["error"]["message"]
        assert not daemon.models.exists(), "only the default root is ever created"
        away.rename(daemon.models)
        daemon.wait_state("tiny", "downloaded", "starting", "running")
        assert (
            daemon.call("POST", "/v1/completions", {"model": "tiny", "prompt": "a", "max_tokens": 2})[0]
            == 200
        )


def test_a_disk_that_is_unmounted_is_offline_and_is_all_there_again_once_mounted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real disk of memory where the test may mount one, else a folder that is renamed; it says which."""
    disk, models, away = tmp_path / "disk", tmp_path / "root" / "models", tmp_path / "away"
    for folder in (disk, models):
        folder.mkdir(parents=True)
    mounts = [
        ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(disk)],
        ["mount", "--bind", str(disk), str(models)],
    ]
    is_mounted = all(subprocess.run(m, check=False, capture_output=True).returncode == 0 for m in mounts)
    with capsys.disabled():
        what = "a real disk was unmounted" if is_mounted else "mounting is not allowed: a folder was renamed"
        print(f"\nthe root that goes offline: {what}")
    try:
        gguf_files.write_model(models / "tiny.gguf")
        with Daemon(tmp_path, root=tmp_path / "root") as daemon:
            daemon.wait_state("tiny", "downloaded", "running")
            if is_mounted:
                umount = ["umount", str(models)]
                until(lambda: subprocess.run(umount, check=False).returncode == 0, what="nobody reads it")
            else:
                models.rename(away)
            model = daemon.wait_state("tiny", "missing")
            assert "offline" in model["error"]["message"]
            if is_mounted:
                subprocess.run(mounts[1], check=True)
            else:
                away.rename(models)
            daemon.wait_state("tiny", "downloaded", "running")
            body = {"model": "tiny", "prompt": "a", "max_tokens": 2}
            assert daemon.call("POST", "/v1/completions", body)[0] == 200
    finally:
        for folder in (models, disk):
            subprocess.run(["umount", str(folder)], check=False, capture_output=True)


def test_kill_9_of_a_worker_is_made_good_by_the_next_request(daemon: Daemon) -> None:
    folder, before = daemon.models / "victim", {p.pid for p in at_rest(daemon)}
    folder.mkdir()
    gguf_files.write_model(folder / "victim.gguf")
    daemon.wait_state("victim", "running")
    (victim,) = [p for p in daemon.engines() if p.pid not in before]
    victim.kill()
    model = daemon.wait_state("victim", "failed")
    assert "memory" in model["error"]["message"]
    assert_all_gone([victim])
    body = {"model": "victim", "prompt": "a", "max_tokens": 2}
    assert daemon.call("POST", "/v1/completions", body)[0] == 200
    assert daemon.state("victim") == "running"


def test_the_spec_examples_are_listed_byte_for_byte(daemon: Daemon) -> None:
    data = Path(__file__).with_name("data")
    for path in sorted(data.glob("model-*.json")):
        (daemon.models / path.stem).mkdir()
        shutil.copyfile(path, daemon.models / path.stem / path.name)
    zephyr = daemon.wait_state("model-zephyr-7B", "missing")
    assert "zephyr-7b-beta.Q2_K.gguf" in zephyr["error"]["message"]
    assert zephyr["parameters"]["init"]["n_parallel"] == 4
    assert zephyr["parameters"]["runtime"] == {"temperature": 0.7, "token_limit": 2048}
    daemon.wait_state("model-llava-v1.5-ggml", "missing")
    azure = daemon.wait_state("model-azure-openai-gpt4-turbo", "failed", "invalid")
    alias = daemon.call("GET", "/v1/models/openai.azure.com/docs-test-001/gpt4-turbo")
    assert alias[0] == 200
    assert alias[1]["id"] == azure["id"] == "model-azure-openai-gpt4-turbo"
    assert json.dumps(azure).count("***") == 0, "an empty key is no key"
