import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from janagent.fetch.faults import FetchError
from janagent.fetch.part import Part, is_in_place, locate
from janagent.fetch.plan import RemoteFile

CONTENT = b"content"
GIT = hashlib.sha1(b"blob 7\0" + CONTENT, usedforsecurity=False).hexdigest()
WANTED = RemoteFile("a", "http://x/a", len(CONTENT), None, GIT)


def opened(target: Path) -> Part:
    part = Part(target)
    assert part.open(is_ours=False)
    return part


def test_a_file_gets_its_name_only_if_that_is_free(tmp_path: Path):
    part = opened(tmp_path / "a")
    part.write([CONTENT], 0)
    (tmp_path / "a").write_bytes(b"mine")
    with pytest.raises(FetchError, match="nothing is overwritten"):
        part.place(len(CONTENT))
    assert (tmp_path / "a").read_bytes() == b"mine"
    (tmp_path / "a").unlink()
    part.place(len(CONTENT))
    assert os.listdir(tmp_path) == ["a"]
    assert is_in_place(WANTED, tmp_path / "a", is_trusted=False)


def test_a_part_is_written_by_one_fetcher_at_a_time(tmp_path: Path):
    part = opened(tmp_path / "a")
    assert not Part(tmp_path / "a").open(is_ours=True)
    part.close()
    assert Part(tmp_path / "a").open(is_ours=True)


def test_a_part_that_is_a_link_is_not_written_through(tmp_path: Path):
    (tmp_path / "victim").write_bytes(b"mine")
    os.symlink(tmp_path / "victim", tmp_path / "a.part")
    with pytest.raises(FetchError):
        Part(tmp_path / "a").open(is_ours=True)
    assert (tmp_path / "victim").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["../a", "/a", "b/../../a", "", "."])
def test_no_name_leaves_the_folder(tmp_path: Path, name: str):
    with pytest.raises(FetchError) as caught:
        locate(tmp_path, name)
    assert caught.value.code == "unsafe_name"


def test_a_disk_that_takes_no_more_is_said_to_be_full(tmp_path: Path):
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from janagent.fetch.part import Part\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "part = Part(Path(sys.argv[1])); part.open(is_ours=False)\n"
        "try: part.write([bytes(200_000)], 0)\n"
        "except Exception as error: print(error.code)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "disk_full\n"
