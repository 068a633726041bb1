"""`janagent pull`: a manifest is written, never over anything, and only where somebody will act on it."""

import json
from pathlib import Path

import pytest

from janagent.cli.output import Failure
from janagent.cli.pull import manifest, name_of, write
from tests.cli.conftest import Run


@pytest.mark.parametrize(
    ("origin", "name"),
    [
        ("TheBloke/zephyr-7B-beta-GGUF", "zephyr-7B-beta-GGUF"),
        ("owner/repo@v1.0", "repo"),
        ("https://huggingface.co/owner/repo", "repo"),
        ("https://huggingface.co/owner/repo/resolve/main/a.b.Q4_0.gguf?download=true", "a.b.Q4_0"),
        ("http://nas.local/models/My%20Model.GGUF", "My-20Model"),
        ("hf.co/a/b-GGUF", "b-GGUF"),
        ("huggingface.co/a/b/blob/main/c.Q4_0.gguf", "c.Q4_0"),
    ],
)
def test_a_model_is_called_after_its_repo_or_file(origin: str, name: str):
    assert name_of(origin) == name


def test_the_manifest_says_what_was_asked_for_and_no_more():
    said = json.loads(manifest("owner/repo", file="x.gguf", import_format=None))
    assert said == {"origin": "owner/repo", "download_url": "x.gguf"}


@pytest.mark.parametrize(
    ("origin", "file", "import_format"),
    [
        ("not a place", None, None),
        ("example.com", None, None),
        ("https://api.openai.com/v1", None, None),
        ("owner/repo", "../x.gguf", None),
        ("owner/repo", None, "zip"),
    ],
)
def test_what_cannot_be_fetched_is_refused_before_anything_is_written(
    origin: str, file: str | None, import_format: str | None
):
    with pytest.raises(Failure):
        manifest(origin, file=file, import_format=import_format)


def test_nothing_is_written_over(tmp_path: Path):
    path = write(b"{}", models=tmp_path, name="a")
    assert path == tmp_path / "a" / "a.json"
    with pytest.raises(Failure, match="is there already"):
        write(b"other", models=tmp_path, name="a")
    assert path.read_bytes() == b"{}"


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", ""])
def test_a_name_is_a_plain_file_name(tmp_path: Path, name: str):
    with pytest.raises(Failure):
        write(b"{}", models=tmp_path / "models", name=name)
    assert list(tmp_path.iterdir()) == []


def test_without_a_daemon_nothing_is_written(cli: Run, root: Path):
    done = cli("pull", "owner/repo", "--root", root)
    assert done.returncode != 0
    assert "janagent serve" in done.stderr
    assert list((root / "models").iterdir()) == []
