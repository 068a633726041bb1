"""Answers whose every part says whom it is for: gpt-oss (OpenAI's harmony format) and Functionary 3.2.

    <|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>
    <|channel|>commentary to=functions.weather <|constrain|>json<|message|>{"city": "Bern"}<|call|>
    all\\nLet me look.>>>weather\\n{"city": "Bern"}

The formats are those of OpenAI's harmony documentation and of Functionary's chat template, whose prompt ends
with the first `>>>`.
"""

import re

from janagent.engine.calls import Calls, Form, Say
from janagent.engine.callscan import json_value
from janagent.engine.source import Source, Wait

_START, _CHANNEL, _MESSAGE = "<|start|>", "<|channel|>", "<|message|>"
_ENDS = ("<|end|>", "<|return|>", "<|call|>")
_IN_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_RECIPIENT = re.compile(r"to=(?:functions\.)?([^\s<]+)")
_NEXT = ">>>"
FINAL = re.compile(r"(?:^|<\|channel\|>)\s*final[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>")
"""In harmony: after it stands the answer itself."""


def harmony(source: Source, calls: Calls, say: Say, think: Say) -> Wait[None]:
    """Analysis is thought, what is for a function calls it, and the rest is words."""
    was_thought: bool | None = None
    while (yield from source.peek()):
        source.commit()
        yield from source.take_after_space(_START)
        yield from source.take_after_space("assistant")
        begun = yield from source.take_after_space(_CHANNEL, "to=", _MESSAGE)
        if not begun:
            say(source.uncommitted)
            return
        header = begun if begun == _MESSAGE else begun + (yield from source.until(_MESSAGE))[0]
        channel, recipient = _IN_CHANNEL.search(header), _RECIPIENT.search(header)
        if recipient and calls.has(recipient[1]):
            calls.begin(recipient[1])
            _, mark = yield from source.until(_START, *_ENDS, say=calls.more)
            calls.end()
        else:
            is_thought = channel is not None and channel[1] == "analysis"
            tell = think if is_thought else say
            if is_thought is was_thought:
                tell("\n")
            was_thought = is_thought
            _, mark = yield from source.until(_START, *_ENDS, say=tell)
        if mark == _START:
            source.at -= len(mark)


def functionary(source: Source, calls: Calls, say: Say, _think: Say) -> Wait[None]:
    """What is for all is words, what is for a function calls it."""
    mark: str = _NEXT
    yield from source.take_after_space(_NEXT)
    while mark:
        source.commit()
        recipient, line_end = yield from source.until("\n")
        name = recipient.strip()
        if calls.has(name) and (yield from source.skip()) == "{":
            calls.begin(name)
            yield from json_value(source, calls.more)
            calls.end()
            mark = yield from source.take_after_space(_NEXT)
        else:
            say("" if name == "all" else recipient + line_end)
            _, mark = yield from source.until(_NEXT, say=say)


HARMONY = Form(openings={}, channels=harmony, marks=(_CHANNEL, _START, _MESSAGE, "<|constrain|>", *_ENDS))
FUNCTIONARY = Form(openings={}, channels=functionary)
