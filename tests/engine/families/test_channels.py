"""Transcripts of gpt-oss and of Functionary 3.2."""

import pytest

from janagent.engine.families.channels import FINAL, FUNCTIONARY, HARMONY
from tests.engine.reading import read_both_ways

BERN = ("get_weather", '{"city": "Bern"}')
THOUGHT = "<|channel|>analysis<|message|>I'm\nthinking<|end|><|start|>assistant"


@pytest.mark.parametrize(
    ("text", "thoughts", "words", "calls"),
    [
        (
            f"{THOUGHT}<|channel|>final<|message|>Hello!\nWhat's up?",
            "I'm\nthinking",
            "Hello!\nWhat's up?",
            [],
        ),
        (f"{THOUGHT}<|channel|>final<|message|>Hello!<|return|>", "I'm\nthinking", "Hello!", []),
        (
            f"{THOUGHT}<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
            '{"city": "Bern"}<|call|>',
            "I'm\nthinking",
            "",
            [BERN],
        ),
        (
            '<|channel|>commentary to=functions.get_weather<|message|>{"city": "Bern"}',
            "",
            "",
            [BERN],
        ),
        (' to=functions.get_weather<|channel|>analysis json<|message|>{"city": "Bern"}', "", "", [BERN]),
        (
            "<|channel|>commentary<|message|>Let me look.<|end|><|start|>assistant<|channel|>commentary "
            'to=functions.get_weather<|message|>{"city": "Bern"}<|call|>',
            "",
            "Let me look.",
            [BERN],
        ),
        ("<|channel|>commentary to=functions.frob<|message|>{}<|call|>", "", "{}", []),
        (f"{THOUGHT}<|channel|>analysis<|message|>More.<|end|>", "I'm\nthinking\nMore.", "", []),
        ("<|channel|>analysis<|message|>cut o", "cut o", "", []),
        ("No channel at all.", "", "No channel at all.", []),
        ('{"a": 1}', "", '{"a": 1}', []),
    ],
)
def test_harmony(text: str, thoughts: str, words: str, calls: list[object]):
    assert read_both_ways(text, HARMONY) == (thoughts, words, calls)


@pytest.mark.parametrize(
    "text",
    [
        "final<|message|>",
        "analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>",
        "final <|constrain|>json<|message|>",
    ],
)
def test_where_the_answer_itself_begins_in_harmony(text: str):
    assert FINAL.search(text)
    assert not FINAL.search(text.removesuffix("<|message|>"))


@pytest.mark.parametrize(
    ("text", "words", "calls"),
    [
        ("all\nHello!\nWhat's up?", "Hello!\nWhat's up?", []),
        ('get_weather\n{"city": "Bern"}', "", [BERN]),
        (
            'all\nLet me look.>>>get_weather\n{"city": "Bern"}>>>clock\n{}',
            "Let me look.",
            [BERN, ("clock", "{}")],
        ),
        ("frob\n{}", "frob\n{}", []),
        ("no line", "no line", []),
    ],
)
def test_functionary(text: str, words: str, calls: list[object]):
    assert read_both_ways(text, FUNCTIONARY) == ("", words, calls)
