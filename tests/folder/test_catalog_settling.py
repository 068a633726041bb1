"""Time in the catalog: completeness, vanished files, files that are half written, unclaimed files.

Fresh files have an mtime in the future here, so that only the clock of the desk tells their age.
"""

import os
import shutil
from pathlib import Path

import pytest

from janagent.folder.entry import Condition
from tests.folder.desks import Desk
from tests.gguf_files import write_model


def _rename_into_place(desk: Desk, key: str) -> None:
    """How many editors save: the old file goes to a backup, then a new one comes."""
    file = desk.models / key
    file.rename(file.with_name(file.name + "~"))


# Completeness


def test_a_fresh_binary_is_complete_after_one_second_without_change(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/m.json", {"origin": "a/b"})
    desk.put("x/m.gguf", model_bytes, fresh=True)
    change = desk.scan()
    assert desk.condition("x/m.json") is Condition.MISSING
    assert "100 % of 341 kB, still being written" in desk.fault("x/m.json")
    assert change.recheck_folders == {"x"}
    assert change.recheck_in_s == pytest.approx(1.0, abs=0.05)
    change = desk.recheck(change)
    assert desk.condition("x/m.json") is Condition.COMPLETE
    assert change.recheck_in_s is None


def test_a_binary_that_its_writer_closed_is_complete_at_once(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/m.json", {"origin": "a/b"})
    desk.put("x/m.gguf", model_bytes, fresh=True)
    change = desk.scan("x", closed={"x/m.gguf"})
    assert desk.condition("x/m.json") is Condition.COMPLETE
    assert change.recheck_in_s is None


def test_closing_makes_no_truncated_file_complete(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/m.gguf", model_bytes[:-1], fresh=True)
    desk.scan("x", closed={"x/m.gguf"})
    desk.scan("x", after_s=10)
    assert desk.condition("x/m.gguf") is Condition.MISSING
    assert "99 %" in desk.fault("x/m.gguf")


def test_writing_on_after_a_close_starts_the_wait_again(desk: Desk, model_bytes: bytes) -> None:
    file = desk.put("x/m.gguf", model_bytes, fresh=True)
    desk.scan("x", closed={"x/m.gguf"})
    with file.open("ab") as stream:
        stream.write(b"more")
    desk.put("x/m.gguf", fresh=True)
    change = desk.scan("x", after_s=5)
    assert desk.condition("x/m.gguf") is Condition.MISSING
    desk.recheck(change)
    assert desk.condition("x/m.gguf") is Condition.COMPLETE


def test_an_old_file_is_complete_at_first_sight(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/m.gguf", model_bytes)
    change = desk.scan()
    assert desk.condition("x/m.gguf") is Condition.COMPLETE
    assert change.recheck_in_s is None


def test_a_model_stays_what_it_was_until_the_file_that_replaced_its_own_has_settled(
    desk: Desk, model_bytes: bytes
) -> None:
    desk.put("x/m.json", {"origin": "a/b"})
    desk.put("x/m.gguf", model_bytes)
    desk.scan()
    before = desk.entry("x/m.json")
    desk.put("x/new.part", model_bytes, fresh=True).rename(desk.models / "x/m.gguf")
    change = desk.scan("x")
    assert desk.entry("x/m.json") == before
    desk.recheck(change)
    after = desk.entry("x/m.json")
    assert after.condition is Condition.COMPLETE
    assert after.runtime_key != before.runtime_key


def test_a_replacement_that_is_not_all_there_makes_the_model_missing_at_once(
    desk: Desk, model_bytes: bytes
) -> None:
    desk.put("x/m.gguf", model_bytes)
    desk.scan()
    desk.put("x/new.part", model_bytes[:-1], fresh=True).rename(desk.models / "x/m.gguf")
    desk.scan("x")
    assert "99 %" in desk.fault("x/m.gguf")


def test_a_file_overwritten_in_place_makes_the_model_missing_until_it_has_settled(
    desk: Desk, model_bytes: bytes
) -> None:
    desk.put("x/m.gguf", model_bytes)
    desk.scan()
    desk.put("x/m.gguf", model_bytes, fresh=True)
    change = desk.scan("x")
    assert "still being written" in desk.fault("x/m.gguf")
    desk.recheck(change)
    assert desk.condition("x/m.gguf") is Condition.COMPLETE


def test_a_growing_copy_shows_how_far_it_is_and_turns_complete(desk: Desk) -> None:
    data = write_model(desk.root / "big.gguf", embedding_length=256).read_bytes()
    seen = []
    desk.put("x/m.json", {"origin": "a/b"})
    for percent in (1, 20, 60, 90, 100):
        desk.put("x/m.gguf", data[: len(data) * percent // 100 + 1], fresh=True)
        desk.scan("x", after_s=0.2)
        seen.append(desk.fault("x/m.json"))
    assert "20 % of" in seen[1]
    assert "60 % of" in seen[2]
    assert "90 % of" in seen[3]
    assert all(message.startswith("incomplete: ") for message in seen)
    desk.recheck(desk.scan("x"))
    assert desk.condition("x/m.json") is Condition.COMPLETE


def test_a_smaller_model_written_over_a_bigger_one_is_judged_by_its_own_header(
    desk: Desk, model_bytes: bytes
) -> None:
    bigger = write_model(desk.root / "big.gguf", embedding_length=256).read_bytes()
    desk.put("x/m.gguf", bigger)
    desk.scan()
    desk.put("x/m.gguf", model_bytes, fresh=True)
    desk.recheck(desk.scan("x"))
    assert desk.condition("x/m.gguf") is Condition.COMPLETE
    header = desk.entry("x/m.gguf").header
    assert header is not None
    assert header.embedding_length == 64


# Manifests that are half written


@pytest.mark.parametrize("half", ["", '{"origin": "a', "{"])
def test_a_young_json_that_cannot_be_parsed_is_not_judged(desk: Desk, half: str) -> None:
    desk.put("m.json", half, fresh=True)
    change = desk.scan()
    assert desk.keys == []
    desk.put("m.json", {"origin": "a/b"}, fresh=True)
    desk.scan("", after_s=0.1)
    assert desk.condition("m.json") is Condition.MISSING
    assert change.recheck_in_s is not None


def test_it_is_judged_once_it_is_a_second_old(desk: Desk) -> None:
    desk.put("m.json", '{"origin": "a', fresh=True)
    desk.recheck(desk.scan())
    assert desk.condition("m.json") is Condition.INVALID


def test_an_old_broken_json_is_judged_at_once(desk: Desk) -> None:
    desk.put("m.json", "")
    desk.scan()
    assert desk.condition("m.json") is Condition.INVALID


def test_a_model_keeps_its_settings_while_its_manifest_is_half_saved(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/m.json", {"origin": "a/b"})
    desk.put("x/m.gguf", model_bytes)
    desk.scan()
    before = desk.entry("x/m.json")
    for half in ("", '{"ori'):
        desk.put("x/m.json", half, fresh=True)
        assert desk.scan("x", after_s=0.1).changed == ()
    assert desk.entry("x/m.json") is before
    desk.recheck(desk.scan("x"))
    assert desk.condition("x/m.json") is Condition.INVALID


def test_ten_saves_a_second_end_with_the_last(desk: Desk) -> None:
    for n in range(30):
        desk.put("m.json", {"parameters": {"init": {"ctx_len": 1000 + n}}}, fresh=True)
        desk.scan("", after_s=0.1)
    assert desk.entry("m.json").manifest.init.ctx_len == 1029


def test_two_saves_within_one_tick_of_a_coarse_clock_are_both_seen(desk: Desk) -> None:
    file = desk.put("m.json", {"parameters": {"init": {"ctx_len": 1000}}})
    os.utime(file, ns=(1 << 62, 1 << 62))
    coarse_ns = file.stat().st_mtime_ns // 1_000_000_000 * 1_000_000_000
    os.utime(file, ns=(coarse_ns, coarse_ns))
    change = desk.scan()
    assert change.recheck_in_s is not None, "a coarse mtime asks for another look"
    desk.recheck(change)
    assert desk.scan().recheck_in_s is None


# What vanishes


def test_a_vanished_manifest_serves_for_a_second(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/m.json", {"origin": "a/b"})
    desk.put("x/m.gguf", model_bytes)
    desk.scan()
    before = desk.entry("x/m.json")
    desk.remove("x/m.json")
    change = desk.scan("x")
    assert (change.changed, change.removed) == ((), ())
    assert desk.entry("x/m.json") is before
    change = desk.recheck(change)
    assert change.removed == ("x/m.json",)
    assert desk.keys == ["x/m.gguf"]


def test_a_vanished_binary_counts_as_there_for_a_second(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/m.json", {"origin": "a/b"})
    desk.put("x/m.gguf", model_bytes)
    desk.scan()
    desk.remove("x/m.gguf")
    change = desk.scan("x")
    assert change.changed == ()
    desk.recheck(change)
    assert desk.condition("x/m.json") is Condition.MISSING


def test_saving_by_rename_is_one_edit(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/m.json", {"origin": "a/b"})
    desk.put("x/m.gguf", model_bytes)
    desk.scan()
    _rename_into_place(desk, "x/m.json")
    first = desk.scan("x")
    desk.put("x/m.json", {"origin": "c/d"}, fresh=True)
    second = desk.scan("x", after_s=0.05)
    assert first.changed == first.removed == second.removed == ()
    assert [entry.owned_by for entry in second.changed] == ["c"]
    assert desk.scan("x", after_s=5).removed == ()


def test_deleted_and_made_again_within_a_second_is_no_deletion(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/m.gguf", model_bytes)
    desk.scan()
    shutil.rmtree(desk.models / "x")
    gone = desk.scan("x")
    desk.put("x/m.gguf", model_bytes)
    back = desk.scan("x", "", after_s=0.9)
    later = desk.scan(after_s=10)
    assert gone.removed == back.removed == later.removed == ()
    assert desk.condition("x/m.gguf") is Condition.COMPLETE


def test_a_deleted_folder_takes_its_models_along_after_a_second(desk: Desk, model_bytes: bytes) -> None:
    for n in range(3):
        desk.put(f"x/y{n}/m{n}.gguf", model_bytes)
    desk.scan()
    desk.remove("x")
    change = desk.scan("")
    assert change.removed == ()
    change = desk.recheck(change)
    assert change.removed == tuple(f"x/y{n}/m{n}.gguf" for n in range(3))
    assert change.recheck_in_s is None


def test_a_renamed_folder_moves_its_models(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/m.json", {"origin": "a/b"})
    desk.put("x/m.gguf", model_bytes)
    desk.scan()
    (desk.models / "x").rename(desk.models / "y")
    change = desk.scan("")
    assert desk.condition("y/m.json") is Condition.COMPLETE
    assert desk.entry("x/m.json").id == "m"
    desk.recheck(change)
    assert desk.keys == ["y/m.json"]
    assert desk.entry("y/m.json").id == "m"


def test_a_folder_moved_in_from_elsewhere_is_complete_at_once(
    desk: Desk, model_bytes: bytes, tmp_path: Path
) -> None:
    desk.scan()
    (tmp_path / "far" / "sub").mkdir(parents=True)
    (tmp_path / "far" / "m.json").write_text('{"origin": "a/b"}')
    (tmp_path / "far" / "m.gguf").write_bytes(model_bytes)
    (tmp_path / "far" / "sub" / "n.gguf").write_bytes(model_bytes)
    for file in tmp_path.glob("far/**/*"):
        os.utime(file, (1e9, 1e9))
    (tmp_path / "far").rename(desk.models / "near")
    desk.scan("")
    assert desk.condition("near/m.json") is Condition.COMPLETE
    assert desk.condition("near/sub/n.gguf") is Condition.COMPLETE


def test_what_is_due_is_looked_at_even_when_another_folder_is_named(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/m.gguf", model_bytes, fresh=True)
    desk.put("y/n.json", {"origin": "a/b"})
    desk.scan()
    desk.scan("y", after_s=2)
    assert desk.condition("x/m.gguf") is Condition.COMPLETE


# Files that no manifest claims


def test_an_unclaimed_model_is_listed_at_once_and_may_be_loaded_after_two_seconds(
    desk: Desk, model_bytes: bytes
) -> None:
    desk.put("x/m.gguf", model_bytes)
    desk.scan()
    entry = desk.entry("x/m.gguf")
    assert entry.hot_load_after_s == desk.now + 2.0
    assert entry.may_hot_load
    assert desk.scan("x", after_s=30).changed == ()


def test_a_manifest_that_comes_after_its_binary_claims_it(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/m.gguf", model_bytes)
    desk.scan()
    desk.put("x/m.json", {"origin": "a/b"})
    change = desk.scan("x", after_s=1)
    assert change.removed == ("x/m.gguf",)
    assert desk.keys == ["x/m.json"]
    assert desk.entry("x/m.json").id == "m"
    assert desk.entry("x/m.json").hot_load_after_s == 0.0


def test_a_binary_whose_manifest_was_removed_is_never_hot_loaded(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/m.json", {"origin": "a/b"})
    desk.put("x/m.gguf", model_bytes)
    desk.scan()
    desk.remove("x/m.json")
    desk.recheck(desk.scan("x"))
    assert not desk.entry("x/m.gguf").may_hot_load
    desk.scan(after_s=100)
    assert not desk.entry("x/m.gguf").may_hot_load


def test_a_new_binary_in_its_place_may_be_hot_loaded(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/m.json", {"origin": "a/b"})
    desk.put("x/m.gguf", model_bytes)
    desk.scan()
    desk.remove("x/m.json")
    desk.recheck(desk.scan("x"))
    desk.put("new.tmp", model_bytes)
    os.replace(desk.models / "new.tmp", desk.models / "x" / "m.gguf")
    desk.scan("x")
    assert desk.entry("x/m.gguf").may_hot_load


def test_an_unclaimed_copy_that_is_under_way_is_missing_until_it_is_whole(
    desk: Desk, model_bytes: bytes
) -> None:
    desk.put("x/m.gguf", b"", fresh=True)
    desk.scan()
    assert desk.keys == []
    desk.put("x/m.gguf", model_bytes[: len(model_bytes) // 2], fresh=True)
    desk.scan("x", after_s=0.3)
    assert "50 % of 341 kB" in desk.fault("x/m.gguf") or "49 % of 341 kB" in desk.fault("x/m.gguf")
    desk.put("x/m.gguf", model_bytes, fresh=True)
    desk.recheck(desk.scan("x", after_s=0.3))
    assert desk.condition("x/m.gguf") is Condition.COMPLETE
