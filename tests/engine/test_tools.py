"""Functions that a model may call: in prompts, by force, and back as results."""

import json
from typing import Any

import pytest

from janagent.engine.model import Model
from janagent.engine.tools import toolbox_of
from tests.engine.engines import Client, user
from tests.engine.shaping import fits

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
        ({"tools": [CLOCK], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.allowed_tools"),
        ({"tools": [CLOCK], "tool_choice": {"type": "allowed_tools", "allowed_tools":
          {"mode": "none", "tools": []}}}, "tool_choice.allowed_tools.mode"),
        ({"tools": [CLOCK], "tool_choice": {"type": "allowed_tools", "allowed_tools":
          {"mode": "auto", "tools": [{"name": "other"}]}}}, "tool_choice"),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0].function"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [CLOCK], "tool_choice": "required", "grammar": 'root ::= "a"'}, "tool_choice"),
        ({"tools": [{"type": "function", "function": {"name": "x", "parameters": {"not": {}}}}],
          "tool_choice": "required"}, "tools"),
    ],
)  # fmt: skip
async def test_what_is_wrong_with_tools_is_400_and_named(client: Client, more: dict[str, Any], param: str):
    error = await client.error("chat/completions", messages=ASK, **more)
    assert error["param"] == param


async def test_the_function_whose_schema_cannot_be_kept_is_named(client: Client):
    odd = {"type": "function", "function": {"name": "odd one", "parameters": {"propertyNames": {}}}}
    error = await client.error("chat/completions", messages=ASK, tools=[CLOCK, odd], tool_choice="required")
    assert "odd one" in error["message"]
    assert "propertyNames" in error["message"]
    shown = await client.ok("chat/completions", messages=ASK, tools=[CLOCK, odd], max_tokens=4)
    assert shown["choices"][0]["message"]["role"] == "assistant"


def test_choices_come_in_several_ways():
    tools = [CLOCK, WEATHER]

    def chosen(choice: Any) -> tuple[list[str], list[str]]:
        box = toolbox_of(tools, choice)
        assert box is not None
        return list(box.parameters), list(box.forced)

    both = ["clock", "weather"]
    assert chosen("auto") == chosen(None) == (both, [])
    assert chosen("required") == (both, both)
    for named in (
        {"type": "function", "function": {"name": "clock"}},
        {"type": "function", "name": "clock"},
    ):
        assert chosen(named) == (both, ["clock"])
        allowed: dict[str, Any] = {"tools": [named], "mode": "required"}
        assert chosen({"type": "allowed_tools", "allowed_tools": allowed}) == (["clock"], ["clock"])
        allowed["mode"] = "auto"
        assert chosen({"type": "allowed_tools", "allowed_tools": allowed}) == (["clock"], [])
    assert toolbox_of(tools, "none") is None
    assert toolbox_of([], None) is None


def test_functions_whose_definitions_have_one_name_keep_their_own(model: Model):
    def tool(name: str, value: str) -> dict[str, Any]:
        parameters = {
            "type": "object",
            "properties": {"at": {"$ref": "#/$defs/Place"}},
            "required": ["at"],
            "$defs": {"Place": {"enum": [value]}},
        }
        return {"type": "function", "function": {"name": name, "parameters": parameters}}

    box = toolbox_of([tool("x", "here"), tool("y", "there")], "required")
    assert box is not None
    schema = box.forcing_schema()
    assert schema is not None
    assert fits(model, schema, [{"name": "x", "arguments": {"at": "here"}}])
    assert fits(model, schema, [{"name": "y", "arguments": {"at": "there"}}])
    assert not fits(model, schema, [{"name": "x", "arguments": {"at": "there"}}])


@pytest.mark.parametrize("draft", [{}, {"$schema": "http://json-schema.org/draft-07/schema#"}])
def test_a_schema_that_is_a_reference_stays_within_itself(model: Model, draft: dict[str, str]):
    place = {"type": "object", "properties": {"at": {"enum": ["here"]}}, "required": ["at"]}
    parameters = {**draft, "$ref": "#/definitions/Place", "definitions": {"Place": place}}
    box = toolbox_of([{"type": "function", "function": {"name": "x", "parameters": parameters}}], "required")
    assert box is not None
    schema = box.forcing_schema()
    assert schema is not None
    assert fits(model, schema, [{"name": "x", "arguments": {"at": "here"}}])
    assert not fits(model, schema, [{"name": "x", "arguments": {}}])


@pytest.mark.parametrize("parameters", [None, {}, {"type": "object", "properties": {}}, {"properties": {}}])
def test_a_function_without_parameters_takes_none(model: Model, parameters: Any):
    box = toolbox_of([{"type": "function", "function": {"name": "x", "parameters": parameters}}], "required")
    assert box is not None
    schema = box.forcing_schema()
    assert schema is not None
    assert fits(model, schema, [{"name": "x", "arguments": {}}])
    assert not fits(model, schema, [{"name": "x", "arguments": {"a": 1}}])


def test_a_name_may_be_odd(model: Model):
    name = 'my.server/"odd" näme'
    box = toolbox_of([{"type": "function", "function": {"name": name}}], "required")
    assert box is not None
    schema = box.forcing_schema()
    assert schema is not None
    assert fits(model, schema, [{"name": name, "arguments": {}}])
