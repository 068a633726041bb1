"""Transcripts of Mistral, before and since its v11 format, of DeepSeek and of Kimi K2."""

import json

import pytest

from janagent.engine.calls import Form
from janagent.engine.families.named import DEEPSEEK, KIMI, MISTRAL
from tests.engine.reading import read_both_ways

BERN = ("get_weather", {"city": "Bern"})
CASES = [
    (MISTRAL, '[TOOL_CALLS][{"name": "get_weather", "arguments":{"city": "Bern"}}]', "", [BERN]),
    (MISTRAL, '[TOOL_CALLS] [{"arguments":{"city": "Bern"}, "name": "get_weather"}]', "", [BERN]),
    (
        MISTRAL,
        '[TOOL_CALLS]  [ {"name":"get_weather" , "arguments" : {"city": "Bern"}, "id": "AbCdEf123" }, '
        '{"name": "clock", "arguments": {"name": "a"}} ]',
        "",
        [BERN, ("clock", {"name": "a"})],
    ),
    (  # a brace forgotten
        MISTRAL,
        '[TOOL_CALLS][{"name": "clock", "arguments": {}}, '
        '{"name": "get_weather", "arguments": {"city": "Bern"}]',
        "",
        [("clock", {}), BERN],
    ),
    (MISTRAL, '[TOOL_CALLS]get_weather[ARGS]{"city": "Bern"}', "", [BERN]),
    (MISTRAL, '[TOOL_CALLS]get_weather{"city": "Bern"}', "", [BERN]),
    (
        MISTRAL,
        'I look.[TOOL_CALLS]get_weather[CALL_ID]123456789[ARGS]{"city": "Bern"}[TOOL_CALLS]clock[ARGS]{}',
        "I look.",
        [BERN, ("clock", {})],
    ),
    (MISTRAL, "[TOOL_CALLS]frob[ARGS]{}", "[TOOL_CALLS]frob[ARGS]{}", []),
    (MISTRAL, "This is [a test].", "This is [a test].", []),
    (  # R1 and V3
        DEEPSEEK,
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
        '{"city": "Bern"}\n```<｜tool▁call▁end｜>\n'
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>clock\n```json\n{}\n```"
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "",
        [BERN, ("clock", {})],
    ),
    (  # a distilled model forgets the fence and the outer marks
        DEEPSEEK,
        'So:\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n{"city": "Bern"}<｜tool▁call▁end｜>',
        "So:",
        [BERN],
    ),
    (  # V3.1
        DEEPSEEK,
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>"
        '{"city": "Bern"}<｜tool▁call▁end｜>'
        "<｜tool▁call▁begin｜>clock<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "",
        [BERN, ("clock", {})],
    ),
    (
        KIMI,
        "I'll help. <|tool_calls_section_begin|> <|tool_call_begin|>\nfunctions.get_weather:0 "
        '<|tool_call_argument_begin|> {"city": "Bern"} <|tool_call_end|> <|tool_call_begin|>clock:1'
        "<|tool_call_argument_begin|>{}<|tool_call_end|> <|tool_calls_section_end|>",
        "I'll help.",
        [BERN, ("clock", {})],
    ),
]


@pytest.mark.parametrize(("form", "text", "words", "calls"), CASES)
def test_transcripts(form: Form, text: str, words: str, calls: list[object]):
    thoughts, said, called = read_both_ways(text, form)
    assert (thoughts, said) == ("", words)
    assert [(name, json.loads(arguments)) for name, arguments in called] == calls


def test_a_name_may_be_anything_that_a_function_is_called():
    name = 'my.server/"odd" name'
    text = f'[TOOL_CALLS]{name}[ARGS]{{"a": 1}}'
    assert read_both_ways(text, MISTRAL, tools={name: {}}) == ("", "", [(name, '{"a": 1}')])
