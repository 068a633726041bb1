"""Which quantization of a repo suits a machine."""

import pytest

from janagent.fetch.plan import RemoteFile
from janagent.fetch.quantizations import choose, offered, projector
from janagent.folder.estimate import Budget
from janagent.folder.quantization import Terms

GB = 10**9
# TheBloke/zephyr-7B-beta-GGUF, sizes in GB, rounded.
ZEPHYR = {
    "Q2_K": 3.08,
    "Q3_K_M": 3.52,
    "Q4_0": 4.11,
    "Q4_K_S": 4.14,
    "Q4_K_M": 4.37,
    "Q5_K_M": 5.13,
    "Q6_K": 5.94,
}
ZEPHYR |= {"Q8_0": 7.70}
FILES = [RemoteFile(f"zephyr-7b-beta.{tag}.gguf", "", int(size * GB)) for tag, size in ZEPHYR.items()]


@pytest.mark.parametrize(
    ("ram_gb", "gpu_gb", "tag"), [(64, 0, "Q4_K_M"), (64, 14, "Q8_0"), (4.3, 0, "Q3_K_M"), (1, 0, "Q2_K")]
)
def test_the_choice_depends_on_the_machine(ram_gb: float, gpu_gb: float, tag: str) -> None:
    best, note = choose(offered(FILES), Terms(Budget(int(ram_gb * GB), int(gpu_gb * GB))))
    assert best.tag == tag
    assert note.startswith(f"{tag} (")


def test_what_is_the_only_one_is_not_said_to_be_chosen() -> None:
    assert choose(offered(FILES[:1]), Terms(Budget(1)))[1] == "Q2_K (3.1 GB) is the only one there"


def test_a_split_quantization_is_one_choice_with_all_its_parts() -> None:
    files = [RemoteFile(f"m-Q4_K_M-{part:05d}-of-00002.gguf", "", 5) for part in (1, 2)]
    assert [(c.tag, c.size_bytes, len(c.files)) for c in offered(files)] == [("Q4_K_M", 10, 2)]


def test_a_projector_is_no_choice_and_f16_comes_first() -> None:
    files = [RemoteFile("mmproj-model-f32.gguf", ""), RemoteFile("mmproj-model-f16.gguf", "")]
    assert offered(files) == []
    assert projector(files) == files[1]


def test_importance_matrices_and_adapters_are_no_choice() -> None:
    names = ["m-imatrix.gguf", "m-lora-f16.gguf", "explora.Q4_0.gguf", "ggml-vocab-m.gguf"]
    assert [c.name for c in offered([RemoteFile(name, "") for name in names])] == ["explora.Q4_0.gguf"]


def test_part_of_a_split_quantization_is_no_choice() -> None:
    files = [RemoteFile("m-q4_0-00002-of-00002.gguf", "", 5), RemoteFile("m-q2_k.gguf", "", 4)]
    assert [c.tag for c in offered(files)] == ["Q2_K"]


def test_a_draft_model_beside_the_model_is_no_choice() -> None:
    names = {"MTP/mtp-m-Q4_K_M.gguf": 2, "UD-Q2_K_XL/m-UD-Q2_K_XL.gguf": 9, "m-Q8_0.gguf": 20}
    found = offered([RemoteFile(name, "", size) for name, size in names.items()])
    assert [c.tag for c in found] == ["Q2_K_XL", "Q8_0"]
