"""Adapters in the folder: named ones belong to the model, unnamed ones are pointed out."""

from pathlib import Path
from typing import Any

import pytest

from janagent.core.memory import fit
from janagent.folder.adapters import scale_of
from janagent.folder.entry import Condition, Role
from janagent.folder.estimate import Budget
from tests.engine.bert import write_bert
from tests.folder.desks import Desk
from tests.gguf_files import write_adapter, write_gguf, write_model

SAMPLE = Path(__file__).parent.parent.parent / "config" / "local" / "lora.json"
FILES = ["tiny.gguf", "b.gguf", "a.gguf"]


def naming(*files: str, scale: object = "") -> dict[str, Any]:
    return {"files": files, "parameters": {"init": {"lora_scale": scale}}}


@pytest.fixture
def beside(desk: Desk) -> Desk:
    """A model with two adapters in its folder."""
    write_model(desk.models / "x" / "tiny.gguf")
    for name in ("a", "b"):
        write_adapter(desk.models / "x" / f"{name}.gguf")
    for name in ("tiny", "a", "b"):
        desk.put(f"x/{name}.gguf")
    return desk


def test_the_sample_manifest_is_one(desk: Desk) -> None:
    write_model(desk.models / "x" / "base.gguf")
    for name in ("style", "facts"):
        write_adapter(desk.models / "x" / f"{name}.gguf")
    desk.put("x/lora.json", SAMPLE.read_text())
    for name in ("base", "style", "facts"):
        desk.put(f"x/{name}.gguf")
    desk.scan()
    entry = desk.entry("x/lora.json")
    assert (entry.condition, entry.warnings) == (Condition.COMPLETE, ())
    scale = entry.manifest.init.lora_scale
    assert [scale_of(scale, binary.path) for binary in entry.binaries[1:]] == [0.5, 1.0]


def test_those_that_files_names_belong_to_the_model_in_that_order(beside: Desk) -> None:
    beside.put("x/m.json", naming(*FILES))
    beside.scan()
    entry = beside.entry("x/m.json")
    assert (entry.condition, entry.warnings) == (Condition.COMPLETE, ())
    assert [(binary.path.rpartition("/")[2], binary.role) for binary in entry.binaries] == [
        ("tiny.gguf", Role.MODEL),
        ("b.gguf", Role.ADAPTER),
        ("a.gguf", Role.ADAPTER),
    ]


def test_download_url_may_name_the_model_and_files_its_adapters(beside: Desk) -> None:
    beside.put("x/m.json", {"download_url": "tiny.gguf", "files": ["[ab].gguf"]})
    beside.scan()
    roles = [binary.role for binary in beside.entry("x/m.json").binaries]
    assert roles == [Role.MODEL, Role.ADAPTER, Role.ADAPTER]


def test_an_unnamed_one_beside_the_model_is_warned_about(beside: Desk) -> None:
    beside.scan()
    first, second = beside.entry("x/tiny.gguf").warnings
    assert "a.gguf is an adapter beside the model and not applied" in first
    assert "b.gguf" in second
    beside.put("x/m.json", naming("tiny.gguf", "a.gguf"))
    beside.scan("x")
    (warning,) = beside.entry("x/m.json").warnings
    assert warning.startswith("b.gguf")
    assert "files" in warning


def test_one_that_another_manifest_names_is_no_stray(beside: Desk) -> None:
    beside.put("x/m.json", naming(*FILES))
    beside.put("x/plain.json", naming("tiny.gguf"))
    beside.scan()
    assert beside.entry("x/plain.json").warnings == ()
    assert [binary.role for binary in beside.entry("x/plain.json").binaries] == [Role.MODEL]


def test_a_named_one_that_is_absent_or_cut_off_is_missing(beside: Desk) -> None:
    beside.put("x/m.json", naming("tiny.gguf", "c.gguf"))
    beside.scan()
    assert beside.entry("x/m.json").condition is Condition.MISSING
    assert "c.gguf" in beside.fault("x/m.json")
    data = (beside.models / "x" / "a.gguf").read_bytes()
    beside.put("x/c.gguf", data[: len(data) - 40])
    beside.scan("x")
    assert "incomplete" in beside.fault("x/m.json")
    beside.put("x/c.gguf", data)
    beside.scan("x")
    assert beside.entry("x/m.json").condition is Condition.COMPLETE


def test_one_of_another_architecture_makes_the_manifest_invalid(desk: Desk) -> None:
    write_bert(desk.put("x/bert.gguf", b"-"))
    write_adapter(desk.put("x/lora.gguf", b"-"))
    write_gguf(desk.put("x/vector.gguf", b"-"), "controlvector", lambda writer: writer.add_name("v"))
    desk.put("x/m.json", naming("bert.gguf", "lora.gguf"))
    desk.put("x/v.json", naming("bert.gguf", "vector.gguf"))
    for name in ("bert", "lora", "vector"):
        desk.put(f"x/{name}.gguf")
    desk.scan()
    assert desk.entry("x/m.json").condition is Condition.INVALID
    assert "lora.gguf is an adapter for llama, but the model is bert" in desk.fault("x/m.json")
    assert "control vector" in desk.fault("x/v.json")


def test_a_scale_for_an_adapter_that_is_not_named_makes_the_manifest_invalid(beside: Desk) -> None:
    beside.put("x/m.json", naming(*FILES, scale={"c.gguf": 1}))
    beside.scan()
    assert "c.gguf is no adapter named in files (there: b.gguf, a.gguf)" in beside.fault("x/m.json")


def test_an_edit_of_a_scale_or_an_adapter_wants_another_engine(beside: Desk) -> None:
    keys = set()
    for scale in ("", 0.5, {"a": "0.5"}):
        beside.put("x/m.json", naming(*FILES, scale=scale))
        beside.scan("x", after_s=2)
        keys.add(beside.entry("x/m.json").runtime_key)
    beside.put("x/m.json", naming("tiny.gguf", "a.gguf"))
    beside.scan("x", after_s=2)
    assert len({*keys, beside.entry("x/m.json").runtime_key}) == 4


def test_their_memory_counts(beside: Desk) -> None:
    needs = []
    for files in (["tiny.gguf"], FILES):
        beside.put("x/m.json", naming(*files))
        beside.scan("x", after_s=2)
        entry = beside.entry("x/m.json")
        needs.append(fit(entry, entry.manifest.init, key="k", budget=Budget(1 << 40)).ram_bytes)
    sizes = [(beside.models / "x" / name).stat().st_size for name in ("a.gguf", "b.gguf")]
    assert needs[1] - needs[0] == sum(sizes)


def test_a_scale_is_for_all_or_for_each_by_path_name_or_stem() -> None:
    assert scale_of(None, "models/x/a.gguf") == 1.0
    assert scale_of(0.25, "models/x/a.gguf") == 0.25
    for name in ("models/x/a.gguf", "a.gguf", "a"):
        assert scale_of({"b": 0.1, name: 0.5}, "models/x/a.gguf") == 0.5
    assert scale_of({"b": 0.1}, "models/x/a.gguf") == 1.0
