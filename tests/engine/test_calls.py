"""What answers say, as each family of models writes it, however it is cut into pieces."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from janagent.engine.calls import AnswerReader, Arguments, Call, Piece, Style, Thinking, Words

THINK = Thinking()


def read(
    text: str, *, style: Style | None = None, thinking: Thinking | None = None, cuts: tuple[int, ...] = ()
) -> tuple[str, str, list[tuple[str, str]]]:
    """(thoughts, words, calls as (name, arguments)) of an answer that comes in pieces."""
    reader = AnswerReader(style=style, thinking=thinking)
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    pieces: list[Piece] = []
    for number, start in enumerate(places[:-1]):
        pieces += reader.feed(text[start : places[number + 1]])
    pieces += reader.finish()
    thoughts = "".join(p.text for p in pieces if isinstance(p, Words) and p.is_thought)
    words = "".join(p.text for p in pieces if isinstance(p, Words) and not p.is_thought)
    calls = [p for p in pieces if isinstance(p, Call)]
    assert [call.index for call in calls] == list(range(len(calls)))
    assert len({call.id for call in calls}) == len(calls)
    arguments = [
        "".join(p.text for p in pieces if isinstance(p, Arguments) and p.index == c.index) for c in calls
    ]
    assert reader.has_called is bool(calls)
    return thoughts, words, [(call.name, text) for call, text in zip(calls, arguments, strict=True)]


WEATHER = ("weather", {"city": "Zürich", "note": 'a "quoted" {brace}'})
TIME = ("time", {})
BODY = '{"name": "weather", "arguments": {"city": "Zürich", "note": "a \\"quoted\\" {brace}"}}'
CLOCK = '{"name": "time", "arguments": {}}'
CASES = [
    (Style.HERMES, f"<tool_call>\n{BODY}\n</tool_call>", "", [WEATHER]),
    (Style.HERMES, f"Let me look.\n\n<tool_call>\n{BODY}\n</tool_call>", "Let me look.", [WEATHER]),
    (
        Style.HERMES,
        f"<tool_call>\n{BODY}\n</tool_call>\n<tool_call>\n{CLOCK}\n</tool_call>",
        "",
        [WEATHER, TIME],
    ),
    (Style.HERMES, '<tool_call>{"arguments": {"a": 1}, "name": "x"}</tool_call>', "", [("x", {"a": 1})]),
    (Style.HERMES, "Nothing to call: 3 < 5 <b>.", "Nothing to call: 3 < 5 <b>.", []),
    (Style.LLAMA, BODY.replace("arguments", "parameters"), "", [WEATHER]),
    (Style.LLAMA, "<|python_tag|>" + BODY.replace("arguments", "parameters"), "", [WEATHER]),
    (
        Style.LLAMA,
        '{"type": "function", "name": "x", "parameters": {"a": [1, {"b": 2}]}}; ' + CLOCK,
        "",
        [("x", {"a": [1, {"b": 2}]}), TIME],
    ),
    (Style.LLAMA, "The answer is {42}.", "The answer is {42}.", []),
    (Style.LLAMA, '{"just": "json"}', '{"just": "json"}', []),
    (Style.MISTRAL, f"[TOOL_CALLS][{BODY}]", "", [WEATHER]),
    (Style.MISTRAL, f'[TOOL_CALLS] [{BODY}, {{"name": "time", "arguments": {{}}}}]', "", [WEATHER, TIME]),
    (
        Style.MISTRAL,
        '[TOOL_CALLS]x[ARGS]{"a": {"b": 1}}[TOOL_CALLS]time[CALL_ID]123456789[ARGS]{}',
        "",
        [("x", {"a": {"b": 1}}), TIME],
    ),
    (Style.FENCED, f"```json\n{BODY}\n```", "", [WEATHER]),
    (Style.FENCED, f"```tool_call\n{BODY}\n```\nDone.", "Done.", [WEATHER]),
    (Style.FENCED, BODY, "", [WEATHER]),
    (Style.FENCED, '{"name": "x", "arguments": "{\\"a\\": 1}"}', "", [("x", {"a": 1})]),
    (Style.FENCED, '{"function": {"name": "x", "arguments": {"a": 1}}}', "", [("x", {"a": 1})]),
    (Style.FENCED, 'Here:\n```json\n{"a": 1}\n```\n', 'Here:```json\n{"a": 1}\n```\n', []),
    (Style.FENCED, "```python\nprint(1)\n```", "```python\nprint(1)\n```", []),
    (Style.FORCED, f'[{BODY}, {{"name": "time", "arguments": {{}}}}]', "", [WEATHER, TIME]),
    (None, f"<tool_call>{BODY}</tool_call>", f"<tool_call>{BODY}</tool_call>", []),
]


@pytest.mark.parametrize(("style", "text", "words", "calls"), CASES)
def test_what_a_family_writes_is_understood(style, text, words, calls):
    for cuts in ((), tuple(range(len(text)))):
        thoughts, said, called = read(text, style=style, cuts=cuts)
        assert (thoughts, said) == ("", words)
        assert [(name, json.loads(arguments)) for name, arguments in called] == calls


@given(st.sampled_from(CASES), st.lists(st.integers(0, 1000)))
def test_cuts_make_no_difference(case, cuts):
    style, text, words, calls = case
    _, said, called = read(text, style=style, cuts=tuple(cuts))
    assert said == words
    assert [(name, json.loads(arguments)) for name, arguments in called] == calls


@given(
    st.text(alphabet='<>/tol_ca{}[]":,x `json\n', max_size=60),
    st.sampled_from([*Style, None]),
    st.lists(st.integers(0, 60)),
)
def test_nothing_of_any_text_is_lost_unless_it_is_a_call(text, style, cuts):
    _, said, called = read(text, style=style, cuts=tuple(cuts))
    if not called:
        assert "".join(said.split()) == "".join(text.split())


def test_arguments_come_while_they_are_written():
    reader = AnswerReader(style=Style.HERMES, thinking=None)
    first = reader.feed('<tool_call>{"name": "x", "arguments": {"a": "lo')
    assert isinstance(first[0], Call)
    assert first[1] == Arguments(0, '{"a": "lo')
    assert reader.feed('ng"}') == [Arguments(0, 'ng"}')]


@pytest.mark.parametrize(
    ("text", "thinking", "thoughts", "words"),
    [
        ("<think>\nHm.\n</think>\n\nYes.", THINK, "Hm.", "Yes."),
        ("Hm.\n</think>\n\nYes.", Thinking(is_open=True), "Hm.", "Yes."),
        ("<think></think>Yes.", THINK, "", "Yes."),
        ("Yes, <think> is a tag.", THINK, "", "Yes, <think> is a tag."),
        ("<think>and then it was cut", THINK, "and then it was cut", ""),
        ("<thin", THINK, "", "<thin"),
        ("<think>Hm</think>Yes", None, "", "<think>Hm</think>Yes"),
    ],
)
def test_reasoning_is_told_apart(text, thinking, thoughts, words):
    for cuts in ((), tuple(range(len(text)))):
        assert read(text, thinking=thinking, cuts=cuts) == (thoughts, words, [])


def test_reasoning_and_then_a_call():
    text = f"<think>I need it.</think>\n\n<tool_call>\n{BODY}\n</tool_call>"
    for cuts in ((), tuple(range(len(text)))):
        thoughts, words, calls = read(text, style=Style.HERMES, thinking=THINK, cuts=cuts)
        assert (thoughts, words) == ("I need it.", "")
        assert [name for name, _ in calls] == ["weather"]


def test_words_are_not_held_back_longer_than_they_must_be():
    reader = AnswerReader(style=Style.HERMES, thinking=THINK)
    assert reader.feed("Hello") == [Words("Hello")]
    assert reader.feed(" there") == [Words(" there")]
    assert reader.feed(" <tool") == []
    assert reader.feed("box>") == [Words(" <toolbox>")]
