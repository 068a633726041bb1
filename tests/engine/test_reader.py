"""Thoughts, words and calls told apart, however an answer is cut into pieces."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from janagent.engine.calls import Arguments, Call, Form, Thinking, Words
from janagent.engine.families import channels, gemma, llama, marked, named, pythonic, tagged
from janagent.engine.reader import AnswerReader
from tests.engine.reading import TOOLS, read, read_both_ways

THINK = Thinking()
CALL = '{"name": "clock", "arguments": {}}'
FORMS = [
    form
    for module in (channels, gemma, llama, marked, named, pythonic, tagged)
    for form in vars(module).values()
    if isinstance(form, Form)
]
PARTS = [
    *(mark for form in FORMS for mark in (*form.openings, *form.marks)),
    *('{"name": "', "get_weather", "clock", '", "arguments": ', '{"city": "Bern"}', "}", "{", "[", "]", '"'),
    *("(city=", "call:", ",", ":", "\n", " ", ">", "\\", "é🙂", "all\n", "to=functions.", "</parameter>"),
    *("<parameter=city>", "</function>", "<think>", "</think>", "plain words"),
]


@given(
    st.lists(st.sampled_from(PARTS), max_size=12).map("".join),
    st.sampled_from(FORMS),
    st.sampled_from([None, THINK, Thinking(is_open=True)]),
    st.lists(st.integers(0, 200), max_size=8),
)
def test_whatever_a_model_writes_cuts_make_no_difference(text, form, thinking, cuts):
    assert read(text, form, thinking=thinking, cuts=cuts) == read(text, form, thinking=thinking)


@given(st.lists(st.sampled_from(PARTS), max_size=12).map("".join), st.sampled_from(FORMS))
def test_without_a_function_of_that_name_nothing_is_lost(text, form):
    if form.channels is not None:
        return  # its headers are no words
    _, said, called = read(text, form, tools={})
    assert called == []
    assert "".join(said.split()) == "".join(text.split())


@pytest.mark.parametrize(
    "text", ["Hello.", "  Hello.\n\nYou there. ", "{", "[1, 2]", "", " ", '{"a": {"b": 1}}']
)
@pytest.mark.parametrize("form", FORMS)
def test_plain_words_come_as_they_are(form: Form, text: str):
    assert read_both_ways(text, form) == ("", text, [])


@pytest.mark.parametrize(
    ("text", "thinking", "thoughts", "words"),
    [
        ("<think>\nHm.\n</think>\n\nYes.", THINK, "Hm.", "Yes."),
        ("\n<think>\nHm.\n</think>\n\nYes.", THINK, "Hm.", "Yes."),
        ("Hm.\n</think>\n\nYes.", Thinking(is_open=True), "Hm.", "Yes."),
        ("<think>\nHm.\n</think>\n\nYes.", Thinking(is_open=True), "Hm.", "Yes."),
        ("<think></think>Yes.", THINK, "", "Yes."),
        ("<think>\n\n</think>\n\nYes.", THINK, "", "Yes."),
        ("Yes, <think> is a tag.", THINK, "", "Yes, <think> is a tag."),
        ("<think>and then it was cut", THINK, "and then it was cut", ""),
        ("never an end", Thinking(is_open=True), "never an end", ""),
        ("<thin", THINK, "", "<thin"),
        ("<think>a</thin</think>b", THINK, "a</thin", "b"),
        ("<think>Hm</think>Yes", None, "", "<think>Hm</think>Yes"),
        ("[THINK]Hm[/THINK]Yes", Thinking("[THINK]", "[/THINK]"), "Hm", "Yes"),
    ],
)
def test_reasoning_is_told_apart(text, thinking, thoughts, words):
    assert read_both_ways(text, thinking=thinking) == (thoughts, words, [])


def test_reasoning_that_recurs_is_told_apart_each_time():
    thinking = Thinking("<|channel>thought\n", "<channel|>", recurs=True)
    text = "<|channel>thought\nHm.<channel|>Yes. <|channel>thought\n<channel|>And no."
    assert read_both_ways(text, thinking=thinking) == ("Hm.", "Yes.\nAnd no.", [])


def test_reasoning_and_then_a_call():
    text = f"<think>I need it.</think>\n\n<tool_call>\n{CALL}\n</tool_call>"
    found = read_both_ways(text, tagged.HERMES, thinking=THINK)
    assert found == ("I need it.", "", [("clock", "{}")])
    bare = read_both_ways(f"Hm.</think>\n{CALL}", llama.LLAMA, thinking=Thinking(is_open=True))
    assert bare == ("Hm.", "", [("clock", "{}")])


def test_words_before_and_after_calls_stay_apart():
    text = f"Let me look.\n\n<tool_call>\n{CALL}\n</tool_call>\n\nDone.  "
    assert read_both_ways(text, tagged.HERMES) == ("", "Let me look.\nDone.  ", [("clock", "{}")])


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "frob", "arguments": {}}</tool_call>',
        "<tool_call>{name: clock}</tool_call>",
        '<tool_call>{"name": "clock", "arguments": {oops}}</tool_call>',
        "<tool_call>nothing of the kind</tool_call> after",
        '<tool_call>{"name": "clo',
        "<tool_call>",
        "Use <tool_call> to call.",
        '{"name": "Alice", "age": 30}',
        '[{"name": "Alice", "arguments": {}}]',
    ],
)
def test_what_only_looks_like_a_call_is_words(text: str):
    assert read_both_ways(text, tagged.HERMES) == ("", text, [])


def test_a_good_call_before_a_bad_one_counts():
    text = f'<tool_call>{CALL}</tool_call><tool_call>{{"name": "frob"}}</tool_call>'
    _, words, calls = read_both_ways(text, tagged.HERMES)
    assert calls == [("clock", "{}")]
    assert words == '<tool_call>{"name": "frob"}</tool_call>'


def test_who_wants_one_call_gets_one():
    text = f"<tool_call>{CALL}</tool_call><tool_call>{CALL}</tool_call>"
    assert read_both_ways(text, tagged.HERMES, may_call_several=False) == ("", "", [("clock", "{}")])
    assert len(read(text, tagged.HERMES)[2]) == 2


def test_a_call_that_is_cut_off_does_not_look_whole():
    text = '<tool_call>{"name": "get_weather", "arguments": {"city": "Be'
    _, words, ((name, arguments),) = read_both_ways(text, tagged.HERMES)
    assert (words, name, arguments) == ("", "get_weather", '{"city": "Be')


def test_arguments_come_while_they_are_written():
    reader = AnswerReader(form=tagged.HERMES, tools=TOOLS)
    first = reader.feed('<tool_call>{"name": "get_weather", "arguments": {"city": "lo')
    assert isinstance(first[0], Call)
    assert first[1] == Arguments(0, '{"city": "lo')
    assert reader.feed('ng"}') == [Arguments(0, 'ng"}')]


def test_words_are_not_held_back_longer_than_they_must_be():
    reader = AnswerReader(form=tagged.HERMES, thinking=THINK, tools=TOOLS)
    assert reader.feed("Hello") == [Words("Hello")]
    assert reader.feed(" there") == [Words(" there")]
    assert reader.feed(" <tool") == []
    assert reader.feed("box>") == [Words(" <toolbox>")]


def test_json_that_is_no_call_comes_as_soon_as_that_is_clear():
    reader = AnswerReader(form=llama.LLAMA, tools=TOOLS)
    assert reader.feed('{"title": ') != []
    assert reader.feed('"A long story') != []


def test_large_arguments_are_read_in_linear_time():
    """Twice the text, some twice the time: what is quadratic takes a minute here."""
    written = json.dumps({"city": "x\n" * 500_000})
    text = f'<tool_call>{{"name": "get_weather", "arguments": {written}}}</tool_call>'
    assert read(text, tagged.HERMES)[2] == [("get_weather", written)]
    pieces = read(text, tagged.HERMES, cuts=range(0, len(text), 10_000))[2]
    assert pieces == [("get_weather", written)]
