"""What a fetch brings is enough for a model to run, or the fetch says before it begins why it cannot be."""

from pathlib import Path
from typing import Any

import pytest

from janagent.fetch.faults import FetchError
from tests.daemons import Daemon, until
from tests.fetch.hosting import REPO, tree
from tests.fetch.hub import TestHub
from tests.fetch.test_importers import names
from tests.gguf_files import write_model, write_projector, write_split

PARTS = [f"m.Q4_K_M-{part:05d}-of-00003.gguf" for part in (1, 2, 3)]


@pytest.mark.parametrize(
    ("repo", "fields", "said"),
    [
        (PARTS[:2], {}, "no whole model"),
        (PARTS[:2], {"import_format": "thebloke"}, "no whole model"),
        (PARTS[:2], {"download_url": PARTS[0]}, "2 of the 3 parts of m.Q4_K_M"),
        ([*PARTS[:2], "x.gguf"], {"files": ("m.*",)}, "2 of the 3 parts"),
        (["mmproj-f16.gguf", "README.md"], {}, "only mmproj-f16.gguf"),
        (["m-lora.gguf"], {"import_format": "thebloke"}, "name it in download_url"),
    ],
)
def test_a_repo_that_no_model_can_come_of_is_refused(repo: Any, fields: Any, said: str) -> None:
    with pytest.raises(FetchError, match=said) as caught:
        names(repo, **fields)
    assert (caught.value.code, caught.value.is_permanent) == ("no_gguf", True)


def test_a_file_with_a_suspicious_name_comes_when_it_is_named() -> None:
    assert names(["m-lora-merged.gguf"], download_url="m-lora-merged.gguf") == ["m-lora-merged.gguf"]


def test_a_part_that_files_names_brings_its_set() -> None:
    assert names([*PARTS, "x.gguf"], files=(PARTS[0],)) == PARTS


def test_of_a_repo_with_models_in_folders_only_one_is_chosen_to_lie_beside_the_manifest() -> None:
    repo = ["Q2_K/m.Q2_K.gguf", "Q4_K_M/m.Q4_K_M.gguf", "mmproj/mmproj-f16.gguf", "README.md"]
    assert names(repo, import_format="default") == ["m.Q4_K_M.gguf", "mmproj-f16.gguf"]


def test_one_model_at_the_top_is_enough_for_the_whole_of_a_repo() -> None:
    repo = ["small.gguf", "Q2_K/m.Q2_K.gguf", "Q4_K_M/m.Q4_K_M.gguf"]
    assert names(repo, import_format="default") == repo


def test_a_json_file_that_files_names_comes_and_the_model_is_whole(
    online: Daemon, hub: TestHub, starter: Path
) -> None:
    hub.add_repo(REPO, {"smol.gguf": starter, "config.json": b"{}", ".gitattributes": b"*.gguf lfs"})
    online.drop("smol", {"origin": REPO, "files": ["*.gguf", "config.json", ".gitattributes"]})
    online.wait_state("smol", "running")
    assert "smol/config.json" in tree(online.models)


def test_the_whole_of_a_repo_with_models_in_folders_is_one_model(
    online: Daemon, hub: TestHub, tmp_path: Path
) -> None:
    files = {
        f"{tag}/tiny.{tag}.gguf": write_model(tmp_path / tag, quantization=tag) for tag in ("Q4_0", "Q8_0")
    }
    hub.add_repo("owner/folders", files)
    online.drop("tiny", {"origin": "owner/folders", "import_format": "default"})
    online.wait_state("tiny", "running")
    status, listed = online.call("GET", "/v1/models")
    assert (status, [model["id"] for model in listed["data"]]) == (200, ["tiny"])
    assert tree(online.models) == ["tiny/tiny.Q4_0.gguf", "tiny/tiny.json"]


def test_a_repo_of_projectors_fails_before_a_byte_is_fetched(
    online: Daemon, hub: TestHub, tmp_path: Path
) -> None:
    hub.add_repo(REPO, {"mmproj-f16.gguf": write_projector(tmp_path / "p"), "README.md": b"# p"})
    online.drop("p", {"origin": REPO})
    model = online.wait_state("p", "failed")
    assert model["error"]["code"] == "no_gguf"
    assert tree(online.models) == ["p/p.json"]
    assert not any(request.bytes_sent for request in hub.requests)


def test_a_part_that_was_lost_is_fetched_alone(online: Daemon, hub: TestHub, tmp_path: Path) -> None:
    parts = write_split(tmp_path / "made", "tiny", parts=3)
    hub.add_repo(REPO, {path.name: path for path in parts})
    folder = online.drop("tiny", {"origin": REPO})
    online.wait_state("tiny", "downloaded", "running")
    online.stop()
    (folder / parts[1].name).unlink()
    hub.requests.clear()
    online.start()
    online.wait_state("tiny", "downloaded", "running")
    assert (folder / parts[1].name).read_bytes() == parts[1].read_bytes()
    assert [hub.bytes_sent(path.name) for path in parts] == [0, parts[1].stat().st_size, 0]


def test_what_came_and_is_no_model_fails_and_says_so(online: Daemon, hub: TestHub, tmp_path: Path) -> None:
    write_projector(tmp_path / "p")
    hub.add_repo(REPO, {"innocent.gguf": tmp_path / "p"})
    online.drop("p", {"origin": REPO})
    model = online.wait_state("p", "failed")
    assert model["error"]["code"] == "not_enough"
    assert "all was downloaded, and it is not enough: no model file" in model["error"]["message"]
    until(lambda: online.children() == [], what="nothing is fetched again")
