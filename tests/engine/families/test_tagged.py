"""Transcripts of Hermes, Qwen 2.5 and 3, Qwen3-Coder, Seed-OSS, GLM 4.5 and MiniMax M2."""

import json

import pytest

from janagent.engine.calls import Form, Thinking
from janagent.engine.families.tagged import HERMES, MINIMAX, SEED
from tests.engine.reading import read, read_both_ways

BERN = ("get_weather", {"city": "Bern"})
CASES = [
    (  # Hermes 2 Pro
        '<tool_call>\n{"arguments": {"city": "Bern"}, "name": "get_weather"}\n</tool_call>',
        "",
        [BERN],
    ),
    (  # Qwen 2.5, two calls
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>',
        "",
        [BERN, ("clock", {})],
    ),
    (  # words first
        "Let me look that up for you.\n\n<tool_call>\n"
        '{"name": "get_weather", "arguments": {"city": "Bern"}}\n</tool_call>',
        "Let me look that up for you.",
        [BERN],
    ),
    (  # a list between the tags, as Granite 4 and Hermes models of mixed descent write it
        '<tool_call>[{"name": "get_weather", "arguments": {"city": "Bern"}}]</tool_call>',
        "",
        [BERN],
    ),
    (  # the closing tag forgotten
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern"}}',
        "",
        [BERN],
    ),
    ('{"name": "get_weather", "arguments": {"city": "Bern"}}', "", [BERN]),  # both tags forgotten
    (  # Qwen2.5-Coder likes fences better
        '```json\n{\n  "name": "get_weather",\n  "arguments": {\n    "city": "Bern"\n  }\n}\n```',
        "",
        [BERN],
    ),
    ("There is nothing to call: 3 < 5 <b>.", "There is nothing to call: 3 < 5 <b>.", []),
    (  # Qwen3-Coder
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nBern\n</parameter>\n<parameter=days>\n2\n"
        "</parameter>\n</function>\n</tool_call>",
        "",
        [("get_weather", {"city": "Bern", "days": 2})],
    ),
    (  # Qwen3-Coder, the opening tag forgotten, two calls
        "Sure!<function=get_weather>\n<parameter=city>\nBern\n</parameter>\n</function>\n</tool_call>\n"
        "<tool_call>\n<function=clock>\n</function>\n</tool_call>",
        "Sure!",
        [BERN, ("clock", {})],
    ),
    (  # values of every type; a text that looks like a number stays one
        "<tool_call>\n<function=get_weather>\n<parameter=city>\n8000\n</parameter>\n<parameter=exact>\nTrue\n"
        '</parameter>\n<parameter=options>\n{"width": 10,\n "height": 20}\n</parameter>\n<parameter=note>\n'
        "just words\n</parameter>\n</function>\n</tool_call>",
        "",
        [
            (
                "get_weather",
                {
                    "city": "8000",
                    "exact": True,
                    "options": {"width": 10, "height": 20},
                    "note": "just words",
                },
            )
        ],
    ),
    (  # lines within a text
        '<tool_call>\n<function=get_weather>\n<parameter=city>\nfirst "line"\n\n  second \\ <b>\n'
        "</parameter>\n</function>\n</tool_call>",
        "",
        [("get_weather", {"city": 'first "line"\n\n  second \\ <b>'})],
    ),
    (  # GLM 4.5
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Bern</arg_value>\n"
        "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>\n<tool_call>clock\n</tool_call>",
        "",
        [("get_weather", {"city": "Bern", "days": 3}), ("clock", {})],
    ),
    (  # GLM 4.7, all on one line
        "<tool_call>get_weather<arg_key>city</arg_key><arg_value>Bern</arg_value></tool_call>",
        "",
        [BERN],
    ),
]


@pytest.mark.parametrize(("text", "words", "calls"), CASES)
def test_transcripts(text: str, words: str, calls: list[object]):
    thoughts, said, called = read_both_ways(text, HERMES)
    assert (thoughts, said) == ("", words)
    assert [(name, json.loads(arguments)) for name, arguments in called] == calls


def test_qwen_3_thinks_first():
    text = (
        "<think>\n好的，用户想知道天气。\n</think>\n\n<tool_call>\n"
        '{"name": "get_weather", "arguments": {"city": "苏黎世"}}\n</tool_call>'
    )
    found = read_both_ways(text, HERMES, thinking=Thinking())
    assert found == ("好的，用户想知道天气。", "", [("get_weather", '{"city": "苏黎世"}')])


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (
            SEED,
            "<seed:tool_call>\n<function=get_weather>\n<parameter=city>Bern</parameter>\n</function>\n"
            "</seed:tool_call>",
        ),
        (
            MINIMAX,
            '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Bern</parameter>\n'
            "</invoke>\n</minimax:tool_call>",
        ),
    ],
)
def test_relatives(form: Form, text: str):
    assert read_both_ways(text, form) == ("", "", [("get_weather", '{"city": "Bern"}')])


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>\n<function=frob>\n<parameter=city>\nBern\n</parameter>\n</function>\n</tool_call>",
        "<tool_call>\n<function=get_weather",
        "<tool_call>frob\n<arg_key>city</arg_key>",
    ],
)
def test_what_is_no_call_is_words(text: str):
    assert read_both_ways(text, HERMES) == ("", text, [])


def test_a_text_is_streamed_and_one_that_is_cut_off_stays_open():
    text = "<tool_call>\n<function=get_weather>\n<parameter=city>\nBern and so"
    assert read(text, HERMES)[2] == [("get_weather", '{"city": "Bern and so')]
    whole = f"{text}\n</parameter>\n"
    assert read(whole, HERMES)[2] == [("get_weather", '{"city": "Bern and so"')]
