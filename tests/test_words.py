"""Sizes, durations, progress."""

import pytest

from janagent import words


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (None, ""),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (98_362_432, "98.4 MB"),
        (123_456_789, "123 MB"),
        (4_081_004_224, "4.1 GB"),
        (2.5e12, "2.5 TB"),
    ],
)
def test_a_size_is_short(size_bytes: float | None, text: str):
    assert words.size(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59, "59 s"), (130, "2 min 10 s"), (3900, "1 h 05 min"), (-1, "0 s")]
)
def test_a_duration_is_short(seconds: float, text: str):
    assert words.duration(seconds) == text


def test_progress_tells_as_much_as_is_known():
    whole = {"done_bytes": 31, "total_bytes": 100, "bytes_per_s": 12e6, "eta_s": 190}
    assert words.progress_text(whole) == "31 % of 100 B, 12.0 MB/s, 3 min 10 s left"
    assert words.progress_text({"done_bytes": 31, "total_bytes": 100}) == "31 % of 100 B"
    assert words.progress_text({}) == ""


def test_the_fraction_of_a_progress_is_unknown_without_a_total():
    assert words.fraction({"done_bytes": 1, "total_bytes": 4}) == 0.25
    assert words.fraction({"done_bytes": 1}) is None
