"""`python -m janagent.engine --probe`."""

import json
import subprocess
import sys

import llama_cpp


def test_the_probe_prints_one_line_of_json_and_exits():
    done = subprocess.run(
        [sys.executable, "-m", "janagent.engine", "--probe"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (line,) = done.stdout.splitlines()
    probe = json.loads(line)
    assert set(probe) == {"gpus", "backends", "llama_cpp", "supports_gpu"}
    assert probe["llama_cpp"] == llama_cpp.__version__
    assert probe["supports_gpu"] is bool(llama_cpp.llama_supports_gpu_offload())
    for gpu in probe["gpus"]:
        assert set(gpu) == {"name", "backend", "free_bytes", "total_bytes", "shares_ram"}
