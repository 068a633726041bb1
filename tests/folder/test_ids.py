"""Names: ids, long ids, aliases, clashes, what is nearest."""

import time

import pytest

from janagent.folder.derived import names_of
from janagent.folder.ids import IdIndex, Names, remote_alias
from janagent.folder.manifest import Manifest, read_manifest


def _add(index: IdIndex, *keys: str) -> set[str]:
    """Add manifests at these paths, all at once."""
    return index.update({key: _names(key) for key in keys}, ())


def _names(key: str, manifest: Manifest | None = None) -> Names:
    folder, _, name = key.rpartition("/")
    return names_of(folder=folder, file_name=name, manifest=manifest or Manifest())


def _manifest(text: str) -> Manifest:
    manifest = read_manifest(text.encode()).manifest
    assert manifest is not None
    return manifest


def test_a_manifest_is_named_by_its_stem_and_answers_to_its_path() -> None:
    index = IdIndex()
    _add(index, "some/where/zephyr.json")
    assert index.id_of("some/where/zephyr.json") == "zephyr"
    assert index.resolve("zephyr") == index.resolve("some/where/zephyr") == "some/where/zephyr.json"
    assert index.aliases_of("some/where/zephyr.json") == ("some/where/zephyr",)


def test_model_json_is_named_after_its_folder() -> None:
    index = IdIndex()
    _add(index, "llama2-70b/model.json")
    assert index.id_of("llama2-70b/model.json") == "llama2-70b"
    assert index.resolve("llama2-70b/model") == "llama2-70b/model.json"


def test_a_bare_gguf_is_named_by_its_stem_and_a_nameless_one_by_its_folder() -> None:
    assert names_of(folder="a", file_name="x.Q4_K_M.gguf", manifest=None).plain == "x.Q4_K_M"
    assert names_of(folder="a", file_name="big-00001-of-00003.gguf", manifest=None) == Names("big", "a/big")
    assert names_of(folder="a/llama", file_name=".gguf", manifest=None) == Names("llama", "a/llama")


def test_a_leading_slash_makes_no_difference() -> None:
    index = IdIndex()
    _add(index, "a/m.json")
    assert index.resolve("/m") == index.resolve("/a/m") == "a/m.json"


def test_at_the_start_the_one_with_fewest_folders_holds_the_plain_id() -> None:
    index = IdIndex()
    _add(index, "a/b/m.json", "z/m.json", "y/m.json")
    assert index.id_of("y/m.json") == "m"
    assert index.id_of("z/m.json") == "z/m"
    assert index.id_of("a/b/m.json") == "a/b/m"
    assert index.resolve("m") == "y/m.json"


def test_a_manifest_comes_before_an_unclaimed_binary_of_the_same_stem() -> None:
    index = IdIndex()
    _add(index, "p/x.gguf", "p/x.json")
    assert index.id_of("p/x.json") == "x"
    assert index.resolve("p/x") == "p/x.json"
    assert index.id_of("p/x.gguf") == "p/x.gguf"


def test_the_holder_keeps_its_id_when_a_better_one_comes() -> None:
    index = IdIndex()
    _add(index, "deep/down/m.json")
    changed = _add(index, "m.json")
    assert index.id_of("deep/down/m.json") == "m"
    assert index.resolve("m") == "deep/down/m.json"
    assert changed == {"m.json"}


def test_every_model_has_an_id_of_its_own_even_when_its_path_is_taken_too() -> None:
    index = IdIndex()
    _add(index, "deep/m.json")
    _add(index, "m.json", "m.gguf.json")
    index.update({"m.gguf": names_of(folder="", file_name="m.gguf", manifest=None)}, ())
    ids = {key: index.id_of(key) for key in ("deep/m.json", "m.json", "m.gguf.json", "m.gguf")}
    assert len(set(ids.values())) == 4
    assert all(index.resolve(name) == key for key, name in ids.items())


def test_the_id_passes_on_when_its_holder_goes() -> None:
    index = IdIndex()
    _add(index, "a/m.json", "b/m.json")
    changed = index.update({}, ["a/m.json"])
    assert changed == {"b/m.json"}
    assert index.id_of("b/m.json") == "m"
    assert index.resolve("a/m") is None


def test_an_edit_that_changes_no_name_changes_nothing() -> None:
    index = IdIndex()
    _add(index, "a/m.json")
    assert _add(index, "a/m.json") == set()


def test_the_id_within_a_manifest_is_an_alias() -> None:
    index = IdIndex()
    index.update({"a/m.json": _names("a/m.json", _manifest('{"id": "/my/own name", "origin": "a/b"}'))}, ())
    assert index.id_of("a/m.json") == "m"
    assert index.resolve("/my/own name") == index.resolve("my/own name") == "a/m.json"
    assert index.aliases_of("a/m.json") == ("a/m", "my/own name")


def test_an_alias_never_takes_a_name_from_an_id() -> None:
    index = IdIndex()
    index.update({"a/thief.json": _names("a/thief.json", _manifest('{"id": "m", "origin": "a/b"}'))}, ())
    assert index.resolve("m") == "a/thief.json"
    _add(index, "b/m.json")
    assert index.resolve("m") == "b/m.json"
    assert "m" not in index.aliases_of("a/thief.json")


def test_an_azure_model_answers_to_domain_label_and_deployment() -> None:
    text = """{"origin": "https://docs-test-001.openai.azure.com/", import_format: azure_openai,
               parameters: {init: {"DEPLOYMENT-NAME": "gpt4-turbo"}}}"""
    index = IdIndex()
    index.update({"azure.json": _names("azure.json", _manifest(text))}, ())
    for name in ("/openai.azure.com/docs-test-001/gpt4-turbo", "openai.azure.com/docs-test-001/gpt4-turbo"):
        assert index.resolve(name) == "azure.json"
    assert index.aliases_of("azure.json") == ("openai.azure.com/docs-test-001/gpt4-turbo",)


@pytest.mark.parametrize(
    ("origin", "alias"),
    [
        ("https://docs-test-001.openai.azure.com/", "openai.azure.com/docs-test-001/m"),
        ("api.openai.com", "openai.com/api/m"),
        ("https://api.openai.com:443/v1", "openai.com/api/m"),
        ("http://localhost:8000/v1", "localhost/m"),
        ("http://127.0.0.1:8000", "127.0.0.1/m"),
        ("http://[::1]:8000", "::1/m"),
        ("owner/repo", ""),
        ("http://[broken", ""),
    ],
)
def test_remote_aliases(origin: str, alias: str) -> None:
    assert remote_alias(origin, "m") == alias


@pytest.mark.parametrize("name", ["", "/", "..", "../../etc/passwd", "a\0b", "🦙", "m/", "//m", "~"])
def test_a_strange_name_means_nothing_and_harms_nothing(name: str) -> None:
    index = IdIndex()
    _add(index, "a/m.json")
    assert index.resolve(name) is None
    assert isinstance(index.nearest(name), list)


def test_a_name_is_found_however_its_accents_are_encoded() -> None:
    index = IdIndex()
    _add(index, "cafe\u0301.json")
    assert index.id_of("cafe\u0301.json") == "caf\u00e9"
    assert index.resolve("caf\u00e9") == index.resolve("cafe\u0301") == "cafe\u0301.json"


def test_the_nearest_ids_are_suggested_for_a_typing_error() -> None:
    index = IdIndex()
    _add(index, "a/zephyr-7b.json", "a/llama-3.json", "a/phi-2.json")
    assert index.nearest("zefyr-7b")[0] == "zephyr-7b"
    assert index.nearest("LLAMA")[0] == "llama-3"
    assert index.nearest("zephyr", 1) == ["zephyr-7b"]


def test_ten_thousand_ids_are_searched_quickly_whatever_is_asked() -> None:
    index = IdIndex()
    _add(index, *(f"d{n // 10}/model-{n}.json" for n in range(10_000)))
    started = time.thread_time()
    for name in ("model-77777", "x" * 1_000_000, "modle-1"):
        index.nearest(name)
    assert time.thread_time() - started < 0.5
