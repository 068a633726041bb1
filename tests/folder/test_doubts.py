"""A manifest that gets a file which is hardly its own takes it, and says so: on real folders."""

import pytest

from janagent.folder.entry import Condition
from tests.folder.desks import Desk
from tests.gguf_files import write_model


@pytest.mark.parametrize(
    ("origin", "name", "is_doubted"),
    [
        ("TheBloke/zephyr-7B-beta-GGUF", "mistral-nemo.Q4_0.gguf", True),
        ("TheBloke/zephyr-7B-beta-GGUF", "zephyr-7b-beta.Q2_K.gguf", False),
        ("mys/ggml_llava-v1.5-13b", "ggml-model-q4_1.gguf", False),
        ("owner/other", "wish-Q4_0.gguf", False),
    ],
)
def test_a_file_that_is_called_like_neither_its_manifest_nor_the_origin_is_taken_with_a_warning(
    desk: Desk, origin: str, name: str, is_doubted: bool
) -> None:
    desk.put("x/wish.json", {"origin": origin})
    write_model(desk.models / "x" / name)
    desk.put(f"x/{name}")
    desk.scan()
    assert desk.condition("x/wish.json") is Condition.COMPLETE
    said = [warning for warning in desk.entry("x/wish.json").warnings if "the only model here" in warning]
    assert bool(said) is is_doubted
    assert all(origin in warning and "download_url" in warning for warning in said)


def test_a_model_json_answers_to_the_name_of_its_folder(desk: Desk) -> None:
    desk.put("zephyr/model.json", {"origin": "a/b"})
    write_model(desk.models / "zephyr" / "zephyr.gguf")
    desk.put("zephyr/zephyr.gguf")
    desk.scan()
    assert desk.entry("zephyr/model.json").warnings == ()


def test_a_file_that_has_the_name_of_another_manifest_is_taken_with_a_warning(desk: Desk) -> None:
    desk.put("x/one.json", {"origin": "a/b"})
    desk.put("x/two.json", {"origin": "c/d"})
    write_model(desk.models / "x" / "one.gguf")
    desk.put("x/one.gguf")
    desk.scan()
    assert desk.entry("x/one.json").warnings == ()
    (warning,) = desk.entry("x/two.json").warnings
    assert "one.json has its name" in warning
