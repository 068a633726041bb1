"""The specification's example 2, a model of several binaries, through the whole loop."""

import shutil
from pathlib import Path

from tests.daemons import Daemon, chat_body
from tests.engine.pictures import picture, shown
from tests.fetch.hosting import tree
from tests.fetch.hub import TestHub
from tests.gguf_files import write_model, write_projector

EXAMPLE = Path(__file__).parent.parent / "data" / "model-llava-v1.5-ggml.json"
ID = EXAMPLE.stem


def test_the_specification_s_llava_is_a_model_with_its_projector_and_a_second_quantization(
    online: Daemon, hub: TestHub, tmp_path: Path
) -> None:
    files = {
        "ggml-model-q4_0.gguf": write_model(tmp_path / "q4", quantization="Q4_0", name="llava"),
        "ggml-model-f16.gguf": write_model(tmp_path / "f16", quantization="F16", name="llava"),
        "mmproj-model-f16.gguf": write_projector(tmp_path / "mmproj"),
    }
    hub.add_repo("mys/ggml_llava-v1.5-13b", {**files, "README.md": b"# llava", "config.json": b"{}"})
    slow = hub.file("mys/ggml_llava-v1.5-13b", "ggml-model-f16.gguf")
    slow.slow_bytes_per_s = slow.size_bytes / 3  # until it was seen to be brought
    folder = online.models / "llava"
    folder.mkdir()
    shutil.copyfile(EXAMPLE, folder / EXAMPLE.name)
    online.wait_state(ID, "downloading")
    model = online.wait_state(ID, "running", "failed")
    assert model["state"] == "running", model["error"]
    assert [(one["path"], one["role"], one["size_bytes"]) for one in model["binaries"]] == [
        (f"models/llava/{name}", role, files[name].stat().st_size)
        for name, role in (("ggml-model-q4_0.gguf", "model"), ("mmproj-model-f16.gguf", "projector"))
    ]
    assert any("ggml-model-f16.gguf" in warning for warning in model["warnings"]), "the rest is named"
    assert tree(folder) == ["README.md", *sorted(files), EXAMPLE.name]
    assert all((folder / name).read_bytes() == path.read_bytes() for name, path in files.items())
    assert (folder / EXAMPLE.name).read_bytes() == EXAMPLE.read_bytes()
    status, listed = online.call("GET", "/v1/models")
    ids = [one["id"] for one in listed["data"]]
    assert (status, ids) == (200, ["ggml-model-f16", ID]), "a GGUF that no manifest claims is a model too"
    assert online.call("POST", "/v1/chat/completions", chat_body(ID))[0] == 200
    assert model["input_modalities"] == ["text", "image"]
    assert (
        online.call("POST", "/v1/chat/completions", chat_body(ID, messages=shown(picture(1), "What?")))[0]
        == 200
    )
