import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from janagent import paths


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_default_root_is_janroot_at_home(home: Path):
    assert paths.default_root() == home / "janroot"
    assert paths.models_dir(paths.default_root()) == home / "janroot" / "models"


def test_the_users_folders_lie_below_home(home: Path):
    for place in (paths.config_dir(), paths.state_dir(), paths.log_dir()):
        assert place.is_relative_to(home)
        assert "janagent" in place.parts


def test_naming_a_place_creates_nothing(home: Path):
    paths.config_file()
    paths.log_file(home / "root")
    paths.lock_file(home / "root")
    assert list(home.iterdir()) == []


def test_the_lock_and_the_log_lie_outside_the_root_so_that_a_disk_can_be_unmounted(home: Path):
    root = home / "root"
    assert not paths.lock_file(root).is_relative_to(root)
    assert not paths.log_file(root).is_relative_to(root)


def test_two_paths_to_one_root_share_a_lock(home: Path):
    (home / "root").mkdir()
    (home / "link").symlink_to(home / "root")
    assert paths.lock_file(home / "link") == paths.lock_file(home / "root")


def test_two_roots_of_one_name_have_a_lock_each(home: Path):
    assert paths.lock_file(home / "a" / "root") != paths.lock_file(home / "b" / "root")


@pytest.mark.parametrize("name", ["root with spaces", "корень", "...", "x" * 200, "a\nb"])
def test_any_folder_name_gives_a_plain_file_name(home: Path, name: str):
    made = paths.root_name(home / name)
    assert made.isascii()
    assert len(made) < 60
    assert not set(made) & set("/ \n")


def test_the_socket_folder_is_private_and_goes_away_with_what_is_in_it(home: Path):
    with paths.socket_folder() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "left.sock").touch()
    assert not folder.exists()


def test_the_socket_folder_is_under_the_sessions_runtime_folder(home: Path, monkeypatch: pytest.MonkeyPatch):
    with tempfile.TemporaryDirectory(dir="/tmp") as runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        with paths.socket_folder() as folder:
            assert folder.parent == Path(runtime)


def test_a_deep_temporary_folder_still_gives_a_path_that_a_socket_can_be_bound_to(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    deep = home / ("d" * 100)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    monkeypatch.setenv("TMPDIR", str(deep))
    monkeypatch.setattr(tempfile, "tempdir", None)  # the standard library remembers its first answer
    with paths.socket_folder() as folder:
        name = str(folder / ("s" * paths.SOCKET_NAME_BYTES))
        assert len(os.fsencode(name)) <= 103
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(name)


def test_a_private_folder_is_made_with_its_parents(home: Path):
    made = paths.make_private(home / "a" / "b")
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert paths.make_private(made) == made
