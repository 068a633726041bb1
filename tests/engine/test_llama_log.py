"""llama.cpp's log as kept for people and for the status pipe, in a real child."""

import subprocess
import sys
from pathlib import Path

from tests.gguf_files import write_aborts_on_load, write_model, write_unloadable

LOADS = """
import sys
from janagent.engine.llama_log import EngineLog
from janagent.engine.model import load_model, LoadError
log = EngineLog()
log.install()
log.on_abort(lambda reason: print("reason:", reason, flush=True))
try:
    load_model(sys.argv[1], n_gpu_layers=0, on_progress=lambda fraction: None)
except LoadError:
    print("errors:", log.last_errors())
"""


def loading(path: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", LOADS, str(path)], capture_output=True, text=True, check=False, timeout=60
    )


def test_what_llama_cpp_tells_goes_to_stderr_without_the_noise(tmp_path: Path):
    done = loading(write_model(tmp_path / "m.gguf"))
    assert done.returncode == 0
    assert "general.architecture" in done.stderr
    assert "create_tensor" not in done.stderr
    assert len(done.stderr.splitlines()) < 200


def test_the_reason_of_a_failed_load_is_kept_and_not_its_empty_summary(tmp_path: Path):
    done = loading(write_unloadable(tmp_path / "broken.gguf"))
    assert "blk.0.ffn_up.weight" in done.stdout
    assert "failed to load model" not in done.stdout


def test_the_reason_of_an_abort_is_told_before_the_process_dies(tmp_path: Path):
    done = loading(write_aborts_on_load(tmp_path / "abort.gguf"))
    assert done.returncode == -6
    assert done.stdout.startswith("reason: ")
    assert "GGML_ASSERT" in done.stdout
    assert "ggml_abort:" in done.stderr
