import errno
import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from janagent.fetch.faults import FetchError
from janagent.fetch.part import Found, Part, look_at
from janagent.fetch.place import Place
from janagent.fetch.plan import RemoteFile

CONTENT = b"content"
GIT = hashlib.sha1(b"blob 7\0" + CONTENT, usedforsecurity=False).hexdigest()
WANTED = RemoteFile("a", "http://x/a", len(CONTENT), None, GIT)


PART = f"a.{GIT[:8]}.part"


def part_of(target: Path) -> Part:
    return Part(WANTED, Place.at(target.parent))


def opened(target: Path) -> Part:
    part = part_of(target)
    assert part.open()
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
    assert look_at(WANTED, tmp_path / "a", is_trusted=False) is Found.IT


def test_without_hard_links_a_file_gets_its_name_too_if_that_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refused(*_: object) -> None:  # no such file system can be had in a test
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    test_a_file_gets_its_name_only_if_that_is_free(tmp_path)


def test_a_part_is_written_by_one_fetcher_at_a_time(tmp_path: Path):
    part = opened(tmp_path / "a")
    assert not part_of(tmp_path / "a").open()
    part.close()
    assert part_of(tmp_path / "a").open()


def test_a_part_that_got_its_name_before_the_lock_was_had_is_not_taken_for_the_new_one(tmp_path: Path):
    first = opened(tmp_path / "a")
    first.write([CONTENT], 0)
    late = os.open(tmp_path / PART, os.O_RDWR)  # a second fetcher, that has opened and not locked it yet
    first.place(len(CONTENT))
    fcntl.flock(late, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert opened(tmp_path / "a").inode != os.fstat(late).st_ino
    os.close(late)


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_part_that_was_taken_away_gives_no_other_file_its_name(tmp_path: Path, how: str):
    part = opened(tmp_path / "a")
    part.write([CONTENT], 0)
    (tmp_path / PART).unlink()
    if how == "replaced":
        (tmp_path / PART).write_bytes(b"another's")
    with pytest.raises(FetchError, match="removed or replaced") as caught:
        part.place(len(CONTENT))
    assert not caught.value.is_permanent
    part.remove()
    assert sorted(os.listdir(tmp_path)) == ([PART] if how == "replaced" else [])


def test_a_part_that_is_a_link_is_not_written_through(tmp_path: Path):
    (tmp_path / "victim").write_bytes(b"mine")
    os.symlink(tmp_path / "victim", tmp_path / PART)
    with pytest.raises(FetchError):
        part_of(tmp_path / "a").open()
    assert (tmp_path / "victim").read_bytes() == b"mine"


def test_a_disk_that_takes_no_more_is_said_to_be_full(tmp_path: Path):
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from janagent.fetch.part import Part; from janagent.fetch.place import Place\n"
        "from janagent.fetch.plan import RemoteFile\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "part = Part(RemoteFile('a', 'http://x/a'), Place.at(Path(sys.argv[1]))); part.open()\n"
        "try: part.write([bytes(200_000)], 0)\n"
        "except Exception as error: print(error.code)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "disk_full\n"
