"""Which binary belongs to which manifest: the rules of the contract, without any file."""

import pytest

from janagent.folder.gguf import Header, Kind
from janagent.folder.pairing import Candidate, Choice, Claim, Offer, choose, stem_of
from janagent.folder.quantization import best_for, tag_of, tags_match

MB = 1_000_000


def model(name: str, *, mb: int = 100, width: int = 64, quantization: str | None = None) -> Candidate:
    header = Header(
        version=3,
        architecture="llama",
        required_bytes=mb * MB,
        quantization=quantization,
        block_count=2,
        embedding_length=width,
        head_count=4,
    )
    return Candidate(name, Kind.MODEL, mb * MB, header)


def part(name: str, number: int, count: int) -> Candidate:
    header = Header(
        version=3,
        architecture="llama" if number == 1 else "",
        required_bytes=MB,
        embedding_length=64 if number == 1 else None,
        split_count=count,
        split_no=number - 1,
    )
    kind = Kind.MODEL if number == 1 else Kind.PART
    return Candidate(f"{name}-{number:05d}-of-{count:05d}.gguf", kind, MB, header)


def projector(name: str, *, width: int | None = 64, quantization: str | None = None) -> Candidate:
    header = Header(
        version=3,
        architecture="clip",
        required_bytes=MB,
        is_projector=True,
        projector_embedding_length=width,
        quantization=quantization,
    )
    return Candidate(name, Kind.PROJECTOR, MB, header)


def other(name: str, kind: Kind = Kind.OTHER) -> Candidate:
    return Candidate(name, kind, 100)


def pick(
    stem: str,
    *candidates: Candidate,
    download: str | None = None,
    files: tuple[str, ...] = (),
    budget_bytes: int | None = None,
) -> Choice:
    stems = (stem,) if isinstance(stem, str) else stem
    return choose(Claim(stems, download, files), Offer(candidates), budget_bytes=budget_bytes)


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


def test_parts_are_one_model_whose_stem_has_no_number() -> None:
    parts = [part("big", n, 3) for n in (3, 1, 2)]
    (whole,) = Offer(parts).sets
    assert whole.names == tuple(f"big-{n:05d}-of-00003.gguf" for n in (1, 2, 3))
    assert whole.stem == "big"
    assert whole.absent == ()
    assert picked(pick("big", *parts, model("other.gguf"))) == "big-00001-of-00003.gguf"


def test_missing_parts_are_named() -> None:
    (whole,) = Offer([part("big", 1, 3), part("big", 3, 3)]).sets
    assert whole.absent == ("big-00002-of-00003.gguf",)


def test_without_part_one_the_set_is_there_and_part_one_is_absent() -> None:
    (whole,) = Offer([part("big", 2, 2)]).sets
    assert whole.names == ("big-00001-of-00002.gguf", "big-00002-of-00002.gguf")
    assert whole.absent == ("big-00001-of-00002.gguf",)


def test_a_name_like_a_part_does_not_make_a_whole_model_one() -> None:
    (whole,) = Offer([model("big-00001-of-00003.gguf")]).sets
    assert whole.absent == ()
    assert not whole.is_misnamed


def test_a_first_part_without_a_number_in_its_name_is_misnamed() -> None:
    first = part("big", 1, 2)
    (whole,) = Offer([Candidate("big.gguf", first.kind, MB, first.header)]).sets
    assert whole.is_misnamed


def test_a_name_that_claims_99999_parts_names_only_a_few() -> None:
    (whole,) = Offer([part("big", 1, 99_999)]).sets
    assert len(whole.absent) == 10


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


# Names and tags


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.json", "a"),
        ("a.GGUF", "a"),
        ("zephyr-7b.Q2_K", "zephyr-7b.Q2_K"),
        (".gguf", ""),
        ("big-00002-of-00003.gguf", "big"),
        ("sub/a.bin", "a"),
    ],
)
def test_stems(name: str, stem: str) -> None:
    assert stem_of(name) == stem


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("zephyr-7b-beta.Q2_K", "Q2_K"),
        ("llama-70b-finetune-q5", "Q5"),
        ("x-IQ3_XXS", "IQ3_XXS"),
        ("model-f16", "F16"),
        ("model.fp16", "F16"),
        ("m-bf16", "BF16"),
        ("UD-Q4_K_XL", "Q4_K_XL"),
        ("gpt-oss-mxfp4", "MXFP4"),
        ("q4_k_m_v2", "Q4_K_M"),
        ("seq2seq", None),
        ("llama2-7b", None),
    ],
)
def test_tags(name: str, tag: str | None) -> None:
    assert tag_of(name) == tag


def test_a_short_tag_matches_its_variants_only() -> None:
    assert tags_match("Q2", "Q2_K")
    assert tags_match("Q4_K_M", "Q4_K_M")
    assert not tags_match("Q2", "IQ2_XS")
    assert not tags_match("Q4_K_M", "Q4_K_S")
    assert not tags_match("Q2", None)


def test_the_choice_for_a_machine_is_four_bits_then_more_then_fewer() -> None:
    def best(*tags: str) -> str | None:
        return best_for([s for tag in tags for s in Offer([model(f"x.{tag}.gguf")]).sets], None).tag

    assert best("Q8_0", "Q4_K_S", "Q4_K_M") == "Q4_K_M"
    assert best("Q8_0", "Q5_K_M", "Q2_K") == "Q5_K_M"
    assert best("F16", "Q8_0", "Q2_K") == "Q8_0"
    assert best("Q2_K", "Q3_K_M") == "Q3_K_M"
