"""The catalog on real folders: manifests, foreign files, pairing, faults, ids."""

import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from janagent.folder.entry import Condition, Role
from tests.folder.desks import Desk, without_privileges
from tests.gguf_files import (
    BIG_ENDIAN,
    HTML_PAGE,
    LEGACY_GGML,
    LFS_POINTER,
    PYTORCH_ZIP,
    hostile_headers,
    write_adapter,
    write_model,
    write_projector,
    write_split,
    write_tail_hole,
    write_truncated,
    write_vocab_only,
)

EXAMPLES = Path(__file__).parent.parent / "data"


def test_an_empty_folder_has_no_models(desk: Desk) -> None:
    change = desk.scan()
    assert (change.changed, change.removed, change.offline) == ((), (), False)


def test_the_specification_s_manifests_are_read_as_they_are(desk: Desk) -> None:
    for example in EXAMPLES.glob("*.json"):
        shutil.copy(example, desk.models)
    desk.scan()
    assert desk.condition("model-azure-openai-gpt4-turbo.json") is Condition.COMPLETE
    assert desk.entry("model-azure-openai-gpt4-turbo.json").is_remote
    assert desk.condition("model-zephyr-7B.json") is Condition.MISSING
    assert "zephyr-7b-beta.Q2_K.gguf is not there: put it beside" in desk.fault("model-zephyr-7B.json")
    assert "put a GGUF beside model-llava-v1.5-ggml.json" in desk.fault("model-llava-v1.5-ggml.json")
    assert "mys/ggml_llava-v1.5-13b" in desk.fault("model-llava-v1.5-ggml.json")
    assert desk.catalog.resolve("/openai.azure.com/docs-test-001/gpt4-turbo") is not None


def test_the_specification_s_folder_tree(desk: Desk, model_bytes: bytes) -> None:
    desk.put("azure-openai/azure-openai-gpt3-5.json", {"origin": "https://x.openai.azure.com"})
    desk.put("llama2-70b/model.json", {"origin": "a/b"})
    desk.put("llama2-70b/.gguf", model_bytes)
    for tag in ("Q2", "Q3_K_L"):
        desk.put(f"llama2-7b-gguf/llama2-7b-gguf-{tag}.json", {"origin": "a/b"})
    desk.put("llama2-7b-gguf/.bin", model_bytes)
    desk.put("llava-ggml/llava-ggml-Q5.json", {"origin": "a/b"})
    write_projector(desk.models / "llava-ggml" / ".proj")
    desk.put("llava-ggml/.proj")
    desk.put("llava-ggml/ggml", model_bytes)
    desk.put("llama-70b-finetune/llama-70b-finetune-q5.json", {"origin": "a/b"})
    desk.put("llama-70b-finetune/.bin", model_bytes)
    desk.scan()
    entries = desk.catalog.entries().values()
    assert {entry.id: entry.condition for entry in entries} == dict.fromkeys(
        [
            "azure-openai-gpt3-5",
            "llama2-70b",
            "llama2-7b-gguf-Q2",
            "llama2-7b-gguf-Q3_K_L",
            "llava-ggml-Q5",
            "llama-70b-finetune-q5",
        ],
        Condition.COMPLETE,
    )
    assert desk.binaries("llava-ggml/llava-ggml-Q5.json") == ["llava-ggml/ggml", "llava-ggml/.proj"]
    assert all(binary.shared for binary in desk.entry("llama2-7b-gguf/llama2-7b-gguf-Q2.json").binaries)


# Manifests and foreign JSON


def test_foreign_json_is_ignored_silently(desk: Desk) -> None:
    desk.put("repo/config.json", {"architectures": ["LlamaForCausalLM"], "vocab_size": 32000})
    desk.put("repo/package.json", {"name": "x", "version": "1"})
    desk.put("repo/model.safetensors.index.json", {"weight_map": {}})
    desk.put("repo/list.json", "[1, 2, 3]")
    desk.put("repo/tokenizer.json", '{"vocab": "' + "x" * 2_000_000 + '"}')
    change = desk.scan()
    assert desk.keys == []
    assert change.problems == ()


@pytest.mark.parametrize(
    "content",
    ['{"origin": "a/b"}', '{"parameters": {"init": {}}}', '{"metadata": {"engine": "llamacpp"}}'],
)
def test_the_content_makes_a_manifest(desk: Desk, content: str) -> None:
    desk.put("x/whatever.json", content)
    desk.scan()
    assert desk.keys == ["x/whatever.json"]


def test_the_stem_of_a_binary_makes_a_manifest(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/config.json", {"some": "thing"})
    desk.put("x/config.bin", model_bytes)
    desk.scan()
    assert desk.condition("x/config.json") is Condition.COMPLETE


def test_a_readme_of_the_same_stem_makes_no_manifest(desk: Desk) -> None:
    desk.put("x/config.json", {"some": "thing"})
    desk.put("x/config", "just text")
    desk.scan()
    assert desk.keys == []


def test_model_json_is_a_manifest_whatever_it_holds(desk: Desk, model_bytes: bytes) -> None:
    desk.put("a/model.json", "{}")
    desk.put("a/x.gguf", model_bytes)
    desk.put("b/model.json", "[]")
    desk.scan()
    assert desk.condition("a/model.json") is Condition.COMPLETE
    assert desk.condition("b/model.json") is Condition.INVALID


def test_json_that_cannot_be_parsed_is_invalid_with_line_and_column(desk: Desk) -> None:
    desk.put("x/broken.json", '{\n  "origin": ]\n}')
    desk.scan()
    assert desk.condition("x/broken.json") is Condition.INVALID
    assert "line 2" in desk.fault("x/broken.json")


def test_a_huge_json_is_foreign_unless_its_name_makes_it_a_manifest(desk: Desk) -> None:
    huge = '{"origin": "a/b", "x": "' + "x" * (50 << 20) + '"}'
    for name in ("huge.json", "model.json", "m.json"):
        desk.put(f"x/{name}", huge)
    desk.put("x/m.gguf", b"")
    desk.scan()
    assert desk.keys == ["x/m.json", "x/model.json"]
    assert "52.4 MB" in desk.fault("x/model.json")
    assert "1 MiB" in desk.fault("x/m.json")


def test_a_deeply_nested_json_is_invalid_and_hides_nothing(desk: Desk) -> None:
    desk.put("x/deep.json", '{"origin":' * 10_000 + "1" + "}" * 10_000)
    desk.put("y/good.json", {"origin": "a/b"})
    desk.scan()
    assert desk.condition("x/deep.json") is Condition.INVALID
    assert desk.condition("y/good.json") is Condition.MISSING


def test_an_unreadable_json_is_no_manifest_by_accident(desk: Desk) -> None:
    (desk.models / "folder.json").mkdir()
    desk.scan()
    assert desk.keys == []


def test_names_with_spaces_emoji_and_quotes_are_fine(desk: Desk) -> None:
    desk.put('a b/🦙 "x".json', {"origin": "a/b"})
    desk.scan()
    assert desk.entry('a b/🦙 "x".json').id == '🦙 "x"'


def test_warnings_about_unknown_fields_are_on_the_entry(desk: Desk) -> None:
    desk.put("m.json", {"origin": "a/b", "parameters": {"init": {"ctx_length": 5}}})
    desk.scan()
    assert any("ctx_length" in warning for warning in desk.entry("m.json").warnings)


def test_created_and_owner_come_from_the_manifest_its_mtime_and_its_origin(desk: Desk) -> None:
    desk.put("m.json", {"origin": "TheBloke/x"})
    desk.put("n.json", {"origin": "TheBloke/x", "created": 5, "owned_by": "me"})
    desk.put("o.json", {"parameters": {"init": {}}})
    desk.scan()
    assert (desk.entry("m.json").created, desk.entry("m.json").owned_by) == (1_000_000_000, "TheBloke")
    assert (desk.entry("n.json").created, desk.entry("n.json").owned_by) == (5, "me")
    assert desk.entry("o.json").owned_by == "local"


# Binaries


def test_a_manifest_and_its_binary_are_complete(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/tiny.json", {"origin": "a/b"})
    desk.put("x/tiny.Q4_1.gguf", model_bytes)
    desk.scan()
    entry = desk.entry("x/tiny.json")
    assert entry.condition is Condition.COMPLETE
    assert entry.fault is None
    assert entry.header is not None
    (binary,) = entry.binaries
    assert binary.path == "models/x/tiny.Q4_1.gguf"
    assert binary.real_path == desk.models / "x" / "tiny.Q4_1.gguf"
    assert binary.size_bytes == len(model_bytes) == entry.size_bytes
    assert binary.role is Role.MODEL
    assert not binary.shared


def test_a_truncated_file_is_missing_with_its_percentage(desk: Desk) -> None:
    whole = write_model(desk.root / "whole.gguf", embedding_length=256)
    desk.put("x/m.json", {"origin": "a/b"})
    write_truncated(desk.models / "x" / "m.gguf", whole, fraction=0.315)
    desk.put("x/m.gguf")
    desk.scan()
    assert desk.condition("x/m.json") is Condition.MISSING
    size = whole.stat().st_size / 1e6
    assert desk.fault("x/m.json").startswith(f"incomplete: 31 % of {size:.1f} MB (m.gguf)")
    assert desk.binaries("x/m.json") == ["x/m.gguf"]


def test_a_tail_that_is_one_hole_is_incomplete(desk: Desk) -> None:
    whole = write_model(desk.root / "whole.gguf", embedding_length=256)
    desk.put("x/m.json", {"origin": "a/b"})
    write_tail_hole(desk.models / "x" / "m.gguf", whole, fraction=0.5)
    desk.put("x/m.gguf")
    desk.scan()
    assert desk.condition("x/m.json") is Condition.MISSING
    assert "the end is not written yet" in desk.fault("x/m.json")


def test_a_download_that_its_control_file_calls_unfinished_is_incomplete(
    desk: Desk, model_bytes: bytes
) -> None:
    desk.put("x/m.gguf", model_bytes)
    desk.put("x/m.gguf.aria2", b"")
    desk.scan()
    assert desk.condition("x/m.gguf") is Condition.MISSING
    desk.remove("x/m.gguf.aria2")
    desk.scan("x")
    assert desk.condition("x/m.gguf") is Condition.COMPLETE


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (LFS_POINTER, "m.gguf is a Git LFS pointer"),
        (HTML_PAGE, "m.gguf is a web page"),
        (LEGACY_GGML, "m.gguf is in the GGML format of 2023"),
        (PYTORCH_ZIP, "m.gguf is a PyTorch file"),
        (BIG_ENDIAN, "m.gguf is"),
        (b"what is this?" * 100, "m.gguf is no GGUF file"),
    ],
)
@pytest.mark.parametrize("has_manifest", [True, False])
def test_wrong_content_is_named_with_its_remedy(
    desk: Desk, content: bytes, words: str, has_manifest: bool
) -> None:
    if has_manifest:
        desk.put("x/m.json", {"origin": "a/b"})
    desk.put("x/m.gguf", content)
    desk.scan()
    key = "x/m.json" if has_manifest else "x/m.gguf"
    assert desk.keys == [key]
    assert desk.condition(key) is Condition.INVALID
    assert desk.fault(key).startswith(words)


@pytest.mark.parametrize("name", sorted(hostile_headers()))
def test_a_hostile_header_hides_no_other_model(desk: Desk, model_bytes: bytes, name: str) -> None:
    desk.put("x/m.json", {"origin": "a/b"})
    desk.put("x/m.gguf", hostile_headers()[name])
    desk.put("x/good.gguf", model_bytes)
    desk.put("y/good.gguf", model_bytes)
    desk.scan()
    assert desk.condition("x/m.json") is not Condition.COMPLETE
    assert desk.condition("y/good.gguf") is Condition.COMPLETE


def test_an_empty_gguf_is_missing_not_invalid(desk: Desk) -> None:
    desk.put("x/m.json", {"origin": "a/b"})
    desk.put("x/m.gguf", b"")
    desk.scan()
    assert desk.condition("x/m.json") is Condition.MISSING
    assert desk.fault("x/m.json").startswith("incomplete: nothing so far")


def test_rivals_make_the_manifest_invalid_and_are_all_named(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/model.json", {"origin": "a/b"})
    desk.put("x/one.gguf", model_bytes)
    write_model(desk.models / "x" / "two.gguf", embedding_length=128)
    desk.put("x/two.gguf")
    desk.scan()
    assert desk.condition("x/model.json") is Condition.INVALID
    assert "one.gguf, two.gguf" in desk.fault("x/model.json")


def test_several_quantizations_give_one_with_a_warning_and_the_rest_are_models_of_their_own(
    desk: Desk,
) -> None:
    for tag in ("Q4_0", "Q8_0"):
        write_model(desk.models / "x" / f"t.{tag}.gguf", quantization=tag)
        desk.put(f"x/t.{tag}.gguf")
    desk.put("x/model.json", {"origin": "a/b"})
    desk.scan()
    assert desk.binaries("x/model.json") == ["x/t.Q4_0.gguf"]
    assert "t.Q8_0.gguf" in " ".join(desk.entry("x/model.json").warnings)
    assert desk.keys == ["x/model.json", "x/t.Q8_0.gguf"]


def test_a_projector_comes_along_and_is_no_model(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/llava.json", {"origin": "a/b"})
    desk.put("x/llava.gguf", model_bytes)
    write_projector(desk.models / "x" / "mmproj.gguf")
    desk.put("x/mmproj.gguf")
    desk.scan()
    assert desk.keys == ["x/llava.json"]
    assert [binary.role for binary in desk.entry("x/llava.json").binaries] == [Role.MODEL, Role.PROJECTOR]


def test_a_projector_that_is_not_whole_keeps_the_model_missing(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/llava.gguf", model_bytes)
    whole = write_projector(desk.root / "mmproj.gguf")
    write_truncated(desk.models / "x" / "mmproj.gguf", whole, fraction=0.9)
    desk.put("x/mmproj.gguf")
    desk.scan()
    assert desk.condition("x/llava.gguf") is Condition.MISSING
    assert "(mmproj.gguf)" in desk.fault("x/llava.gguf")


def test_taking_another_manifest_s_namesake_is_warned_about(desk: Desk, model_bytes: bytes) -> None:
    desk.put("a.json", {"parameters": {"init": {}}})
    desk.put("a.gguf", model_bytes)
    desk.put("zephyr.json", {"origin": "TheBloke/zephyr"})
    desk.scan()
    assert desk.binaries("zephyr.json") == ["a.gguf"]
    assert "a.json has its name" in " ".join(desk.entry("zephyr.json").warnings)
    assert desk.entry("a.json").warnings == ()


def test_files_narrow_what_is_used(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/m.json", {"files": ["one.gguf"]})
    desk.put("x/one.gguf", model_bytes)
    desk.put("x/m.gguf", model_bytes)
    desk.scan()
    assert desk.binaries("x/m.json") == ["x/one.gguf"]


def test_nothing_is_wanted_when_everything_named_is_there(desk: Desk, model_bytes: bytes) -> None:
    url = "https://huggingface.co/o/r/resolve/main/sub/one.gguf?download=true"
    desk.put("x/m.json", {"origin": "o/r", "download_url": url, "files": ["two.gguf", "notes.txt"]})
    desk.put("x/one.gguf", model_bytes)
    desk.put("x/two.gguf", model_bytes)
    desk.scan()
    assert desk.fault("x/m.json").startswith("notes.txt is not there")
    desk.put("x/notes.txt", "hello")
    desk.scan("x")
    assert desk.condition("x/m.json") is Condition.COMPLETE
    assert desk.binaries("x/m.json") == ["x/one.gguf"]


def test_a_secret_in_an_origin_is_not_in_the_fault(desk: Desk) -> None:
    desk.put("m.json", {"origin": "https://me:hunter2@example.com/x/y.gguf?sig=hunter2"})
    desk.scan()
    assert "hunter2" not in desk.fault("m.json")


def test_files_in_folders_below_belong_to_the_manifest_that_names_them(
    desk: Desk, model_bytes: bytes
) -> None:
    desk.put("repo/Q4/x.gguf", model_bytes)
    desk.scan()
    assert desk.keys == ["repo/Q4/x.gguf"]
    desk.put("repo/m.json", {"origin": "o/r", "files": ["Q4/*.gguf"]})
    desk.scan("repo")
    assert desk.binaries("repo/m.json") == ["repo/Q4/x.gguf"]
    assert desk.keys == ["repo/m.json"]
    desk.remove("repo/Q4/x.gguf")
    desk.recheck(desk.scan("repo/Q4"))
    assert desk.condition("repo/m.json") is Condition.MISSING
    desk.put("repo/Q4/x.gguf", model_bytes)
    desk.scan("repo/Q4")
    assert desk.condition("repo/m.json") is Condition.COMPLETE
    desk.remove("repo/m.json")
    desk.recheck(desk.scan("repo"))
    assert desk.keys == ["repo/Q4/x.gguf"]


# Split sets


def test_a_split_set_is_one_model_named_without_its_numbers(desk: Desk) -> None:
    for path in write_split(desk.models / "x", "big", parts=3):
        desk.put(f"x/{path.name}")
    desk.scan()
    entry = desk.entry("x/big-00001-of-00003.gguf")
    assert desk.keys == [entry.key]
    assert (entry.id, entry.condition) == ("big", Condition.COMPLETE)
    assert [binary.role for binary in entry.binaries] == [Role.MODEL, Role.PART, Role.PART]
    assert desk.catalog.resolve("x/big") == entry.key


def test_an_absent_part_is_named_and_completes_the_set_when_it_comes(desk: Desk) -> None:
    paths = write_split(desk.root / "made", "big", parts=3)
    desk.put("x/big.json", {"origin": "a/b"})
    for path in (paths[0], paths[2]):
        desk.put(f"x/{path.name}", path.read_bytes())
    desk.scan()
    assert desk.condition("x/big.json") is Condition.MISSING
    assert "incomplete: big-00002-of-00003.gguf" in desk.fault("x/big.json")
    desk.put(f"x/{paths[1].name}", paths[1].read_bytes())
    desk.scan("x")
    assert desk.condition("x/big.json") is Condition.COMPLETE


def test_later_parts_alone_are_no_model_but_a_manifest_asks_for_the_first(desk: Desk) -> None:
    paths = write_split(desk.root / "made", "big", parts=2)
    desk.put(f"x/{paths[1].name}", paths[1].read_bytes())
    desk.scan()
    assert desk.keys == []
    desk.put("x/big.json", {"origin": "a/b"})
    desk.scan("x")
    assert "big-00001-of-00002.gguf" in desk.fault("x/big.json")


def test_a_renamed_first_part_says_what_to_do(desk: Desk) -> None:
    paths = write_split(desk.root / "made", "big", parts=2)
    desk.put("x/renamed.gguf", paths[0].read_bytes())
    desk.scan()
    assert desk.condition("x/renamed.gguf") is Condition.INVALID
    assert "-00001-of-00002.gguf" in desk.fault("x/renamed.gguf")


# Without a manifest


def test_a_gguf_that_nobody_claims_is_a_model(desk: Desk, model_bytes: bytes) -> None:
    desk.put("deep/down/tiny.GGUF", model_bytes)
    desk.put("other/noextension", model_bytes)
    desk.scan()
    entry = desk.entry("deep/down/tiny.GGUF")
    assert (entry.id, entry.has_manifest, entry.condition) == ("tiny", False, Condition.COMPLETE)
    assert desk.entry("other/noextension").id == "noextension"


def test_relatives_of_models_are_no_models(desk: Desk) -> None:
    write_projector(desk.models / "x" / "mmproj.gguf")
    write_adapter(desk.models / "x" / "lora.gguf")
    write_vocab_only(desk.models / "x" / "vocab.gguf")
    desk.put("x/README.md", "# hello")
    desk.put("x/pytorch_model.bin", PYTORCH_ZIP)
    desk.put("x/page.html", HTML_PAGE)
    desk.scan()
    assert desk.keys == []


def test_a_manifest_that_names_an_adapter_is_told_what_it_is(desk: Desk) -> None:
    write_adapter(desk.models / "x" / "lora.gguf")
    desk.put("x/m.json", {"origin": "a/b", "download_url": "lora.gguf"})
    desk.scan()
    assert "lora.gguf is a LoRA adapter, not a model" in desk.fault("x/m.json")


def test_an_invalid_manifest_hides_the_bare_ggufs_of_its_folder(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/m.gguf", model_bytes)
    desk.put("y/n.gguf", model_bytes)
    desk.scan()
    assert desk.keys == ["x/m.gguf", "y/n.gguf"]
    desk.put("x/other.json", "{ origin: ")
    change = desk.scan("x")
    assert change.removed == ("x/m.gguf",)
    assert desk.keys == ["x/other.json", "y/n.gguf"]


def test_files_that_may_not_be_read_say_so_until_they_may(model_bytes: bytes) -> None:
    with tempfile.TemporaryDirectory() as made:
        desk = Desk(Path(made) / "root")
        for folder in (Path(made), desk.root):
            folder.chmod(0o755)
        desk.put("x/m.gguf", model_bytes).chmod(0)
        desk.put("model.json", {"origin": "https://api.openai.com"}).chmod(0)
        with without_privileges():
            desk.scan()
            assert "m.gguf cannot be read: Permission denied: make it readable" in desk.fault("x/m.gguf")
            assert "cannot be read (Permission denied); make it readable" in desk.fault("model.json")
            assert desk.condition("model.json") is desk.condition("x/m.gguf") is Condition.INVALID
        (desk.models / "x" / "m.gguf").chmod(0o644)
        (desk.models / "model.json").chmod(0o644)
        with without_privileges():
            desk.scan()
            assert desk.condition("model.json") is desk.condition("x/m.gguf") is Condition.COMPLETE


def test_a_folder_of_a_thousand_models_is_built_in_good_time(desk: Desk, model_bytes: bytes) -> None:
    stub = model_bytes[:4] + b"nonsense"
    for n in range(1000):
        desk.put(f"m{n}.json", {"origin": "a/b"})
        desk.put(f"m{n}.gguf", stub)
    desk.scan()
    started = time.process_time()
    desk.scan("")
    assert time.process_time() - started < 1.0
    assert len(desk.keys) == 1000


def test_ignored_names_and_folders_hold_no_models(desk: Desk, model_bytes: bytes) -> None:
    for name in (".janagent/x.gguf", ".cache/x.gguf", "a/x.gguf.part", "a/.x.json.swp", "b.tmp/x.gguf"):
        desk.put(name, model_bytes)
    desk.scan()
    assert desk.keys == []


# Ids


def test_on_a_clash_the_holder_keeps_the_plain_id_while_the_daemon_runs(desk: Desk) -> None:
    desk.put("b/m.json", {"origin": "a/b"})
    desk.scan()
    desk.put("m.json", {"origin": "a/b"})
    desk.put("a/m.json", {"origin": "a/b"})
    desk.scan()
    assert desk.entry("b/m.json").id == "m"
    assert desk.entry("a/m.json").id == "a/m"
    assert desk.catalog.resolve("m") == "b/m.json"
    desk.remove("b/m.json")
    change = desk.recheck(desk.scan("b"))
    assert desk.entry("m.json").id == "m"
    assert {entry.key for entry in change.changed} == {"m.json"}


def test_at_start_the_one_with_fewest_folders_holds_it(desk: Desk) -> None:
    for key in ("b/m.json", "a/a/m.json", "c/m.json"):
        desk.put(key, {"origin": "a/b"})
    desk.scan()
    assert [desk.entry(key).id for key in ("b/m.json", "a/a/m.json", "c/m.json")] == ["m", "a/a/m", "c/m"]


def test_an_edit_that_keeps_size_and_time_is_seen(desk: Desk) -> None:
    desk.put("m.json", {"origin": "a/b"})
    desk.scan()
    desk.put("m.json", {"origin": "c/d"})
    desk.scan()
    assert desk.entry("m.json").owned_by == "c"


# What costs a download or a new worker


def _keys(desk: Desk, key: str) -> tuple[str, str]:
    entry = desk.entry(key)
    return entry.artifact_key, entry.runtime_key


def test_descriptions_and_runtime_defaults_change_neither_key(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/m.json", {"origin": "a/b"})
    desk.put("x/m.gguf", model_bytes)
    desk.scan()
    before = _keys(desk, "x/m.json")
    runtime = {"temperature": 0.1, "stop": ["x"]}
    desk.put(
        "x/m.json",
        {"origin": "a/b", "owned_by": "me", "parameters": {"runtime": runtime}, "metadata": {"pin": True}},
    )
    change = desk.scan("x")
    assert len(change.changed) == 1
    assert _keys(desk, "x/m.json") == before


def test_an_init_parameter_changes_the_runtime_key_alone(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/m.json", {"origin": "a/b"})
    desk.put("x/m.gguf", model_bytes)
    desk.scan()
    artifact, runtime = _keys(desk, "x/m.json")
    desk.put("x/m.json", {"origin": "a/b", "parameters": {"init": {"ctx_len": "1024"}}})
    desk.scan("x")
    assert _keys(desk, "x/m.json")[0] == artifact
    assert _keys(desk, "x/m.json")[1] != runtime


def test_another_origin_changes_the_artifact_key_alone(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/m.json", {"origin": "a/b"})
    desk.put("x/m.gguf", model_bytes)
    desk.scan()
    artifact, runtime = _keys(desk, "x/m.json")
    desk.put("x/m.json", {"origin": "a/c"})
    desk.scan("x")
    assert _keys(desk, "x/m.json")[0] != artifact
    assert _keys(desk, "x/m.json")[1] == runtime


def test_a_replaced_binary_changes_the_runtime_key(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/m.gguf", model_bytes)
    desk.scan()
    before = _keys(desk, "x/m.gguf")
    desk.put("x/new.tmp", model_bytes)
    os.replace(desk.models / "x" / "new.tmp", desk.models / "x" / "m.gguf")
    desk.scan("x")
    assert _keys(desk, "x/m.gguf")[0] == before[0]
    assert _keys(desk, "x/m.gguf")[1] != before[1]


def test_a_broken_edit_makes_the_entry_invalid_and_the_mended_one_whole_again(
    desk: Desk, model_bytes: bytes
) -> None:
    desk.put("x/m.json", {"origin": "a/b"})
    desk.put("x/m.gguf", model_bytes)
    desk.scan()
    before = desk.entry("x/m.json")
    desk.put("x/m.json", '{"origin": "a/b", "parameters": {"init": {"ctx_len": -5}}}')
    (entry,) = desk.scan("x").changed
    assert entry.condition is Condition.INVALID
    assert "ctx_len" in desk.fault("x/m.json")
    assert desk.keys == ["x/m.json"]
    desk.put("x/m.json", {"origin": "a/b"})
    desk.scan("x")
    assert desk.entry("x/m.json").runtime_key == before.runtime_key


def test_a_binary_of_two_models_is_shared_until_one_goes(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/tiny.gguf", model_bytes)
    desk.put("x/a.json", {"download_url": "tiny.gguf", "origin": "o/r"})
    desk.scan()
    assert not desk.entry("x/a.json").binaries[0].shared
    desk.put("x/b.json", {"download_url": "tiny.gguf", "origin": "o/r"})
    change = desk.scan("x")
    assert {entry.key for entry in change.changed} == {"x/a.json", "x/b.json"}
    assert desk.entry("x/a.json").binaries[0].shared
    desk.remove("x/b.json")
    desk.recheck(desk.scan("x"))
    assert not desk.entry("x/a.json").binaries[0].shared


# Incremental


def test_only_the_folder_that_is_named_is_built_again(desk: Desk) -> None:
    for n in range(5):
        desk.put(f"d{n}/m{n}.json", {"origin": "a/b"})
    desk.scan()
    for n in range(5):
        desk.put(f"d{n}/m{n}.json", {"origin": "c/d"})
    change = desk.scan("d3")
    assert [entry.key for entry in change.changed] == ["d3/m3.json"]
    change = desk.scan()
    assert [entry.key for entry in change.changed] == ["d0/m0.json", "d1/m1.json", "d2/m2.json", "d4/m4.json"]
    assert desk.scan().changed == ()


def test_a_scan_after_a_failed_one_makes_up_for_it(desk: Desk) -> None:
    desk.put("x/m.json", {"origin": "a/b"})
    with pytest.raises(AttributeError):
        desk.catalog.scan(None, now=desk.now, closed={5})  # type: ignore[arg-type]
    assert [entry.key for entry in desk.scan("elsewhere").changed] == ["x/m.json"]


def test_the_default_root_alone_is_created(tmp_path: Path) -> None:
    from janagent.folder.catalog import Catalog

    Catalog(tmp_path / "given", default_root=False).prepare()
    assert not (tmp_path / "given").exists()
    Catalog(tmp_path / "default", default_root=True).prepare()
    assert (tmp_path / "default" / "models").is_dir()
