"""What `files` names beside binaries, and parts that are absent: on real folders."""

from janagent.folder.entry import Condition
from tests.folder.desks import Desk
from tests.gguf_files import write_split


def test_a_json_file_that_files_names_has_to_be_there_and_is_then_enough(
    desk: Desk, model_bytes: bytes
) -> None:
    desk.put("x/m.json", {"origin": "a/b", "files": ["*.gguf", "config.json", "sub/tokenizer.json"]})
    desk.put("x/m.gguf", model_bytes)
    desk.put("x/config.json", "{}")
    desk.scan()
    assert "sub/tokenizer.json is not there" in desk.fault("x/m.json")
    assert desk.entry("x/m.json").is_fetchable
    desk.put("x/sub/tokenizer.json", "{}")
    desk.scan("x", "x/sub")
    assert desk.condition("x/m.json") is Condition.COMPLETE


def test_a_hidden_file_that_files_names_is_not_waited_for(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/m.json", {"origin": "a/b", "files": ["m.gguf", ".gitattributes"]})
    desk.put("x/m.gguf", model_bytes)
    desk.scan()
    assert desk.condition("x/m.json") is Condition.COMPLETE


def test_absent_parts_are_fetched_unless_one_that_is_there_is_still_being_copied(desk: Desk) -> None:
    paths = write_split(desk.root / "made", "big", parts=3)
    desk.put("x/big.json", {"origin": "a/b"})
    desk.put(f"x/{paths[0].name}", paths[0].read_bytes())
    desk.scan()
    assert desk.entry("x/big.json").is_fetchable
    desk.put(f"x/{paths[1].name}", paths[1].read_bytes()[:-1000])
    desk.scan("x")
    assert not desk.entry("x/big.json").is_fetchable
    assert "incomplete" in desk.fault("x/big.json")
