"""What a repo proposes for its model: below the manifest, beside it, and gone with it."""

import json
from pathlib import Path
from typing import Any

import pytest

from janagent.folder import defaults
from janagent.folder.defaults import NO_DEFAULTS, Defaults, affordable, defaults_of, defaults_path, merged
from janagent.folder.derived import artifact_key
from janagent.folder.estimate import Budget
from janagent.folder.manifest import Manifest
from janagent.folder.parameters import InitParameters
from tests.folder.desks import Desk
from tests.folder.manifests import manifest

GB = 10**9
KEY = "0" * 32


def proposed(init: dict[str, Any] | None = None, runtime: dict[str, Any] | None = None) -> Defaults:
    return defaults_of(init or {}, runtime or {})[0]


def with_defaults(said: Manifest, found: Defaults) -> dict[str, Any]:
    return merged(said, {artifact_key(said): found}, artifact_key(said)).shown()["parameters"]


def test_the_manifest_s_own_values_win_and_the_rest_is_filled_in() -> None:
    said = manifest(origin="janhq/x", parameters={"init": {"ctx_len": 1024}, "runtime": {"temperature": 0.1}})
    found = proposed({"ctx_len": 4096, "ngl": 10}, {"temperature": 0.9, "top_p": "0.5", "stop": ["</s>"]})
    assert with_defaults(said, found) == {
        "init": {"ctx_len": 1024, "ngl": 10},
        "runtime": {"temperature": 0.1, "top_p": 0.5, "stop": ["</s>"]},
    }


def test_pieces_of_two_prompts_are_never_mixed() -> None:
    found = proposed({"user_prompt": "### Q:", "ai_prompt": "### A:", "pre_prompt": "Be kind."})
    for own in ({"user_prompt": "USER: "}, {"chat_template": "{{ messages }}"}):
        said = manifest(origin="janhq/x", parameters={"init": own})
        assert with_defaults(said, found)["init"] == own
    own = {"pre_prompt": "Be brief."}
    said = manifest(origin="janhq/x", parameters={"init": own})
    assert with_defaults(said, found)["init"] == {"user_prompt": "### Q:", "ai_prompt": "### A:", **own}


def test_a_limit_under_its_other_name_is_the_manifest_s_too() -> None:
    said = manifest(origin="janhq/x", parameters={"runtime": {"token_limit": 5}})
    assert with_defaults(said, proposed(runtime={"max_tokens": 9}))["runtime"] == {"token_limit": 5}


def test_only_janhq_takes_defaults_and_only_those_of_its_own_artifact() -> None:
    found = {KEY: proposed({"ctx_len": 4096})}
    assert merged(manifest(origin="a/b"), found, KEY) == manifest(origin="a/b")
    assert merged(manifest(origin="janhq/b"), found, "1" * 32) == manifest(origin="janhq/b")


def test_nothing_but_numbers_and_pieces_of_the_prompt_is_a_default() -> None:
    raw = {
        "ctx_len": 512,
        "chat_template": "{{ x }}",
        "API-KEY": "k",
        "origin": "evil/repo",
        "embedding": False,
        "n_threads": 64,
        "flash_attn": True,
        "engine": "api",
        "temperature": 0.5,
        "stream": True,
    }
    assert proposed(raw, raw) == Defaults(
        InitParameters(ctx_len=512), proposed(runtime={"temperature": 0.5}).runtime
    )


@pytest.mark.parametrize("value", [{"a": 1}, [1, 2], [["x"]], True, "x" * 10_000, ["s"] * 100, "many", -5])
def test_a_value_that_cannot_be_is_left_out(value: Any) -> None:
    assert proposed({"ctx_len": value}) == NO_DEFAULTS


def test_a_wrong_number_is_told() -> None:
    _, words = defaults_of({"ctx_len": "many"}, {"top_p": 7})
    assert [sentence.partition(":")[0] for sentence in words] == ["ctx_len", "top_p"]


def test_a_proposed_context_never_makes_a_model_too_large_for_the_machine() -> None:
    found = proposed({"ctx_len": 131_072, "n_parallel": 8, "ngl": 33}, {"top_p": 0.5})
    terms: dict[str, Any] = {"weights": 4 * GB, "header": None, "init": InitParameters()}
    assert affordable(found, budget=Budget(1000 * GB), **terms) == found
    small = affordable(found, budget=Budget(8 * GB), **terms)
    assert (small.init, small.runtime) == (InitParameters(ngl=33), found.runtime)


def test_they_are_kept_in_a_file_and_taken_away_with_it(tmp_path: Path) -> None:
    path, found = defaults_path(tmp_path, KEY), proposed({"ctx_len": 8}, {"stop": ["x"]})
    defaults.save(path, found)
    assert defaults.read_all(tmp_path) == {KEY: found}
    defaults.sweep(tmp_path, lambda: None)
    defaults.sweep(tmp_path, lambda: {KEY})
    assert defaults.read_all(tmp_path) == {KEY: found}
    defaults.sweep(tmp_path, set)
    assert list(tmp_path.iterdir()) == []
    defaults.save(path, found)
    defaults.save(path, NO_DEFAULTS)
    assert defaults.read_all(tmp_path) == {}


def test_a_models_folder_whose_disk_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        defaults.save(defaults_path(tmp_path / "models", KEY), proposed({"ctx_len": 8}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"init": []}', '{"init": {"chat_template": "x"}, "runtime": {"api": 1}}', "\x00"]
)
def test_a_file_there_that_is_not_ours_proposes_nothing(tmp_path: Path, text: str) -> None:
    path = defaults_path(tmp_path, KEY)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    (path.parent / "other.json").write_text(json.dumps({"init": {"ctx_len": 8}, "runtime": {}}))
    assert defaults.read_all(tmp_path).get(KEY, NO_DEFAULTS) == NO_DEFAULTS
    assert "other" not in defaults.read_all(tmp_path)


def test_the_catalog_shows_them_as_parameters_until_the_origin_is_another(
    desk: Desk, model_bytes: bytes
) -> None:
    desk.put("x/m.json", {"origin": "janhq/x", "parameters": {"runtime": {"top_p": 0.3}}})
    desk.put("x/m.gguf", model_bytes)
    desk.scan()
    before = desk.entry("x/m.json")
    defaults.save(
        defaults_path(desk.models, before.artifact_key), proposed({"ctx_len": 64}, {"top_p": 0.9, "seed": 1})
    )
    desk.scan("x")
    after = desk.entry("x/m.json")
    assert (after.manifest.init.ctx_len, after.manifest.runtime.top_p, after.manifest.runtime.seed) == (
        64,
        0.3,
        1,
    )
    assert after.runtime_key != before.runtime_key
    assert after.artifact_key == before.artifact_key
    desk.put("x/m.json", {"origin": "janhq/y"})
    desk.scan("x")
    assert desk.entry("x/m.json").manifest.init.ctx_len is None
