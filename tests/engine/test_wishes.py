"""Which shape a request asks for: the fields of OpenAI and of llama-server, and what is wrong with them."""

import json
from typing import Any

import pytest

from tests.engine.engines import Client, answer_text, user

ASK = user("Describe a person as JSON.")
YES = {"const": "yes"}


@pytest.mark.parametrize(
    "wish",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": YES}}},
        {"response_format": {"type": "json_schema", "json_schema": {"type": "string", "enum": ["yes"]}}},
        {"response_format": {"type": "json_object", "schema": YES}},
        {"json_schema": YES},
        {"grammar": 'root ::= "\\"yes\\""'},
    ],
)
async def test_every_way_of_asking_is_understood(client: Client, wish: dict[str, Any]):
    chat = await client.ok("chat/completions", messages=ASK, **wish)
    assert json.loads(answer_text(chat)) == "yes"
    plain = await client.ok("completions", prompt="So?", **wish)
    assert json.loads(plain["choices"][0]["text"]) == "yes"


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": 5}}},
            "response_format.json_schema.schema",
        ),
        ({"response_format": "json"}, "response_format"),
        ({"grammar": "root ::= ("}, "grammar"),
        ({"grammar": "root ::= nothing"}, "grammar"),
        ({"grammar": 5}, "grammar"),
        ({"grammar": 'root ::= "a"', "response_format": {"type": "json_object"}}, "grammar"),
    ],
)
async def test_a_malformed_wish_is_400_and_named(client: Client, more: dict[str, Any], param: str):
    error = await client.error("chat/completions", messages=ASK, **more)
    assert error["param"] == param


async def test_a_text_format_is_free_text(client: Client):
    shown = await client.ok(
        "chat/completions",
        messages=ASK,
        max_tokens=4,
        response_format={"type": "text"},
        seed=1,
        temperature=0,
    )
    free = await client.ok("chat/completions", messages=ASK, max_tokens=4, seed=1, temperature=0)
    assert answer_text(shown) == answer_text(free)


NAMED = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 9}}, "required": ["name"]}
TOOL = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}


async def test_beside_functions_an_answer_in_json_is_one_or_a_call(client: Client):
    shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": NAMED}}
    for seed in range(4):
        shown = await client.ok(
            "chat/completions",
            messages=ASK,
            response_format=shape,
            tools=[TOOL],
            max_tokens=60,
            seed=seed,
            temperature=1.5,
        )
        message = shown["choices"][0]["message"]
        if "tool_calls" in message:
            assert [call["function"]["name"] for call in message["tool_calls"]] == ["clock"]
            assert message["content"] is None
        else:
            assert list(json.loads(message["content"])) == ["name"]


async def test_a_function_s_odd_schema_does_not_stand_in_the_way_of_an_answer(client: Client):
    odd = {"type": "function", "function": {"name": "odd", "parameters": {"propertyNames": {}}}}
    body: dict[str, Any] = {"messages": ASK, "tools": [odd], "max_tokens": 60}
    shown = await client.ok(
        "chat/completions", response_format={"type": "json_object", "schema": YES}, **body
    )
    message = shown["choices"][0]["message"]
    assert "tool_calls" in message or json.loads(message["content"]) == "yes"
    wrong = {"type": "json_object", "schema": {"not": {}}}
    error = await client.error("chat/completions", response_format=wrong, **body)
    assert error["param"] == "response_format"


async def test_a_grammar_may_ask_for_a_call(client: Client):
    brace = '{"name": "clock", "arguments": {}}'
    grammar = f"root ::= {json.dumps(brace)}"
    called = await client.ok("chat/completions", messages=ASK, grammar=grammar, tools=[TOOL])
    assert called["choices"][0]["finish_reason"] == "tool_calls"
    assert called["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == "{}"
    plain = await client.ok("chat/completions", messages=ASK, grammar=grammar)
    assert plain["choices"][0]["message"]["content"] == brace
