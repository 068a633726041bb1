import io
from typing import Any

import pytest
from rich.console import Console

from janagent.cli import output


def drawn(thing: Any) -> str:
    """What rich makes of it, in a wide terminal without colours."""
    file = io.StringIO()
    Console(file=file, width=200).print(thing)
    return file.getvalue()


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
    assert output.size(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59, "59 s"), (130, "2 min 10 s"), (3900, "1 h 05 min"), (-1, "0 s")]
)
def test_a_duration_is_short(seconds: float, text: str):
    assert output.duration(seconds) == text


def test_control_characters_of_a_file_or_model_do_not_reach_the_terminal():
    assert output.clean("a\x1b]0;title\x07b\r\x9b2J\nc\td") == "a�]0;title�b��2J\nc\td"


def test_progress_tells_as_much_as_is_known():
    whole = {"done_bytes": 31, "total_bytes": 100, "bytes_per_s": 12e6, "eta_s": 190}
    assert output.progress_text(whole) == "31 % of 100 B, 12.0 MB/s, 3 min 10 s left"
    assert output.progress_text({"done_bytes": 31, "total_bytes": 100}) == "31 % of 100 B"
    assert output.progress_text({}) == ""


def test_the_fraction_of_a_progress_is_unknown_without_a_total():
    assert output.fraction({"done_bytes": 1, "total_bytes": 4}) == 0.25
    assert output.fraction({"done_bytes": 1}) is None


def test_an_error_is_noted_before_progress_and_warnings():
    model = {"error": {"message": "no"}, "progress": {"eta_s": 7}, "warnings": ["a"]}
    assert output.notes(model) == "no"
    del model["error"]
    assert output.notes(model) == "7 s left"
    del model["progress"]
    assert output.notes(model) == "a"
    assert output.notes({"warnings": ["a", "b", "c"]}) == "a (and 2 more)"
    assert output.notes({}) == ""


def test_the_table_has_a_row_for_each_model():
    models = [
        {"id": "a", "state": "running", "size_bytes": 10**9, "quantization": "Q4_1", "context_length": 2048},
        {"id": "b", "state": "invalid", "error": {"code": "invalid", "message": "line 3"}},
    ]
    lines = drawn(output.model_table(models)).splitlines()
    assert lines[0].split() == ["ID", "STATE", "SIZE", "QUANT", "CONTEXT", "NOTES"]
    assert lines[1].split() == ["a", "running", "1.0", "GB", "Q4_1", "2048"]
    assert lines[2].split() == ["b", "invalid", "line", "3"]


def test_an_id_that_looks_like_markup_is_shown_as_it_is():
    assert "[red]x[/red]" in drawn(output.model_table([{"id": "[red]x[/red]", "state": "running"}]))


def test_the_context_is_what_one_conversation_may_use_of_what_the_model_was_trained_for():
    init = {"init": {"ctx_len": 2048}}
    assert output.context({"context_length": 8192, "parameters": init}) == "2048 of 8192"
    assert output.context({"context_length": 2048, "parameters": init}) == "2048"
    assert output.context({"context_length": 8192, "parameters": {}}) == "8192"
    assert output.context({}) == ""
