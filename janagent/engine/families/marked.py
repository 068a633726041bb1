"""Calls in JSON, alone or in an array, between a pair of marks.

    <|tool_call|>[{"name": "weather", "arguments": {"city": "Bern"}}]<|/tool_call|>
    functools[{"name": "weather", "arguments": {"city": "Bern"}}]
    <TOOLCALL>[...]</TOOLCALL>   <tool_calls>[...]</tool_calls>
    <|START_ACTION|>[{"tool_call_id": "0", "tool_name": "weather", "parameters": {...}}]<|END_ACTION|>
    ```json ... ```   ```tool_call ... ```   ```tool_code ... ```

The first as Phi-4-mini and Granite 3 write it, then Phi-4-mini and FireFunction, Nemotron, Jamba and Apriel,
Command R7B; the last Gemma 3 and whoever else is told of functions in words. The formats are those of the
models' chat templates.
"""

import functools

from janagent.engine.calls import Form
from janagent.engine.callscan import json_calls
from janagent.engine.families.pythonic import python_calls, python_or_json


def marked(opening: str, closing: str) -> Form:
    """A form of one pair of marks."""
    return Form(
        openings={opening: functools.partial(json_calls, closing=closing)},
        bare=json_calls,
        marks=(opening, closing) if closing else (opening,),
    )


PHI = Form(
    openings={
        "<|tool_call|>": functools.partial(json_calls, closing="<|/tool_call|>"),
        "functools[": json_calls,
    },
    bare=json_calls,
    marks=("<|tool_call|>", "<|/tool_call|>"),
)
NEMOTRON = marked("<TOOLCALL>", "</TOOLCALL>")
LISTED = marked("<tool_calls>", "</tool_calls>")
COMMAND = marked("<|START_ACTION|>", "<|END_ACTION|>")
IN_WORDS = Form(
    openings={
        "```json": functools.partial(json_calls, closing="```"),
        "```tool_call": python_calls("```"),
        "```tool_code": python_calls("```"),
        "<tool_call>": functools.partial(json_calls, closing="</tool_call>"),
    },
    bare=python_or_json,
    marks=("<tool_call>", "</tool_call>"),
)
"""For models that were never shown a form: what they fall into."""
FORCED = Form(openings={}, bare=json_calls)
"""A JSON array of calls and nothing else, as our own grammar makes it."""
