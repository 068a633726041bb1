"""Which binary belongs to which manifest: the rules of the contract, without any file."""

import pytest

from janagent.folder.estimate import Budget
from janagent.folder.gguf import Kind
from janagent.folder.modelsets import Candidate
from janagent.folder.pairing import Choice, Claim, Offer, choose
from tests.folder.candidates import MB, model, other, part, projector


def pick(
    stem: str,
    *candidates: Candidate,
    download: str | None = None,
    files: tuple[str, ...] = (),
    budget_bytes: int = 1 << 50,
) -> Choice:
    stems = (stem,) if isinstance(stem, str) else stem
    return choose(Claim(stems, download, files), Offer(candidates), budget=lambda: Budget(budget_bytes))


def picked(choice: Choice) -> str:
    assert choice.model is not None, choice
    return choice.model.names[0]


# Rule 1


def test_the_file_named_by_download_url_wins_over_the_same_stem() -> None:
    choice = pick("zephyr", model("zephyr.gguf"), model("other.Q2_K.gguf"), download="other.Q2_K.gguf")
    assert picked(choice) == "other.Q2_K.gguf"


def test_a_named_file_that_is_absent_is_missing_whatever_else_is_there() -> None:
    assert pick("zephyr", model("zephyr.gguf"), download="x.gguf").absent == ("x.gguf",)


def test_a_named_file_is_found_without_its_folder_and_in_other_case() -> None:
    assert (
        picked(pick("m", model("X.Q2_K.GGUF"), model("y.gguf"), download="sub/x.q2_k.gguf")) == "X.Q2_K.GGUF"
    )


def test_a_named_part_stands_for_its_whole_set() -> None:
    parts = [part("big", n, 3) for n in (1, 2, 3)]
    choice = pick("m", *parts, model("y.gguf"), download="big-00001-of-00003.gguf")
    assert choice.model is not None
    assert len(choice.model.names) == 3


def test_a_named_file_that_is_no_model_is_refused() -> None:
    assert pick("m", projector("mm.gguf"), model("y.gguf"), download="mm.gguf").refused == ("mm.gguf",)


# Rule 2


def test_files_narrow_the_choice() -> None:
    both = model("a.gguf"), model("b.gguf", width=128)
    assert picked(pick("m", *both, files=("b.gguf",))) == "b.gguf"
    assert picked(pick("a", *both, files=("b*",))) == "b.gguf"


def test_every_literal_name_and_every_glob_must_find_something() -> None:
    choice = pick("m", model("a.gguf"), files=("a.gguf", "b.gguf", "*.proj"))
    assert choice.absent == ("b.gguf", "*.proj")


def test_files_must_be_there_even_beside_a_download_url() -> None:
    choice = pick("m", model("a.gguf"), download="a.gguf", files=("mmproj.gguf",))
    assert choice.absent == ("mmproj.gguf",)


def test_files_with_no_model_among_them_are_refused() -> None:
    choice = pick("m", model("a.gguf"), other("readme.md"), files=("readme.md",))
    assert choice.refused == ("readme.md",)


def test_files_may_name_a_folder_below() -> None:
    choice = pick("m", model("Q4_K_M/x.gguf"), model("beside.gguf"), files=("Q4_K_M/*.gguf",))
    assert picked(choice) == "Q4_K_M/x.gguf"


def test_a_glob_without_a_slash_stays_in_the_folder() -> None:
    assert pick("m", model("below/x.gguf"), files=("*.gguf",)).absent == ("*.gguf",)


# Rule 3


def test_the_same_stem_wins() -> None:
    assert picked(pick("a", model("a.gguf"), model("b.gguf"))) == "a.gguf"


@pytest.mark.parametrize("name", ["zephyr.gguf", "zephyr.bin", "ZEPHYR.GGUF", "zephyr", "zephyr.proj"])
def test_suffix_and_case_do_not_matter(name: str) -> None:
    assert picked(pick("zephyr", model(name), model("b.gguf"))) == name


def test_of_two_with_the_same_stem_the_real_model_is_meant() -> None:
    choice = pick("a", other("a.bin", Kind.LFS_POINTER), model("a.gguf"), model("b.gguf", width=8))
    assert picked(choice) == "a.gguf"


def test_else_a_name_that_starts_with_the_stem() -> None:
    assert picked(pick("phi-2", model("phi-2.Q4_0.gguf"), model("phi-25.gguf", width=8))) == "phi-2.Q4_0.gguf"


def test_else_the_only_one_with_the_tag_of_the_stem() -> None:
    files = model("x.Q2_K.gguf"), model("x.Q3_K_L.gguf"), model("x.Q3_K_M.gguf")
    assert picked(pick("llama2-7b-gguf-Q2", *files)) == "x.Q2_K.gguf"
    assert picked(pick("llama2-7b-gguf-Q3_K_L", *files)) == "x.Q3_K_L.gguf"
    assert picked(pick("llama2-7b-gguf-q3_k_m", *files)) == "x.Q3_K_M.gguf"


def test_a_tag_may_be_in_the_header_alone() -> None:
    files = model("a.bin", quantization="Q2_K", width=8), model("b.bin", quantization="Q5_0")
    assert picked(pick("llava-ggml-Q5", *files)) == "b.bin"


def test_several_of_the_wanted_tag_are_chosen_among_with_a_warning() -> None:
    choice = pick("m-Q4", model("x.Q2_K.gguf"), model("x.Q4_0.gguf"), model("x.Q4_K_M.gguf"))
    assert picked(choice) == "x.Q4_K_M.gguf"
    assert "x.Q4_0.gguf" in choice.warnings[0]
    assert "x.Q2_K.gguf" not in choice.warnings[0]


# Rule 4


def test_the_only_model_in_the_folder_is_taken() -> None:
    assert picked(pick("anything", model(".bin"), projector("ggml"), other("README.md"))) == ".bin"


def test_the_specification_s_two_manifests_share_one_bare_binary() -> None:
    for stem in ("llama2-7b-gguf-Q2", "llama2-7b-gguf-Q3_K_L"):
        assert picked(pick(stem, model(".bin"))) == ".bin"


def test_the_only_model_is_not_taken_when_its_name_carries_another_tag() -> None:
    assert pick("m-Q5", model("x.Q2_K.gguf")) == Choice()


def test_a_folder_without_a_model_gives_nothing() -> None:
    assert pick("m") == pick("m", other("README.md"), projector("mm.gguf")) == Choice()


def test_a_lone_file_that_only_calls_itself_a_model_is_taken_so_that_its_fault_is_seen() -> None:
    assert picked(pick("m", other("x.gguf", Kind.HTML))) == "x.gguf"
    assert pick("m", other("page.html", Kind.HTML)) == Choice()


# Rule 5


def test_several_quantizations_of_one_model_are_chosen_among() -> None:
    names = "x.Q8_0.gguf", "x.Q4_K_M.gguf", "x.Q2_K.gguf"
    choice = pick("m", *(model(name) for name in names))
    assert picked(choice) == "x.Q4_K_M.gguf"
    assert "x.Q2_K.gguf" in choice.warnings[0]
    assert "x.Q8_0.gguf" in choice.warnings[0]


def test_a_quantization_that_does_not_fit_the_memory_is_not_chosen() -> None:
    files = model("x.Q4_K_M.gguf", mb=4000), model("x.Q2_K.gguf", mb=2000), model("x.Q3_K_M.gguf", mb=3000)
    assert picked(pick("m", *files, budget_bytes=3600 * MB)) == "x.Q3_K_M.gguf"
    assert picked(pick("m", *files, budget_bytes=1)) == "x.Q2_K.gguf"


def test_a_whole_quantization_is_preferred_to_one_that_is_still_being_copied() -> None:
    growing = Candidate("x.Q4_K_M.gguf", Kind.MODEL, 5, model("x").header)
    assert picked(pick("m", growing, model("x.Q8_0.gguf"))) == "x.Q8_0.gguf"


def test_different_models_are_rivals_and_all_are_named() -> None:
    assert pick("m", model("a.gguf"), model("b.gguf", width=128)).rivals == ("a.gguf", "b.gguf")


# Split sets


def test_a_split_set_is_picked_as_one_model() -> None:
    parts = [part("big", n, 3) for n in (3, 1, 2)]
    assert picked(pick("big", *parts, model("other.gguf"))) == "big-00001-of-00003.gguf"


# Projectors


def test_a_projector_goes_with_the_model_it_fits() -> None:
    choice = pick("a", model("a.gguf"), projector("mm-wide.gguf", width=128), projector("mm.gguf"))
    assert choice.projector == "mm.gguf"


def test_a_projector_that_fits_nothing_is_not_used() -> None:
    assert pick("a", model("a.gguf"), projector("mm.gguf", width=128)).projector is None


def test_of_several_that_fit_f16_comes_first_then_bf16_q8_and_f32() -> None:
    order = ["F16", "BF16", "Q8_0", "F32"]
    for count in range(4, 0, -1):
        offered = [projector(f"mm-{tag}.gguf", quantization=tag) for tag in reversed(order[4 - count :])]
        assert pick("a", model("a.gguf"), *offered).projector == f"mm-{order[4 - count]}.gguf"


def test_among_equals_the_projector_with_the_model_s_name_is_taken() -> None:
    mine, another = projector("mmproj-b-f16.gguf"), projector("mmproj-a-f16.gguf")
    assert pick("b", model("b.gguf"), model("a.gguf"), another, mine).projector == "mmproj-b-f16.gguf"


def test_a_projector_that_does_not_say_what_it_fits_is_used_when_alone() -> None:
    old = projector("mm.gguf", width=None)
    assert pick("a", model("a.gguf"), old).projector == "mm.gguf"
    assert pick("a", model("a.gguf"), old, projector("mm2.gguf", width=None)).projector is None


def test_files_decide_about_the_projector_too() -> None:
    offered = model("a.gguf"), projector("mm.gguf"), projector("mm2.gguf")
    assert pick("a", *offered, files=("a.gguf",)).projector is None
    assert pick("a", *offered, files=("a.gguf", "mm2.gguf")).projector == "mm2.gguf"


def test_a_listed_projector_that_does_not_fit_is_warned_about() -> None:
    choice = pick("a", model("a.gguf"), projector("mm.gguf", width=8), files=("a.gguf", "mm.gguf"))
    assert choice.projector is None
    assert "mm.gguf does not fit a.gguf" in choice.warnings[0]
