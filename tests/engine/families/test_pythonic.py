"""Transcripts of Llama 4, LFM2 and Olmo 3."""

import json

import pytest

from janagent.engine.calls import Form
from janagent.engine.families.pythonic import LIQUID, LLAMA_4, OLMO
from tests.engine.reading import read_both_ways

BERN = ("get_weather", {"city": "Bern"})
CASES = [
    (LLAMA_4, '[get_weather(city="Bern")]', "", [BERN]),
    (LLAMA_4, "<|python_start|>[get_weather(city='Bern'), clock()]<|python_end|>", "", [BERN, ("clock", {})]),
    (LLAMA_4, '[{"name": "get_weather", "arguments": {"city": "Bern"}}]', "", [BERN]),
    (
        LLAMA_4,
        "[get_weather(city='Martha\\'s', days=-37, exact=True, note=None, "
        "options={'a': [1, 2.5, false], 'b': {}})]",
        "",
        [
            (
                "get_weather",
                {
                    "city": "Martha's",
                    "days": -37,
                    "exact": True,
                    "note": None,
                    "options": {"a": [1, 2.5, False], "b": {}},
                },
            )
        ],
    ),
    (LLAMA_4, '[get_weather("Bern", 2)]', "", [("get_weather", {"city": "Bern", "days": 2})]),
    (
        LIQUID,
        'Checking.<|tool_call_start|>[get_weather(city="Bern")]<|tool_call_end|>One moment.',
        "Checking.\nOne moment.",
        [BERN],
    ),
    (LIQUID, '<|tool_call_start|>[{"name": "clock", "arguments": {}}]<|tool_call_end|>', "", [("clock", {})]),
    (OLMO, '<function_calls>get_weather(city="Bern")\nclock()</function_calls>', "", [BERN, ("clock", {})]),
]


@pytest.mark.parametrize(("form", "text", "words", "calls"), CASES)
def test_transcripts(form: Form, text: str, words: str, calls: list[object]):
    thoughts, said, called = read_both_ways(text, form)
    assert (thoughts, said) == ("", words)
    assert [(name, json.loads(arguments)) for name, arguments in called] == calls


@pytest.mark.parametrize(
    "text",
    [
        "[frob(a=1)]",
        "[get_weather(city=open('/etc/passwd'))]",
        "[get_weather(**{'city': 'x'})]",
        "[get_weather(city=1e999)]",
        "[get_weather(1, 2, 3, 4, 5, 6, 7)]",
        "[get_weather(city='a'",
        "[clock(), frob()]",
        "[clock(" + "[" * 5000,
        "[clock() for _ in x]",
        "[1, 2]",
        "[see](http://example.com)",
    ],
)
def test_what_is_no_call_is_words(text: str):
    assert read_both_ways(text, LLAMA_4) == ("", text, [])
