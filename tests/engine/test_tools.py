"""Functions that a model may call: in prompts, by force, and back as results."""

import json
from typing import Any

import pytest

from janagent.engine.calls import Style, Thinking
from janagent.engine.faults import RequestError
from janagent.engine.prompt import ChatPrompt, make_chat_prompt
from janagent.engine.tools import Family, toolbox_of
from tests.engine.engines import Client, user

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather somewhere",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"enum": ["Bern", "Oslo"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 9},
            },
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
ASK = user("How is the weather in Oslo?")
HERMES = (
    "{% if tools %}TOOLS {% for tool in tools %}{{ tool | tojson }}{% endfor %} <tool_call>{% endif %}"
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}"
    "{% for call in m.tool_calls or [] %}"
    "<tool_call>{{ call.function.arguments | tojson }}</tool_call>{% endfor %}"
    "{% endfor %}"
)


def prompt_of(template: str | None, **pieces: str) -> ChatPrompt:
    return make_chat_prompt(
        pre_prompt=pieces.get("pre_prompt"),
        user_prompt=pieces.get("user_prompt"),
        ai_prompt=pieces.get("ai_prompt"),
        template=template,
        bos="",
        eos="",
    )


def assert_weather(call: Any) -> None:
    assert call["type"] == "function"
    assert call["id"].startswith("call_")
    assert call["function"]["name"] == "weather"
    arguments = json.loads(call["function"]["arguments"])
    assert arguments["city"] in ("Bern", "Oslo")
    assert 1 <= arguments["days"] <= 9


async def test_a_named_function_is_called_with_arguments_that_fit(client: Client):
    named = {"type": "function", "function": {"name": "weather"}}
    for temperature in (0, 3.0):
        shown = await client.ok(
            "chat/completions",
            messages=ASK,
            tools=[CLOCK, WEATHER],
            tool_choice=named,
            max_tokens=200,
            temperature=temperature,
        )
        choice = shown["choices"][0]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["content"] is None
        (call,) = choice["message"]["tool_calls"]
        assert_weather(call)


async def test_required_is_one_call_or_several(client: Client):
    shown = await client.ok(
        "chat/completions", messages=ASK, tools=[WEATHER, CLOCK], tool_choice="required", max_tokens=400
    )
    calls = shown["choices"][0]["message"]["tool_calls"]
    assert 1 <= len(calls) <= 8
    for call in calls:
        if call["function"]["name"] == "weather":
            assert_weather(call)
        else:
            assert json.loads(call["function"]["arguments"]) == {}
    only = await client.ok(
        "chat/completions",
        messages=ASK,
        tools=[WEATHER, CLOCK],
        tool_choice="required",
        parallel_tool_calls=False,
        max_tokens=200,
    )
    assert len(only["choices"][0]["message"]["tool_calls"]) == 1


async def test_a_streamed_call_adds_up_to_a_whole_one(client: Client):
    events = await client.events(
        "chat/completions",
        messages=ASK,
        tools=[WEATHER],
        tool_choice="required",
        parallel_tool_calls=False,
        max_tokens=200,
    )
    deltas = [event["choices"][0]["delta"] for event in events if event["choices"]]
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    first, *rest = calls
    assert first["function"]["arguments"] == ""
    assert all(set(call) == {"index", "function"} for call in rest)
    assert len(rest) > 3, "arguments come piece by piece"
    whole = {**first, "function": {**first["function"]}}
    whole["function"]["arguments"] = "".join(call["function"]["arguments"] for call in rest)
    assert_weather(whole)
    assert not any(delta.get("content") for delta in deltas)
    assert [e["choices"][0]["finish_reason"] for e in events if e["choices"]][-1] == "tool_calls"


async def test_calls_and_results_go_back_in(client: Client):
    call = {"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    messages = [
        *ASK,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "12:30"},
    ]
    shown = await client.ok("chat/completions", messages=messages, tools=[CLOCK], max_tokens=8)
    assert shown["choices"][0]["finish_reason"] in ("stop", "length", "tool_calls")
    none = await client.ok(
        "chat/completions", messages=messages, tools=[CLOCK], tool_choice="none", max_tokens=8
    )
    assert "tool_calls" not in none["choices"][0]["message"]


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"tools": [{"type": "frob"}]}, "tools[0]"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": "x", "parameters": 5}}]},
         "tools[0].function.parameters"),
        ({"tools": "x"}, "tools"),
        ({"tools": [CLOCK], "tool_choice": "perhaps"}, "tool_choice"),
        ({"tools": [CLOCK], "tool_choice": {"function": {"name": "other"}}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [CLOCK], "tool_choice": "required", "grammar": 'root ::= "a"'}, "tool_choice"),
        ({"tools": [{"type": "function", "function": {"name": "x", "parameters": {"not": {}}}}],
          "tool_choice": "required"}, "tools"),
    ],
)  # fmt: skip
async def test_what_is_wrong_with_tools_is_400_and_named(client: Client, more: dict[str, Any], param: str):
    error = await client.error("chat/completions", messages=ASK, **more)
    assert error["param"] == param


def test_a_template_that_knows_tools_shows_them_itself():
    prompt = prompt_of(HERMES)
    assert prompt.family == Family(Style.HERMES, has_tools=True)
    call = {"id": "1", "type": "function", "function": {"name": "clock", "arguments": '{"a": 1}'}}
    messages = [*ASK, {"role": "assistant", "content": "", "tool_calls": [call]}]
    text = prompt.render(messages, toolbox=toolbox_of([CLOCK], None))
    assert "TOOLS" in text
    assert '"clock"' in text
    assert '<tool_call>{"a": 1}</tool_call>' in text, "an object, which the template writes as JSON"
    assert "TOOLS" not in prompt.render(ASK)


@pytest.mark.parametrize("pieces", [{}, {"user_prompt": "USER: ", "ai_prompt": "AI: "}])
def test_a_template_that_knows_none_gets_them_in_words(pieces: dict[str, str]):
    prompt = prompt_of(None, **pieces)
    call = {"id": "1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": "Be brief."},
        *ASK,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "12:30"},
    ]
    text = prompt.render(messages, toolbox=toolbox_of([WEATHER], None))
    assert "Be brief." in text
    assert '"name": "weather"' in text
    assert text.index("weather") < text.index("clock") < text.index("12:30")


@pytest.mark.parametrize(
    ("template", "style"),
    [
        ("{{ tools }}<tool_call>", Style.HERMES),
        ("{{ tools }}[TOOL_CALLS]", Style.MISTRAL),
        ("{{ tools }}<|python_tag|>", Style.LLAMA),
        ("{{ tools }}Environment: ipython", Style.LLAMA),
        ("{{ tools }}", Style.FENCED),
        ("<tool_call>", Style.FENCED),
    ],
)
def test_a_family_is_known_by_its_marks(template: str, style: Style):
    assert Family.of(template).style is style


def test_whether_a_prompt_ends_within_thoughts():
    family = Family.of("{% if x %}<think></think>{% endif %}")
    assert family.thinking_after("...assistant\n<think>\n") == Thinking(is_open=True)
    assert family.thinking_after("...assistant\n") == Thinking()
    assert Family.of("plain").thinking_after("<think>") is None


def test_definitions_of_a_function_s_schema_are_found():
    parameters = {
        "type": "object",
        "properties": {"at": {"$ref": "#/$defs/Place"}},
        "$defs": {"Place": {"enum": ["here"]}},
    }
    box = toolbox_of([{"type": "function", "function": {"name": "x", "parameters": parameters}}], "required")
    assert box is not None
    schema = box.forcing_schema()
    assert schema is not None
    assert schema["$defs"] == {"Place": {"enum": ["here"]}}


def test_a_choice_that_is_free_forces_nothing():
    box = toolbox_of([CLOCK], "auto")
    assert box is not None
    assert box.forcing_schema() is None
    with pytest.raises(RequestError):
        toolbox_of([CLOCK], 5)
