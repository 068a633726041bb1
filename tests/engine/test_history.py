"""What chat templates can show, and conversations with calls rendered by the templates of each family."""

import json
import re
from typing import Any

import pytest

from janagent.engine.faults import RequestError
from janagent.engine.history import Abilities, tidied
from janagent.engine.prompt import ChatPrompt, compile_template, make_chat_prompt
from janagent.engine.tools import toolbox_of
from tests.engine import templates

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather somewhere.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
BOX = toolbox_of([WEATHER], None)


def call(id_: str, city: str) -> dict[str, Any]:
    function = {"name": "get_weather", "arguments": json.dumps({"city": city})}
    return {"id": id_, "type": "function", "function": function}


def result(id_: str, text: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id_, "content": text}


ONE, TWO = "call_0123456789abcdef01234567", "call_another"
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Bern and Oslo?"},
    {"role": "assistant", "content": "", "tool_calls": [call(ONE, "Bern"), call(TWO, "Oslo")]},
    result(TWO, "rain in Oslo"),
    result(ONE, "sun in Bern"),
]


def prompt_of(template: str | None) -> ChatPrompt:
    return make_chat_prompt(
        pre_prompt=None, user_prompt=None, ai_prompt=None, template=template, bos="", eos=""
    )


def abilities_of(template: str) -> Abilities:
    return compile_template(template, bos="", eos="").abilities


@pytest.mark.parametrize(
    ("template", "able"),
    [
        (templates.QWEN, Abilities(tools=True, calls=True)),
        (templates.QWEN_CODER, Abilities(tools=True, calls=True)),
        (templates.LLAMA, Abilities(tools=True, calls=True, one_call=True)),
        (templates.MISTRAL, Abilities(tools=True, calls=True, short_ids=True)),
        (templates.DEEPSEEK, Abilities(tools=True, calls=True, wants_text=True, wants_null=True)),
        (templates.GEMMA_2, Abilities(system=False)),
        (templates.SMOLLM_3, Abilities()),
        ("{{ raise_exception('no') }}", Abilities(system=False)),
        ("nothing", Abilities(system=False)),
    ],
)
def test_what_a_template_can_show_is_found_out(template: str, able: Abilities):
    assert abilities_of(template) == able


@pytest.mark.parametrize(
    "template",
    [
        *(templates.QWEN, templates.QWEN_CODER, templates.LLAMA, templates.MISTRAL, templates.DEEPSEEK),
        *(templates.GEMMA_2, templates.SMOLLM_3, None),
    ],
)
def test_calls_and_results_go_back_in(template: str | None):
    prompt = prompt_of(template)
    text = prompt.render(TALK, toolbox=BOX)
    for said in ("Bern and Oslo?", "get_weather", "rain in Oslo", "sun in Bern"):
        assert said in text
    assert "'city'" not in text
    assert '\\"city\\"' not in text
    assert text.index("sun in Bern") > text.index("Bern and Oslo?")
    later = [*TALK, {"role": "assistant", "content": "Sun."}, {"role": "user", "content": "And Rome?"}]
    for box in (BOX, None):
        text = prompt.render(later, toolbox=box)
        assert "And Rome?" in text
        assert "Be brief." in text


def test_a_template_s_own_form_is_used():
    text = prompt_of(templates.QWEN).render(TALK, toolbox=BOX)
    assert '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern"}}\n</tool_call>' in text
    assert "<tool_response>\nrain in Oslo\n</tool_response>" in text
    coder = prompt_of(templates.QWEN_CODER).render(TALK, toolbox=BOX)
    assert "<parameter=city>\nBern\n</parameter>" in coder
    deepseek = prompt_of(templates.DEEPSEEK).render(TALK, toolbox=BOX)
    assert 'get_weather\n```json\n{"city": "Bern"}\n```' in deepseek


def test_one_call_a_message_means_each_with_its_own_result():
    text = prompt_of(templates.LLAMA).render(TALK, toolbox=BOX)
    order = [
        text.index(said) for said in ('{"city": "Oslo"}', "rain in Oslo", '{"city": "Bern"}', "sun in Bern")
    ]
    assert order == sorted(order)


def test_ids_become_as_short_as_a_template_wants_them():
    text = prompt_of(templates.MISTRAL).render(TALK, toolbox=BOX)
    called = re.findall(r'"id": "(\w{9})"', text)
    assert len(set(called)) == 2
    assert re.findall(r'"call_id": "(\w{9})"', text) == called[::-1]
    short = [{**m, "tool_calls": [call("AbCdEf123", "Bern")]} if "tool_calls" in m else m for m in TALK[:3]]
    assert "AbCdEf123" in prompt_of(templates.MISTRAL).render([*short, result("AbCdEf123", "sun")])


def test_a_template_that_knows_no_calls_is_told_in_words_that_take_turns():
    text = prompt_of(templates.GEMMA_2).render(TALK, toolbox=BOX)
    turns = re.findall(r"<start_of_turn>(\w+)", text)
    assert turns == ["user", "model", "user", "model"]
    assert '"name": "get_weather"' in text
    assert "Result of get_weather:\nsun in Bern" in text
    assert text.index("Be brief.") < text.index("Bern and Oslo?")


def test_what_a_model_wrote_wrongly_does_not_end_the_conversation():
    wrong = call(ONE, "")
    wrong["function"]["arguments"] = "{city: Bern"
    talk = [TALK[1], {"role": "assistant", "content": "", "tool_calls": [wrong]}, result(ONE, "error")]
    for template in (templates.QWEN, templates.QWEN_CODER, templates.LLAMA, templates.DEEPSEEK, None):
        assert "{city: Bern" in prompt_of(template).render(talk, toolbox=BOX)


def test_openai_s_first_form_of_calls_is_understood():
    talk = [
        TALK[1],
        {"role": "assistant", "content": "", "function_call": {"name": "get_weather", "arguments": "{}"}},
        {"role": "function", "name": "get_weather", "content": "sun"},
    ]
    text = prompt_of(templates.QWEN).render(talk)
    assert '<tool_call>\n{"name": "get_weather", "arguments": {}}' in text
    assert "<tool_response>\nsun" in text


def test_messages_are_tidied():
    told = tidied([{"role": "assistant", "content": "x", "tool_calls": [], "reasoning": "hm"}, *TALK[2:]])
    assert "tool_calls" not in told[0]
    assert told[0]["reasoning_content"] == "hm"
    assert [message.get("name") for message in told[2:]] == ["get_weather", "get_weather"]
    assert tidied([result("unknown", "x")])[0]["name"] == ""


@pytest.mark.parametrize("broken", [[5], [{}], [{"function": {}}], [{"function": {"name": 5}}], 5, {"a": 1}])
def test_a_broken_call_in_the_history_is_named(broken: Any):
    with pytest.raises(RequestError, match="tool_calls"):
        tidied([{"role": "assistant", "content": "", "tool_calls": broken}])


def test_thoughts_of_earlier_turns_reach_the_template():
    talk = [TALK[1], {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}]
    assert "<think>\nHm.\n</think>\n\nYes." in prompt_of(templates.QWEN).render(talk)
