"""Which family a chat template belongs to."""

import pytest

from janagent.engine.calls import Form, Thinking
from janagent.engine.families.channels import FUNCTIONARY, HARMONY
from janagent.engine.families.gemma import GEMMA
from janagent.engine.families.known import Family
from janagent.engine.families.llama import LLAMA
from janagent.engine.families.marked import IN_WORDS, PHI
from janagent.engine.families.named import DEEPSEEK, MISTRAL
from janagent.engine.families.tagged import HERMES


@pytest.mark.parametrize(
    ("template", "form"),
    [
        ("return a json object within <tool_call></tool_call>", HERMES),
        ("<tool_call>\n<function=x>", HERMES),
        ("[AVAILABLE_TOOLS] [TOOL_CALLS]", MISTRAL),
        ("<|python_tag|> Environment: ipython", LLAMA),
        ("Environment: ipython", LLAMA),
        ("<｜tool▁calls▁begin｜> <think>", DEEPSEEK),
        ("<|tool_call>call:", GEMMA),
        ("<|tool_call|>", PHI),
        ("nothing of the kind", IN_WORDS),
    ],
)
def test_a_family_is_known_by_its_marks(template: str, form: Form):
    assert Family.of(template, shows_tools=True).form is form
    assert Family.of(template, shows_tools=False).form is IN_WORDS


def test_an_answer_in_channels_is_one_with_and_without_tools():
    for shows_tools in (False, True):
        assert Family.of("<|start|>assistant<|channel|>", shows_tools=shows_tools).form is HARMONY
        assert Family.of(">>>all", shows_tools=shows_tools).form is FUNCTIONARY


def test_whether_a_prompt_ends_within_thoughts():
    family = Family.of("{% if x %}<think></think>{% endif %}", shows_tools=True)
    assert family.thinking_after("...assistant\n<think>\n") == Thinking(is_open=True)
    assert family.thinking_after("...assistant\n<think>\n\n</think>\n\n") == Thinking()
    assert family.thinking_after("...assistant\n") == Thinking()
    assert Family.of("plain", shows_tools=True).thinking_after("<think>") is None


@pytest.mark.parametrize(
    ("template", "opening"),
    [
        ("content.split('</think>')", "<think>"),
        ("[THINK]...[/THINK]", "[THINK]"),
        ("<seed:think></seed:think>", "<seed:think>"),
        ("<|channel>thought\n<channel|>", "<|channel>thought\n"),
    ],
)
def test_thoughts_are_marked_in_several_ways(template: str, opening: str):
    thinking = Family.of(template, shows_tools=False).thinking
    assert thinking is not None
    assert thinking.opening == opening


def test_all_marks_of_a_family_are_told():
    family = Family.of("[TOOL_CALLS] [THINK] [/THINK]", shows_tools=True)
    assert family.marks == ("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]", "[THINK]", "[/THINK]")
