"""Transcripts of Gemma 4 and FunctionGemma."""

import json

import pytest

from janagent.engine.calls import Form, Thinking
from janagent.engine.families.gemma import FUNCTION_GEMMA, GEMMA
from tests.engine.reading import read, read_both_ways

CASES = [
    (
        GEMMA,
        '<|tool_call>call:get_weather{city:<|"|>Bern<|"|>}<tool_call|>',
        "",
        [("get_weather", {"city": "Bern"})],
    ),
    (
        GEMMA,
        'I look.<|tool_call>call:get_weather{city:<|"|>a "b", {c}\nd<|"|>,days:-2,exact:true,note:null,'
        'options:{list:[1,<|"|>x<|"|>,[],{}],<|"|>quoted key<|"|>:1.5e3}}<tool_call|>'
        "<|tool_call>call:clock{}<tool_call|>",
        "I look.",
        [
            (
                "get_weather",
                {
                    "city": 'a "b", {c}\nd',
                    "days": -2,
                    "exact": True,
                    "note": None,
                    "options": {"list": [1, "x", [], {}], "quoted key": 1500.0},
                },
            ),
            ("clock", {}),
        ],
    ),
    (  # quoting marks forgotten
        GEMMA,
        "<|tool_call>call:get_weather{city:Bern, days: 03}<tool_call|>",
        "",
        [("get_weather", {"city": "Bern", "days": "03"})],
    ),
    (
        FUNCTION_GEMMA,
        "<start_function_call>call:get_weather{city:<escape>Bern<escape>,days:2}<end_function_call>",
        "",
        [("get_weather", {"city": "Bern", "days": 2})],
    ),
    (GEMMA, "<|tool_call>call:frob{}<tool_call|>", "<|tool_call>call:frob{}<tool_call|>", []),
    (GEMMA, "<|tool_call>clock", "<|tool_call>clock", []),
]


@pytest.mark.parametrize(("form", "text", "words", "calls"), CASES)
def test_transcripts(form: Form, text: str, words: str, calls: list[object]):
    thoughts, said, called = read_both_ways(text, form)
    assert (thoughts, said) == ("", words)
    assert [(name, json.loads(arguments)) for name, arguments in called] == calls


def test_thoughts_come_in_a_channel():
    thinking = Thinking("<|channel>thought\n", "<channel|>", recurs=True)
    text = "<|channel>thought\nI need it.\n<channel|><|tool_call>call:clock{}<tool_call|>"
    assert read_both_ways(text, GEMMA, thinking=thinking) == ("I need it.", "", [("clock", "{}")])


def test_a_call_that_is_cut_off_stays_open():
    text = '<|tool_call>call:get_weather{city:<|"|>Bern and so'
    assert read(text, GEMMA)[2] == [("get_weather", '{"city": "Bern and so')]


def test_nesting_without_end_is_given_up():
    text = "<|tool_call>call:get_weather{note:" + "[" * 5000
    ((name, arguments),) = read(text, GEMMA)[2]
    assert name == "get_weather"
    assert len(arguments) < 200
