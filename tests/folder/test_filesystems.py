"""What is known of file systems and of the limits of the system."""

import errno
import sys
from pathlib import Path

import pytest

from janagent.folder.filesystems import (
    filesystem_of,
    limit_sentence,
    tells_of_changes,
    type_at,
    unwatchable_sentence,
)


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "fuse.rclone", "9p", "vboxsf", "CIFS"]
)
def test_network_file_systems_are_not_trusted(kind: str) -> None:
    assert not tells_of_changes(kind)


@pytest.mark.parametrize(
    "kind", ["ext4", "btrfs", "xfs", "tmpfs", "apfs", "overlay", "fuseblk", "zfs", "vfat", ""]
)
def test_local_file_systems_are_trusted(kind: str) -> None:
    assert tells_of_changes(kind)


def test_a_path_lies_on_the_nearest_mount_above_it() -> None:
    mounts = [("/", "ext4"), ("/mnt", "xfs"), ("/mnt/nas", "nfs4"), ("/mnt/na", "cifs")]
    assert type_at("/mnt/nas/models", mounts) == "nfs4"
    assert type_at("/mnt/nasty", mounts) == "xfs"
    assert type_at("/home", mounts) == "ext4"


def test_of_two_mounts_at_one_place_the_later_counts_and_an_automounter_does_not() -> None:
    assert type_at("/x/y", [("/x", "ext4"), ("/x", "nfs")]) == "nfs"
    assert type_at("/x/y", [("/x", "nfs4"), ("/x", "autofs")]) == "nfs4"


def test_the_file_system_of_a_real_folder_is_known() -> None:
    if sys.platform.startswith("linux"):
        assert filesystem_of("/proc/self") == "proc"
    assert filesystem_of(str(Path.home()))


@pytest.mark.parametrize(
    ("code", "name"), [(errno.ENOSPC, "max_user_watches"), (errno.EMFILE, "max_user_instances")]
)
def test_a_limit_is_named_with_a_value_to_raise_it_to(code: int, name: str) -> None:
    sentence = limit_sentence(OSError(code, "limit reached"), 3.0)
    assert "every 3 s" in sentence
    if sys.platform.startswith("linux"):
        current = int(Path(f"/proc/sys/fs/inotify/{name}").read_text())
        assert f"fs.inotify.{name} ({current})" in sentence
        value = int(sentence.partition(f"sudo sysctl fs.inotify.{name}=")[2].split()[0])
        assert value >= 2 * current


def test_another_error_is_told_as_it_is() -> None:
    assert "No such device" in limit_sentence(OSError(errno.ENODEV, "No such device"), 3.0)


def test_a_polled_folder_is_named_with_the_reason() -> None:
    sentence = unwatchable_sentence("/mnt/nas", "nfs4", 3.0)
    assert "/mnt/nas" in sentence
    assert "nfs4" in sentence
