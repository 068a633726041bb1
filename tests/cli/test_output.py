import io
from typing import Any

from rich.console import Console

from janagent.cli import output


def drawn(thing: Any) -> str:
    """What rich makes of it, in a wide terminal without colours."""
    file = io.StringIO()
    Console(file=file, width=200).print(thing)
    return file.getvalue()


def test_control_characters_of_a_file_or_model_do_not_reach_the_terminal():
    assert output.clean("a\x1b]0;title\x07b\r\x9b2J\nc\td") == "a�]0;title�b��2J\nc\td"


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
