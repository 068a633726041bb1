import os
from pathlib import Path

import pytest

from janagent.fetch.faults import FetchError
from janagent.fetch.place import Place


@pytest.mark.parametrize("name", ["../a", "/a", "b/../../a", "", "."])
def test_no_name_leaves_the_folder(tmp_path: Path, name: str):
    with pytest.raises(FetchError) as caught:
        Place.at(tmp_path).locate(name)
    assert caught.value.code == "unsafe_name"


def test_folders_are_made_below_the_folder_and_never_the_folder_itself(tmp_path: Path):
    folder = tmp_path / "models" / "m"
    folder.mkdir(parents=True)
    place = Place.at(folder)
    place.make_way(folder / "deep" / "er" / "a")
    assert (folder / "deep" / "er").is_dir()
    (tmp_path / "models").rename(tmp_path / "unplugged")
    with pytest.raises(FetchError) as caught:
        place.make_way(folder / "deep" / "er" / "a")
    assert (caught.value.code, caught.value.is_permanent) == ("disk_error", False)
    assert os.listdir(tmp_path) == ["unplugged"]


def test_a_folder_that_is_on_another_disk_by_now_gets_nothing(tmp_path: Path):
    """As with a mount point whose disk is gone: the folder below it is still a folder."""
    place = Place(tmp_path, device=Place.at(tmp_path).device + 1)
    with pytest.raises(FetchError, match="not there any more"):
        place.make_way(tmp_path / "sub" / "a")
    assert os.listdir(tmp_path) == []
