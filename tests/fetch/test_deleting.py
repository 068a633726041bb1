"""A model is deleted while the fetch of another one, in the same folder, counts on files of it."""

from pathlib import Path

import pytest

from tests.daemons import Daemon, until
from tests.fetch.hub import TestHub
from tests.gguf_files import write_model

REPO = "owner/pair"


@pytest.mark.parametrize("common", ["tokenizer.bin", "small.gguf"])
def test_what_another_fetch_counts_on_stays(
    online: Daemon, hub: TestHub, tmp_path: Path, common: str
) -> None:
    """Both a file beside the model, and one that is a model of its own."""
    write_model(tmp_path / "small")
    write_model(tmp_path / "big")
    with (tmp_path / "big").open("ab") as file:
        file.write(bytes(30_000_000))
    contents = {"tokenizer.bin": b"tokens", "small.gguf": tmp_path / "small", "big.gguf": tmp_path / "big"}
    hub.add_repo(REPO, contents)
    hub.file(REPO, "big.gguf").slow_bytes_per_s = 1_500_000
    folder = online.drop("a", {"origin": REPO, "files": sorted({"small.gguf", common})})
    online.wait_state("a", "downloaded", "running")
    (folder / "b.json").write_text(f'{{"origin": "{REPO}", "files": ["big.gguf", "{common}"]}}')
    until(lambda: list(folder.glob("big.gguf.*.part")), what="the second fetch runs")
    assert online.call("DELETE", "/v1/models/a")[0] == 200
    hub.file(REPO, "big.gguf").slow_bytes_per_s = None
    online.wait_state("b", "downloaded", "running", "failed")
    assert online.model("b")["state"] in ("downloaded", "running"), online.model("b")
    assert sorted(path.name for path in folder.iterdir()) == sorted(["b.json", "big.gguf", common])
    assert hub.bytes_sent(common) == (folder / common).stat().st_size, "it was fetched once"
