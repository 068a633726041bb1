"""The walk: ignored names, links, identities, what vanished, and that little is read again."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from janagent.folder.listing import is_ignored
from janagent.folder.tree import Tree
from tests.folder.desks import without_privileges


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "root" / "models"
    folder.mkdir(parents=True)
    return folder


def _write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def _files(tree: Tree) -> list[str]:
    return sorted(
        f"{folder.name}/{file.name}".lstrip("/")
        for folder in tree.folders.values()
        for file in folder.files.values()
        if file.vanished_at is None and not file.broken
    )


def _problems(tree: Tree) -> str:
    return "\n".join(problem for folder in tree.folders.values() for problem in folder.problems)


IGNORED = """
.janagent .cache .git .x.json x.part X.PART a.crdownload a.download a.partial a.tmp a.aria2 .a.json.swp
a.swp a.json~ .GGUF
"""


@pytest.mark.parametrize("name", IGNORED.split())
def test_ignored_names(name: str) -> None:
    assert is_ignored(name)


@pytest.mark.parametrize("name", [".gguf", ".bin", ".proj", "a.gguf", "part", "a.part.json", "ggml", "~a"])
def test_names_that_are_not_ignored(name: str) -> None:
    assert not is_ignored(name)


def test_a_full_read_finds_files_at_any_depth(models: Path) -> None:
    deep = models
    for n in range(60):
        deep = deep / f"level{n}"
    _write(deep / "x.json")
    _write(models / "a" / ".janagent" / "y.json")
    tree = Tree(str(models))
    tree.read(None, now=0.0)
    assert _files(tree) == [str((deep / "x.json").relative_to(models))]


def test_a_read_without_change_says_so(models: Path) -> None:
    _write(models / "a" / "x.json")
    tree = Tree(str(models))
    assert tree.read(None, now=0.0) == {"", "a"}
    assert tree.read(None, now=1.0) == set()
    assert tree.read(["a"], now=2.0) == set()


def test_a_named_folder_is_read_and_no_other(models: Path) -> None:
    _write(models / "a" / "x.json")
    _write(models / "b" / "x.json")
    tree = Tree(str(models))
    tree.read(None, now=0.0)
    _write(models / "a" / "new.json")
    _write(models / "b" / "new.json")
    assert tree.read(["a"], now=1.0) == {"a"}
    assert _files(tree) == ["a/new.json", "a/x.json", "b/x.json"]


def test_an_unknown_folder_is_found_through_the_one_above(models: Path) -> None:
    tree = Tree(str(models))
    tree.read(None, now=0.0)
    _write(models / "a" / "b" / "c" / "x.json")
    tree.read(["a/b/c"], now=1.0)
    assert _files(tree) == ["a/b/c/x.json"]


def test_a_vanished_file_stays_for_a_second(models: Path) -> None:
    file = _write(models / "a" / "x.json")
    tree = Tree(str(models))
    tree.read(None, now=0.0)
    file.unlink()
    assert tree.read(["a"], now=10.0) == {"a"}
    assert tree.folders["a"].files["x.json"].vanished_at == 10.0
    assert tree.read([], now=10.9) == set()
    assert tree.read([], now=11.0) == {"a"}
    assert tree.folders["a"].files == {}


def test_a_file_that_comes_back_in_time_was_never_gone(models: Path) -> None:
    file = _write(models / "a" / "x.json")
    tree = Tree(str(models))
    tree.read(None, now=0.0)
    file.rename(models / "elsewhere.json")
    tree.read(["a"], now=10.0)
    (models / "elsewhere.json").rename(file)
    tree.read(["a"], now=10.5)
    assert tree.folders["a"].files["x.json"].vanished_at is None
    tree.read(None, now=20.0)
    assert _files(tree) == ["a/x.json"]


def test_a_folder_that_is_renamed_shows_its_files_at_the_new_place(models: Path) -> None:
    _write(models / "a" / "deep" / "x.json")
    tree = Tree(str(models))
    tree.read(None, now=0.0)
    (models / "a").rename(models / "b")
    tree.read([""], now=1.0)
    assert _files(tree) == ["b/deep/x.json"]
    tree.read([], now=2.0)
    assert sorted(tree.folders) == ["", "b", "b/deep"]


def test_a_folder_moved_inside_another_is_found_there_even_when_the_old_place_is_not_looked_at(
    models: Path,
) -> None:
    _write(models / "a" / "x.json")
    (models / "b").mkdir()
    tree = Tree(str(models))
    tree.read(None, now=0.0)
    (models / "a").rename(models / "b" / "a")
    tree.read(["b"], now=1.0)
    assert _files(tree) == ["b/a/x.json"]


def test_a_folder_deleted_and_made_again_at_once_is_read_anew(models: Path) -> None:
    _write(models / "a" / "old.json")
    tree = Tree(str(models))
    tree.read(None, now=0.0)
    shutil.rmtree(models / "a")
    _write(models / "a" / "new.json")
    tree.read(["", "a"], now=1.0)
    assert _files(tree) == ["a/new.json"]


def test_a_folder_moved_away_and_back_is_found_there_again(models: Path) -> None:
    """With the inode that it had, so that the folder above looks as before."""
    _write(models / "p" / "a" / "x.json")
    (models / "q").mkdir()
    tree = Tree(str(models))
    tree.read(None, now=0.0)
    (models / "p" / "a").rename(models / "q" / "b")
    tree.read(["q"], now=1.0)
    assert _files(tree) == ["q/b/x.json"]
    (models / "q" / "b").rename(models / "p" / "a")
    tree.read(["p", "q"], now=1.5)
    assert _files(tree) == ["p/a/x.json"]


def test_a_file_overwritten_in_place_gets_a_new_identity(models: Path) -> None:
    file = _write(models / "x.json", "1")
    tree = Tree(str(models))
    tree.read(None, now=0.0)
    before = tree.folders[""].files["x.json"].identity
    file.write_text("22")
    assert tree.read([""], now=1.0) == {""}
    after = tree.folders[""].files["x.json"]
    assert after.identity[1] == before[1]
    assert after.identity != before
    assert after.since == 1.0


def test_a_control_file_marks_its_download_as_unfinished(models: Path) -> None:
    _write(models / "x.gguf")
    control = _write(models / "x.gguf.aria2")
    tree = Tree(str(models))
    tree.read(None, now=0.0)
    folder = tree.folders[""]
    assert folder.is_unfinished(folder.files["x.gguf"])
    control.unlink()
    assert tree.read([""], now=1.0) == {""}
    assert not folder.is_unfinished(folder.files["x.gguf"])


def test_pipes_and_sockets_are_no_files(models: Path) -> None:
    os.mkfifo(models / "pipe.json")
    (models / "link.json").symlink_to(models / "pipe.json")
    tree = Tree(str(models))
    tree.read(None, now=0.0)
    assert _files(tree) == []


def test_a_name_that_is_not_unicode_is_reported_and_hides_nothing(models: Path) -> None:
    Path(os.fsdecode(os.fsencode(models) + b"/bad\xff.json")).write_text("{}")
    _write(models / "good.json")
    tree = Tree(str(models))
    tree.read(None, now=0.0)
    assert _files(tree) == ["good.json"]
    assert "not valid UTF-8" in _problems(tree)


# Links


def test_a_link_to_a_file_elsewhere_is_that_file(models: Path, tmp_path: Path) -> None:
    target = _write(tmp_path / "far" / "big.gguf", "12345")
    (models / "x.gguf").symlink_to(target)
    tree = Tree(str(models))
    tree.read(None, now=0.0)
    file = tree.folders[""].files["x.gguf"]
    assert file.size_bytes == 5
    assert tree.folders[""].real_path(file) == str(target)
    assert tree.links() == {str(target): {"x.gguf"}}


def test_a_link_to_a_folder_elsewhere_shows_its_files_below_the_link(models: Path, tmp_path: Path) -> None:
    _write(tmp_path / "far" / "sub" / "x.json")
    (models / "link").symlink_to(tmp_path / "far")
    tree = Tree(str(models))
    tree.read(None, now=0.0)
    assert _files(tree) == ["link/sub/x.json"]
    assert tree.links() == {str(tmp_path / "far"): {"link"}}
    _write(tmp_path / "far" / "sub" / "y.json")
    tree.read(["link/sub"], now=1.0)
    assert _files(tree) == ["link/sub/x.json", "link/sub/y.json"]


def test_a_new_and_a_removed_folder_link_are_noticed(models: Path, tmp_path: Path) -> None:
    _write(tmp_path / "far" / "x.json")
    tree = Tree(str(models))
    tree.read(None, now=0.0)
    (models / "link").symlink_to(tmp_path / "far")
    tree.read([""], now=1.0)
    assert _files(tree) == ["link/x.json"]
    (models / "link").unlink()
    tree.read([""], now=2.0)
    assert _files(tree) == []
    assert tree.links() == {}


def test_two_links_to_one_folder_show_it_once(models: Path, tmp_path: Path) -> None:
    _write(tmp_path / "far" / "x.json")
    (models / "b").symlink_to(tmp_path / "far")
    (models / "a").symlink_to(tmp_path / "far")
    tree = Tree(str(models))
    tree.read(None, now=0.0)
    assert _files(tree) == ["a/x.json"]
    (models / "a").unlink()
    tree.read([""], now=1.0)
    assert _files(tree) == ["b/x.json"]


def test_a_link_to_a_folder_within_models_adds_nothing(models: Path) -> None:
    _write(models / "real" / "x.json")
    (models / "a").symlink_to(models / "real")
    tree = Tree(str(models))
    tree.read(None, now=0.0)
    assert _files(tree) == ["real/x.json"]
    assert tree.links() == {}


def test_loops_are_reported_and_not_followed(models: Path, tmp_path: Path) -> None:
    _write(models / "a" / "x.json")
    (models / "a" / "self").symlink_to(models / "a")
    (models / "a" / "up").symlink_to(models)
    (models / "a" / "far-up").symlink_to(tmp_path)
    (models / "a" / "knot").symlink_to(models / "a" / "knot")
    tree = Tree(str(models))
    tree.read(None, now=0.0)
    assert _files(tree) == ["a/x.json"]
    for name in ("self", "up", "far-up"):
        assert f"a/{name}: the link leads back" in _problems(tree)
    assert "a/knot: the link leads to" in _problems(tree)


def test_a_link_out_and_back_in_is_read_once(models: Path, tmp_path: Path) -> None:
    _write(tmp_path / "far" / "y.json")
    (tmp_path / "far" / "back").symlink_to(models)
    (models / "out").symlink_to(tmp_path / "far")
    _write(models / "x.json")
    tree = Tree(str(models))
    tree.read(None, now=0.0)
    assert _files(tree) == ["out/y.json", "x.json"]


def test_a_broken_link_is_reported_until_its_target_comes(models: Path, tmp_path: Path) -> None:
    (models / "x.gguf").symlink_to(tmp_path / "later.gguf")
    tree = Tree(str(models))
    tree.read(None, now=0.0)
    assert tree.folders[""].files["x.gguf"].broken == str(tmp_path / "later.gguf")
    assert "is not there" in _problems(tree)
    _write(tmp_path / "later.gguf")
    assert tree.read([""], now=1.0) == {""}
    assert not tree.folders[""].files["x.gguf"].broken
    assert _problems(tree) == ""


def test_a_link_to_a_folder_that_comes_later_is_followed_then(models: Path, tmp_path: Path) -> None:
    (models / "link").symlink_to(tmp_path / "later")
    tree = Tree(str(models))
    tree.read(None, now=0.0)
    _write(tmp_path / "later" / "x.json")
    tree.read([""], now=1.0)
    assert _files(tree) == ["link/x.json"]


def test_an_unreadable_folder_keeps_what_it_had_and_is_reported() -> None:
    with tempfile.TemporaryDirectory() as made:
        models = Path(made) / "models"
        _write(models / "a" / "x.json")
        _write(models / "b" / "y.json")
        for folder in (Path(made), models, models / "b"):
            folder.chmod(0o755)
        (models / "a").chmod(0)
        tree = Tree(str(models))
        with without_privileges():
            tree.read(None, now=0.0)
            assert _files(tree) == ["b/y.json"]
            assert "a: the folder cannot be read (Permission denied)" in _problems(tree)
        (models / "a").chmod(0o755)
        tree.read(["a"], now=1.0)
        assert _files(tree) == ["a/x.json", "b/y.json"]
        assert _problems(tree) == ""
        (models / "a").chmod(0)
        with without_privileges():
            tree.read(["a"], now=2.0)
            tree.read(None, now=9.0)
        assert _files(tree) == ["a/x.json", "b/y.json"]
        (models / "a").chmod(0o755)


def test_a_path_that_is_too_long_to_open_hides_nothing_else(models: Path) -> None:
    folder = os.open(models, os.O_RDONLY)
    for _ in range(18):  # 18 times 250 characters are more than the 4096 that a path may have
        os.mkdir("d" * 250, dir_fd=folder)
        inner = os.open("d" * 250, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    _write(models / "x.json")
    tree = Tree(str(models))
    tree.read(None, now=0.0)
    assert _files(tree) == ["x.json"]


def test_a_models_folder_that_is_itself_a_link_is_followed(tmp_path: Path) -> None:
    _write(tmp_path / "disk" / "x.json")
    (tmp_path / "models").symlink_to(tmp_path / "disk")
    tree = Tree(str(tmp_path / "models"))
    tree.read(None, now=0.0)
    assert _files(tree) == ["x.json"]
