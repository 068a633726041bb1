"""One function call in JSON, piece by piece."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from janagent.engine.callscan import CallScanner, NoCall


def scan(text: str) -> tuple[str | None, str, str]:
    """(name, arguments, what follows), fed character by character."""
    scanner, arguments, rest = CallScanner(), "", ""
    for char in text:
        rest += scanner.feed(char)
        arguments += scanner.take_arguments()
    assert scanner.is_done
    return scanner.name, arguments, rest


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ('{"name":"x","arguments":{"a":[1,{"b":"}"}]}}', "x", '{"a":[1,{"b":"}"}]}'),
        ('{ "parameters" : {"a": 1} , "name" : "x" }', "x", '{"a": 1}'),
        ('{"name": "x"}', "x", "{}"),
        ('{"name": "x", "arguments": null}', "x", "{}"),
        ('{"name": "x", "arguments": "{\\"a\\": 1}"}', "x", '{"a": 1}'),
        ('{"type": "function", "id": 5, "name": "x", "arguments": {}}', "x", "{}"),
        ('{"function": {"name": "x", "arguments": {"a": 1}}}', "x", '{"a": 1}'),
        ('{"n\\u0061me": "\\u00fc"}', "ü", "{}"),
    ],
)
def test_calls(text: str, name: str, arguments: str) -> None:
    assert scan(text + " after") == (name, arguments, " after")


@pytest.mark.parametrize(
    "text", ["{}", '{"a": 1}', "{a}", '{"name" 1}', '{"name": 5}', '{"name": nothing}', "[1]"]
)
def test_what_is_no_call_comes_back_whole(text: str) -> None:
    scanner = CallScanner()
    with pytest.raises(NoCall):
        scanner.feed(text + " and more")
    assert scanner.fed == text + " and more"


json_objects = st.dictionaries(
    st.text(),
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda c: st.lists(c), max_leaves=5),
)


@given(st.text(), json_objects, st.booleans())
def test_any_name_and_arguments_are_read(name: str, arguments: dict[str, object], is_ascii: bool) -> None:
    text = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=is_ascii)
    found, said, rest = scan(text)
    assert (found, json.loads(said), rest) == (name, arguments, "")
