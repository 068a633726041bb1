"""Files of a folder put together as models."""

import pytest

from janagent.folder.modelsets import Candidate, model_sets, stem_of
from tests.folder.candidates import MB, model, part


def test_parts_are_one_model_whose_stem_has_no_number() -> None:
    parts = [part("big", n, 3) for n in (3, 1, 2)]
    (whole,) = model_sets(parts)
    assert whole.names == tuple(f"big-{n:05d}-of-00003.gguf" for n in (1, 2, 3))
    assert whole.stem == "big"
    assert whole.absent == ()


def test_missing_parts_are_named() -> None:
    (whole,) = model_sets([part("big", 1, 3), part("big", 3, 3)])
    assert whole.absent == ("big-00002-of-00003.gguf",)


def test_without_part_one_the_set_is_there_and_part_one_is_absent() -> None:
    (whole,) = model_sets([part("big", 2, 2)])
    assert whole.names == ("big-00001-of-00002.gguf", "big-00002-of-00002.gguf")
    assert whole.absent == ("big-00001-of-00002.gguf",)


def test_a_name_like_a_part_does_not_make_a_whole_model_one() -> None:
    (whole,) = model_sets([model("big-00001-of-00003.gguf")])
    assert whole.absent == ()
    assert not whole.is_misnamed


def test_a_first_part_without_a_number_in_its_name_is_misnamed() -> None:
    first = part("big", 1, 2)
    (whole,) = model_sets([Candidate("big.gguf", first.kind, MB, first.header)])
    assert whole.is_misnamed


def test_a_name_that_claims_99999_parts_names_only_a_few() -> None:
    (whole,) = model_sets([part("big", 1, 99_999)])
    assert len(whole.absent) == 10


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
