"""Transcripts of Llama 3.1 to 3.3."""

import json

import pytest

from janagent.engine.families.llama import LLAMA
from tests.engine.reading import TOOLS, read_both_ways

BERN = ("get_weather", {"city": "Bern"})
CASES = [
    ('{"name": "get_weather", "parameters": {"city": "Bern"}}', "", [BERN]),
    ('{"type": "function", "name": "get_weather", "parameters": {"city": "Bern"}}', "", [BERN]),
    ('{"name": "get_weather", "arguments": {"city": "Bern"}}', "", [BERN]),
    ('<|python_tag|>{"name": "get_weather", "parameters": {"city": "Bern"}}', "", [BERN]),
    (
        '{"name": "get_weather", "parameters": {"city": "Bern"}}; {"name": "clock", "parameters": {}} ; '
        '{"name": "get_weather", "parameters": {"city": "a {b} [c]", "options": {"d": {"e": "}"}}}}',
        "",
        [BERN, ("clock", {}), ("get_weather", {"city": "a {b} [c]", "options": {"d": {"e": "}"}}})],
    ),
    (
        'Here is the result: {"name": "get_weather", "parameters": {"city": "Bern"}} Would you like more?',
        "Here is the result:\nWould you like more?",
        [BERN],
    ),
    ('<|python_tag|>get_weather.call(city="Bern")', "", [BERN]),
    ('<function=get_weather>{"city": "Bern"}</function>', "", [BERN]),
    (
        'Both:\n<function=get_weather>{"city": "Bern"}</function>\n<function=clock>{}</function>',
        "Both:",
        [BERN, ("clock", {})],
    ),
    ("The answer is {42}.", "The answer is {42}.", []),
    (
        '{"name": "get_weather", "parameters": {invalid}',
        '{"name": "get_weather", "parameters": {invalid}',
        [],
    ),
    ('{"just": "json"}', '{"just": "json"}', []),
    ("<function=frob>{}</function>", "<function=frob>{}</function>", []),
    ("<|python_tag|>print(2 ** 10)", "<|python_tag|>print(2 ** 10)", []),  # nobody could run it
]


@pytest.mark.parametrize(("text", "words", "calls"), CASES)
def test_transcripts(text: str, words: str, calls: list[object]):
    thoughts, said, called = read_both_ways(text, LLAMA)
    assert (thoughts, said) == ("", words)
    assert [(name, json.loads(arguments)) for name, arguments in called] == calls


@pytest.mark.parametrize(
    ("tools", "call"),
    [
        ({"ipython": {}}, ("ipython", "code")),
        ({"python": {"properties": {"source": {"type": "string"}}}}, ("python", "source")),
    ],
)
def test_code_is_for_the_function_that_runs_code(tools: dict[str, object], call: tuple[str, str]):
    code = "import math\nprint(math.pi)"
    ((name, arguments),) = read_both_ways(f"<|python_tag|>{code}", LLAMA, tools={**TOOLS, **tools})[2]
    assert (name, json.loads(arguments)) == (call[0], {call[1]: code})
