"""Transcripts of Phi-4-mini, Granite 3, Nemotron, Apriel and Command R7B, and of models told in words."""

import json

import pytest

from janagent.engine.calls import Form
from janagent.engine.families.marked import COMMAND, FORCED, IN_WORDS, LISTED, NEMOTRON, PHI
from tests.engine.reading import read_both_ways

BERN = ("get_weather", {"city": "Bern"})
CALL = '{"name": "get_weather", "arguments": {"city": "Bern"}}'
CASES = [
    (PHI, f"<|tool_call|>[{CALL}]<|/tool_call|>", "", [BERN]),
    (PHI, f"<|tool_call|>{CALL}<|/tool_call|>", "", [BERN]),
    (PHI, f"functools[{CALL}]", "", [BERN]),
    (
        PHI,
        f'Let me check.\nfunctools[\n  {CALL},\n  {{"name": "clock", "arguments": {{}}}}\n]',
        "Let me check.",
        [BERN, ("clock", {})],
    ),
    (PHI, f"<|tool_call|>[{CALL}]", "", [BERN]),  # Granite 3 has no closing mark
    (NEMOTRON, f"<TOOLCALL>[{CALL}]</TOOLCALL>", "", [BERN]),
    (LISTED, f"Now:\n<tool_calls>[{CALL}]</tool_calls>", "Now:", [BERN]),
    (
        COMMAND,
        '<|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": "get_weather", "parameters": '
        '{"city": "Bern"}}\n]<|END_ACTION|>',
        "",
        [BERN],
    ),
    (IN_WORDS, CALL, "", [BERN]),
    (IN_WORDS, f"```json\n{CALL}\n```", "", [BERN]),
    (IN_WORDS, f"```tool_call\n{CALL}\n```\nDone.", "Done.", [BERN]),
    (IN_WORDS, f"Sure!\n<tool_call>{CALL}</tool_call>", "Sure!", [BERN]),
    (IN_WORDS, '```tool_code\nprint(get_weather(city="Bern"))\n```', "", [BERN]),  # Gemma 3
    (IN_WORDS, '```tool_code\nresult = default_api.get_weather(city="Bern")\n```', "", [BERN]),
    (
        IN_WORDS,
        '[get_weather(city="Bern"), clock()]',
        "",
        [BERN, ("clock", {})],
    ),  # Gemma 3, as its guide asks
    (IN_WORDS, 'Here:\n```json\n{"a": 1}\n```\n', 'Here:\n```json\n{"a": 1}\n```\n', []),
    (IN_WORDS, "```python\nprint(1)\n```", "```python\nprint(1)\n```", []),
    (IN_WORDS, "```tool_code\nprint(1)\n```", "```tool_code\nprint(1)\n```", []),
    (FORCED, f'[{CALL}, {{"name": "clock", "arguments": {{}}}}]', "", [BERN, ("clock", {})]),
]


@pytest.mark.parametrize(("form", "text", "words", "calls"), CASES)
def test_transcripts(form: Form, text: str, words: str, calls: list[object]):
    thoughts, said, called = read_both_ways(text, form)
    assert (thoughts, said) == ("", words)
    assert [(name, json.loads(arguments)) for name, arguments in called] == calls
