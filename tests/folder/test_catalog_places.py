"""Where the files are: links, and a root that goes away and comes back."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from janagent.folder.catalog import ADOPT_AFTER_S
from janagent.folder.entry import Condition
from tests.folder.desks import Desk

# Links


def test_a_linked_binary_is_used_where_it_lies(desk: Desk, model_bytes: bytes, tmp_path: Path) -> None:
    far = tmp_path / "far.gguf"
    far.write_bytes(model_bytes)
    os.utime(far, (1e9, 1e9))
    desk.put("x/m.json", {"origin": "a/b"})
    desk.link("x/m.gguf", far)
    desk.scan()
    (binary,) = desk.entry("x/m.json").binaries
    assert desk.condition("x/m.json") is Condition.COMPLETE
    assert binary.path == "models/x/m.gguf"
    assert binary.real_path == far
    assert dict(desk.catalog.real_folders()) == {far: frozenset({"x/m.gguf"})}


def test_two_links_to_one_file_share_it(desk: Desk, model_bytes: bytes, tmp_path: Path) -> None:
    far = tmp_path / "far.gguf"
    far.write_bytes(model_bytes)
    desk.link("x/m.gguf", far)
    desk.link("y/n.gguf", far)
    desk.scan()
    assert desk.entry("x/m.gguf").binaries[0].shared
    assert desk.entry("y/n.gguf").binaries[0].shared
    desk.remove("y/n.gguf")
    change = desk.recheck(desk.scan("y"))
    assert change.removed == ("y/n.gguf",)
    assert not desk.entry("x/m.gguf").binaries[0].shared


def test_a_linked_folder_s_models_come_and_go_with_it(desk: Desk, model_bytes: bytes, tmp_path: Path) -> None:
    far = tmp_path / "far"
    far.mkdir()
    (far / "m.gguf").write_bytes(model_bytes)
    os.utime(far / "m.gguf", (1e9, 1e9))
    desk.scan()
    desk.link("link", far)
    desk.scan("")
    assert desk.condition("link/m.gguf") is Condition.COMPLETE
    assert dict(desk.catalog.real_folders()) == {far: frozenset({"link"})}
    (far / "n.json").write_text('{"origin": "https://api.openai.com"}')
    desk.scan("link")
    assert "link/n.json" in desk.keys
    desk.remove("link")
    change = desk.recheck(desk.scan(""))
    assert change.removed == ("link/m.gguf", "link/n.json")
    assert dict(desk.catalog.real_folders()) == {}


def test_a_linked_folder_that_goes_away_takes_its_models_along(
    desk: Desk, model_bytes: bytes, tmp_path: Path
) -> None:
    far = tmp_path / "far"
    far.mkdir()
    (far / "m.gguf").write_bytes(model_bytes)
    desk.link("link", far)
    desk.scan()
    far.rename(tmp_path / "further")
    change = desk.scan("link", "")
    assert change.removed == ()
    change = desk.recheck(change)
    assert change.removed == ("link/m.gguf",)
    assert any("link" in problem for problem in change.problems)
    (tmp_path / "further").rename(far)
    desk.scan(after_s=60)
    assert desk.keys == ["link/m.gguf"]


def test_a_broken_link_is_reported_on_its_model_and_mends_itself(
    desk: Desk, model_bytes: bytes, tmp_path: Path
) -> None:
    desk.put("x/m.json", {"origin": "a/b", "download_url": "m.gguf"})
    desk.link("x/m.gguf", tmp_path / "later.gguf")
    desk.link("y/bare.gguf", tmp_path / "later.gguf")
    desk.scan()
    for key in ("x/m.json", "y/bare.gguf"):
        assert desk.condition(key) is Condition.MISSING
        assert f"is a link to {tmp_path}/later.gguf, which is not there" in desk.fault(key)
    (tmp_path / "later.gguf").write_bytes(model_bytes)
    os.utime(tmp_path / "later.gguf", (1e9, 1e9))
    desk.scan()
    assert desk.condition("x/m.json") is desk.condition("y/bare.gguf") is Condition.COMPLETE


def test_loops_and_broken_links_hide_no_model(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/m.gguf", model_bytes)
    desk.link("x/loop", desk.models)
    desk.link("x/knot.json", "knot.json")
    desk.link("nowhere", "/does/not/exist")
    change = desk.scan()
    assert desk.keys == ["x/m.gguf"]
    assert len(change.problems) == 3
    assert desk.condition("x/m.gguf") is Condition.COMPLETE


def test_a_replaced_link_means_another_file(desk: Desk, model_bytes: bytes, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(model_bytes)
    desk.link("x/m.gguf", tmp_path / "one")
    desk.scan()
    before = desk.entry("x/m.gguf").runtime_key
    (desk.models / "x" / "new.tmp").symlink_to(tmp_path / "two")
    os.replace(desk.models / "x" / "new.tmp", desk.models / "x" / "m.gguf")
    desk.scan("x")
    assert desk.entry("x/m.gguf").runtime_key != before


# The root


def test_an_absent_root_is_offline_and_not_created(desk: Desk) -> None:
    desk.models.rmdir()
    desk.catalog.prepare()
    change = desk.scan()
    assert change.offline
    assert not desk.models.exists()


def test_all_models_are_missing_while_the_root_is_away_and_come_back_by_themselves(
    desk: Desk, model_bytes: bytes
) -> None:
    desk.put("x/m.gguf", model_bytes)
    desk.put("y/n.json", {"origin": "https://api.openai.com"})
    desk.put("z/bad.json", "{")
    desk.scan()
    before = dict(desk.catalog.entries())
    desk.models.rename(desk.root / "away")
    change = desk.scan("x")
    assert change.offline
    assert change.removed == ()
    assert len(change.changed) == 3
    for key in before:
        assert desk.condition(key) is Condition.MISSING
        assert desk.fault(key).startswith("root is offline")
    assert desk.scan(after_s=3600).changed == ()
    (desk.root / "away").rename(desk.models)
    change = desk.scan("y", after_s=60)
    assert not change.offline
    assert dict(desk.catalog.entries()) == before
    assert len(change.changed) == 3


def test_what_was_deleted_meanwhile_goes_a_second_after_the_return(desk: Desk, model_bytes: bytes) -> None:
    desk.put("x/m.gguf", model_bytes)
    desk.put("y/n.gguf", model_bytes)
    desk.scan()
    desk.models.rename(desk.root / "away")
    desk.scan()
    (desk.root / "away" / "x" / "m.gguf").unlink()
    (desk.root / "away").rename(desk.models)
    change = desk.scan(after_s=60)
    assert change.removed == ()
    assert desk.recheck(change).removed == ("x/m.gguf",)


def test_a_file_that_vanished_just_before_the_root_is_not_deleted_while_it_is_away(
    desk: Desk, model_bytes: bytes
) -> None:
    desk.put("x/m.gguf", model_bytes)
    desk.scan()
    desk.remove("x/m.gguf")
    desk.scan("x")
    desk.models.rename(desk.root / "away")
    assert desk.scan("x", after_s=5).removed == ()
    assert desk.condition("x/m.gguf") is Condition.MISSING


@pytest.fixture
def other_device() -> Iterator[Path]:
    """A folder on another device than the temporary folder."""
    place = Path("/dev/shm")
    assert place.is_dir(), "this test needs a second file system; on Linux /dev/shm is one"
    with tempfile.TemporaryDirectory(dir=place) as made:
        yield Path(made)


def test_an_empty_folder_on_another_device_is_an_unmounted_disk(
    desk: Desk, model_bytes: bytes, other_device: Path
) -> None:
    if other_device.stat().st_dev == desk.models.stat().st_dev:
        pytest.fail("both folders are on one device")
    desk.put("x/m.gguf", model_bytes)
    desk.scan()
    desk.models.rename(desk.root / "away")
    desk.models.symlink_to(other_device)
    assert desk.scan().offline
    assert desk.scan(after_s=10 * ADOPT_AFTER_S).offline
    desk.models.unlink()
    (desk.root / "away").rename(desk.models)
    desk.scan()
    assert desk.condition("x/m.gguf") is Condition.COMPLETE


def test_other_content_on_another_device_is_taken_over_after_a_while(
    desk: Desk, model_bytes: bytes, other_device: Path
) -> None:
    desk.put("x/m.gguf", model_bytes)
    desk.scan()
    (other_device / "new.gguf").write_bytes(model_bytes)
    os.utime(other_device / "new.gguf", (1e9, 1e9))
    desk.models.rename(desk.root / "away")
    desk.models.symlink_to(other_device)
    change = desk.scan()
    assert change.offline
    assert change.recheck_in_s is not None
    change = desk.scan(after_s=ADOPT_AFTER_S)
    assert not change.offline
    assert desk.condition("new.gguf") is Condition.COMPLETE
    desk.recheck(change)
    assert desk.keys == ["new.gguf"]
