"""`janagent.folder.jsonish`: JSON as people write it."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from janagent.folder.jsonish import JsonishError, parse, parse_document

DATA = Path(__file__).parent.parent / "data"
TEXT = st.text(st.characters(blacklist_categories=("Cs",)))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1} // end', {"a": 1}),
        ("# first\n{'b'} ".replace("'b'", '"b": 2'), {"b": 2}),
        ('{"a": /* between\n lines */ 1}', {"a": 1}),
        ('{"a": [1, 2,], "b": {"c": 3,},}', {"a": [1, 2], "b": {"c": 3}}),
        ("{a: 1, b-c: 2, $d: 3}", {"a": 1, "b-c": 2, "$d": 3}),
        ("{a: azure_openai, b: llama-2.gguf}", {"a": "azure_openai", "b": "llama-2.gguf"}),
        ("{a: TheBloke/x-GGUF#why\n}", {"a": "TheBloke/x-GGUF"}),
        ("{a: https://host.example/x, b: c//d\n}", {"a": "https://host.example/x", "b": "c"}),
        (
            "{a: *.gguf, b: 2023-05-15, c: -1.5e3, d: true}",
            {"a": "*.gguf", "b": "2023-05-15", "c": -1500.0, "d": True},
        ),
        ("\ufeff{\r\n\ta: null,\r\n}\r\n", {"a": None}),
        ('{"tab": "a\tb", x: 1}', {"tab": "a\tb", "x": 1}),
        ('{"http://x": "/* no comment */ // # either", }', {"http://x": "/* no comment */ // # either"}),
        (r'["\ud83d\ude00", "\u00e9\n"]', ["😀", "é\n"]),
        ("[007, +5, .5]", ["007", "+5", ".5"]),
        ("{}", {}),
        ("[ ]", []),
        ("word", "word"),
    ],
)
def test_json_as_people_write_it_is_read(text: str, value: Any) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("", 1, 1),
        ("// nothing", 1, 11),
        ("{", 1, 1),
        ('{"a": [1, 2}', 1, 12),
        ('{\n  "a": 1\n  "b": 2\n}', 3, 3),
        ('{"a" 1}', 1, 6),
        ('{"a": }', 1, 7),
        ('{"a": 1,, "b": 2}', 1, 9),
        ('{"a": 1} x', 1, 10),
        ('{\n"a": "no end\n}', 2, 6),
        (r'{"a": "\x"}', 1, 7),
        ("{'a': 1}", 1, 2),
        ('{"a": 1 /* no end', 1, 9),
        ("[NaN]", 1, 2),
        ("[-Infinity]", 1, 2),
        ("[1e999]", 1, 2),
        ("[" + "9" * 5000 + "]", 1, 2),
        (r'["\ud800"]', 1, 2),
        ("[1 2]", 1, 4),
        ('["é" "é"]', 1, 6),
    ],
)
def test_an_error_gives_line_and_column(text: str, line: int, column: int) -> None:
    with pytest.raises(JsonishError) as caught:
        parse(text)
    assert (caught.value.line, caught.value.column) == (line, column)


def test_an_error_never_quotes_the_text() -> None:
    for text in ('{"API-KEY": "sk-hunter2" oops}', '{"API-KEY": sk-hunter2 oops}', '{"API-KEY": "sk-hunter2'):
        with pytest.raises(JsonishError) as caught:
            parse(text)
        assert "hunter2" not in str(caught.value)


def test_of_a_key_that_occurs_twice_the_last_counts_and_it_is_reported() -> None:
    for text in ('{"a": 1, "b": {"c": 1, "c": 2}, "a": 3}', "{a: 1, b: {c: 1, c: 2,}, a: 3}"):
        document = parse_document(text)
        assert document.value == {"a": 3, "b": {"c": 2}}
        assert sorted(document.duplicates) == ["a", "c"]


@pytest.mark.parametrize("opening", ["[", '{"a":', "{a:[", "[/**/"])
def test_nesting_of_ten_thousand_is_refused_quickly(opening: str) -> None:
    begin = time.thread_time()
    with pytest.raises(JsonishError, match="nested more than 64 deep"):
        parse(opening * 10_000)
    assert time.thread_time() - begin < 0.5


def test_nesting_up_to_the_limit_is_read() -> None:
    assert parse("[" * 64 + "]" * 64) is not None
    assert parse("[" + "[], " * 500 + "]") == [[]] * 500


@pytest.mark.parametrize(
    "text",
    [
        "/*" * 200_000,
        '"' + "\\" * 400_001,
        "{" + " " * 400_000,
        "a" * 400_000,
        "//\n" * 200_000,
        '{"a":1,' * 100_000,
    ],
)
def test_a_hostile_text_takes_no_time(text: str) -> None:
    begin = time.thread_time()
    try:
        parse(text)
    except JsonishError:
        pass
    assert time.thread_time() - begin < 1


@given(VALUES)
def test_plain_json_and_the_lenient_parser_agree(value: Any) -> None:
    plain = json.dumps(value)
    assert parse(plain) == value
    assert parse(f"{plain} // not plain any more") == value
    assert parse(json.dumps(value, ensure_ascii=False, indent=1) + "#") == value


@given(VALUES)
def test_a_trailing_comma_and_comments_change_nothing(value: Any) -> None:
    assert parse(f"/**/[/**/{json.dumps(value)}/**/,/**/]") == [value]


@given(st.text())
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    place = (1, 1)
    try:
        parse(text)
    except JsonishError as error:
        place = (error.line, error.column)
    assert (1, 1) <= place <= (text.count("\n") + 1, len(text) + 1)


EXAMPLES = ("model-azure-openai-gpt4-turbo.json", "model-llava-v1.5-ggml.json", "model-zephyr-7B.json")


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_specification_s_examples_are_read(name: str) -> None:
    assert parse((DATA / name).read_text())["object"] == "model"
