"""Function calls in JSON, piece by piece."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from janagent.engine.calls import Form
from janagent.engine.callscan import json_calls
from tests.engine.reading import read, read_both_ways

JSON = Form(openings={"#": json_calls}, bare=json_calls)


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('{"name":"x","arguments":{"a":[1,{"b":"}"}]}}', '{"a":[1,{"b":"}"}]}'),
        ('{ "parameters" : {"a": 1} , "name" : "x" }', '{"a": 1}'),
        ('{"name": "x"}', "{}"),
        ('{"name": "x", "arguments": null}', "{}"),
        ('{"name": "x", "arguments": "{\\"a\\": 1}"}', '{"a": 1}'),
        ('{"type": "function", "id": 5, "name": "x", "arguments": {}}', "{}"),
        ('{"type": "function", "function": {"name": "x", "arguments": {"a": 1}}}', '{"a": 1}'),
        ('{"function": "x", "parameters": {"a": 1}}', '{"a": 1}'),
        ('{"tool_call_id": "0", "tool_name": "x", "parameters": {"name": "y"}}', '{"name": "y"}'),
        (
            '{"n\\u0061me": "x", "arguments": {"\\u00fc": "\\ud83d\\ude42 🙂"}}',
            '{"\\u00fc": "\\ud83d\\ude42 🙂"}',
        ),
        ('{"name": "x", "arguments": {"a": "line\\nline \\\\ \\" {"}}', '{"a": "line\\nline \\\\ \\" {"}'),
        ('{"name": "x", "arguments": {"a": 1}, "comment": [1, {}]}', '{"a": 1}'),
        ('{"name": "x", "arguments": {"a": 1}]', '{"a": 1}'),
    ],
)
def test_calls(text: str, arguments: str) -> None:
    assert read_both_ways(text, JSON, tools={"x": {}}) == ("", "", [("x", arguments)])


@pytest.mark.parametrize(
    "text",
    [
        *("{}", '{"a": 1}', "{a}", '{"name" 1}', '{"name": 5}', '{"name": nothing}', '{"name": "y"}'),
        *('{"name": "x", "arguments": {a: 1}}', '{"arguments": {}}', '{"name": "x"', '{"name": "x", "argu'),
        *('{"name": ' + "[" * 5000, '{"arguments": ' + "[" * 5000 + "]" * 5000 + ', "name": "x"}'),
    ],
)
def test_what_is_no_call_comes_back_whole(text: str) -> None:
    assert read_both_ways(text, JSON, tools={"x": {}}) == ("", text, [])


def test_several_calls_stand_in_an_array_or_one_after_another() -> None:
    one, two = '{"name": "x", "arguments": {"a": 1}}', '{"name": "y"}'
    calls = [("x", '{"a": 1}'), ("y", "{}")]
    for text in (
        f"[{one}, {two}]",
        f"[\n  {one},\n  {two}\n]",
        f"{one}; {two}",
        f"{one}\n{two}",
        f"{one}{two}",
    ):
        assert read_both_ways(text, JSON, tools={"x": {}, "y": {}}) == ("", "", calls)


json_objects = st.dictionaries(
    st.text(),
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda c: st.lists(c), max_leaves=5),
)


@given(st.text(), json_objects, st.booleans(), st.lists(st.integers(0, 500), max_size=5))
def test_any_name_and_arguments_are_read(
    name: str, arguments: dict[str, object], is_ascii: bool, cuts: list[int]
) -> None:
    text = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=is_ascii)
    if name:
        ((found, said),) = read(text, JSON, tools={name: {}}, cuts=cuts)[2]
        assert (found, json.loads(said)) == (name, arguments)
