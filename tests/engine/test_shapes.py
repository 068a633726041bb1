"""Answers of a forced shape, with the real model over the real socket."""

import json
from typing import Any

import pytest

from janagent.engine.model import Model
from janagent.engine.shapes import ShapeError, Shapes, closed, gbnf_shape, json_shape
from tests.engine.engines import Client, answer_text, streamed_text, user

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
ASK = user("Describe a person as JSON.")


def schema(of: Any, *, name: str = "person") -> dict[str, Any]:
    """`response_format` as OpenAI has it."""
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": of}}


def assert_person(text: str) -> None:
    value = json.loads(text)
    assert value.keys() == {"name", "age", "tags"}
    assert isinstance(value["name"], str)
    assert len(value["name"]) <= 20
    assert 0 <= value["age"] <= 150
    assert set(value["tags"]) <= {"a", "b"}
    assert len(value["tags"]) <= 3


def test_an_object_has_what_it_declares_unless_it_says_otherwise():
    inner = {"properties": {"a": {"type": "string"}}}
    shut = {**inner, "additionalProperties": False}
    assert closed(inner) == shut
    assert closed({"items": inner, "$defs": {"x": inner}}) == {"items": shut, "$defs": {"x": shut}}
    assert closed({"anyOf": [inner, {"type": "null"}]}) == {"anyOf": [shut, {"type": "null"}]}
    assert closed({"properties": {"properties": inner}})["properties"] == {"properties": shut}
    for said in (
        {**inner, "additionalProperties": True},
        {**inner, "patternProperties": {"^x": {}}},
        {**inner, "anyOf": [inner]},
        {**inner, "required": ["b"]},
        {"type": "object"},
        {"properties": 5},
    ):
        assert closed(said) == said
    assert json_shape({"allOf": [inner, inner]}) != json_shape({"allOf": [shut, shut]})


async def test_a_schema_that_closes_nothing_still_ends(client: Client):
    """Pydantic's and langchain's schemas do not close their objects."""
    open_one = {"properties": {"city": {"enum": ["Bern"]}}, "required": ["city"], "type": "object"}
    for _ in range(3):
        shown = await client.ok(
            "chat/completions", messages=ASK, max_tokens=40, temperature=2, response_format=schema(open_one)
        )
        assert json.loads(answer_text(shown)) == {"city": "Bern"}


@pytest.mark.parametrize("temperature", [0, 0.8, 5.0])
async def test_an_answer_fits_its_schema_however_wild_the_sampling_is(client: Client, temperature: float):
    for _ in range(3):
        shown = await client.ok(
            "chat/completions",
            messages=ASK,
            max_tokens=200,
            temperature=temperature,
            response_format=schema(PERSON),
        )
        assert shown["choices"][0]["finish_reason"] == "stop"
        assert_person(answer_text(shown))


async def test_a_stream_of_several_answers_fits_too(client: Client):
    events = await client.events(
        "chat/completions", messages=ASK, max_tokens=200, response_format=schema(PERSON)
    )
    assert_person(streamed_text(events))
    shown = await client.ok(
        "chat/completions", messages=ASK, n=3, max_tokens=200, response_format=schema(PERSON)
    )
    for choice in shown["choices"]:
        assert_person(choice["message"]["content"])


async def test_json_object_is_any_object(client: Client):
    shown = await client.ok(
        "chat/completions",
        messages=user("Give me a short JSON object with two fields."),
        max_tokens=300,
        temperature=0,
        response_format={"type": "json_object"},
    )
    text = answer_text(shown)
    assert text.startswith("{")
    if shown["choices"][0]["finish_reason"] == "stop":
        assert isinstance(json.loads(text), dict)


async def test_a_grammar_decides_every_character(client: Client):
    grammar = 'root ::= ("yes" | "no") ", " number "!"\nnumber ::= [1-9] [0-9]{0,2}\n'
    shown = await client.ok("chat/completions", messages=ASK, grammar=grammar, temperature=2.0)
    text = answer_text(shown)
    assert text.startswith(("yes, ", "no, "))
    assert text.endswith("!")
    assert text[text.index(" ") + 1 : -1].isdigit()
    plain = await client.ok("completions", prompt="Is the sky blue?", grammar=grammar)
    assert plain["choices"][0]["text"].endswith("!")


async def test_letters_of_all_scripts_may_come_in_strings(client: Client):
    named = {**PERSON, "properties": {"ort": {"const": "Zürich 東京 🙂"}}, "required": ["ort"]}
    shape = schema(named)
    shown = await client.ok("chat/completions", messages=ASK, max_tokens=100, response_format=shape)
    assert shown["choices"][0]["finish_reason"] == "stop", shown
    assert json.loads(answer_text(shown)) == {"ort": "Zürich 東京 🙂"}


async def test_logprobs_beside_a_shape_are_the_model_s_own(client: Client):
    shown = await client.ok(
        "chat/completions",
        messages=ASK,
        max_tokens=60,
        temperature=0,
        response_format=schema({"const": 7}),
        logprobs=True,
        top_logprobs=5,
    )
    assert answer_text(shown) == "7"
    (token,) = shown["choices"][0]["logprobs"]["content"][:1]
    assert all(entry["logprob"] > -100 for entry in token["top_logprobs"])
    assert token["top_logprobs"][0]["logprob"] > token["logprob"], "the model meant to say something else"


async def test_max_tokens_cuts_a_shape_and_says_so(client: Client):
    shown = await client.ok(
        "chat/completions", messages=ASK, max_tokens=3, response_format=schema(PERSON), ignore_eos=True
    )
    assert shown["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("of", "word"),
    [
        ({"not": {"type": "string"}}, "not"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"$ref": "https://example.com/x"}, "https://example.com/x"),
        ({"type": "frob"}, "frob"),
        ({"$ref": "#/nowhere"}, "nowhere"),
    ],
)
async def test_what_is_not_supported_of_a_schema_is_400_and_named(client: Client, of: Any, word: str):
    error = await client.error("chat/completions", messages=ASK, response_format=schema(of))
    assert error["param"].startswith("response_format")
    assert word in error["message"]


def test_a_shape_that_was_dropped_from_the_cache_is_compiled_anew(model: Model):
    shapes = Shapes(model)
    first = json_shape({"const": 0})
    shapes.compile(first)
    for number in range(1, 40):
        shapes.compile(json_shape({"const": number}))
    assert not shapes.walk(first).is_over


def test_a_grammar_that_is_none_says_why():
    with pytest.raises(ShapeError, match="GBNF"):
        gbnf_shape("root := x")
