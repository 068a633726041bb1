"""Answers of a forced shape, with the real model over the real socket."""

import json
import re
import threading
from typing import Any

import pytest

from janagent.engine.model import Model
from janagent.engine.shapes import Detour, ShapeError, Shapes, Walk, closed, gbnf_shape, json_shape
from tests.engine.engines import Client, answer_text, streamed_text, user
from tests.engine.shaping import allowed, fits, fits_text, lets_through, shapes_of

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
        ({"type": "string", "pattern": "(?=a)b"}, "pattern: "),
        ({"type": "string", "pattern": "\\bx"}, "pattern: "),
        ({"type": "string", "format": "frob"}, "format: frob"),
        ({"type": "string", "minLength": "3"}, "minLength"),
        ({"type": "object", "propertyNames": {"pattern": "a"}}, "propertyNames"),
        ({"type": "object", "dependentRequired": {"a": ["b"]}}, "dependentRequired"),
        ({"if": {}, "then": {}}, "if"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
        ({"type": "object", "not": {}, "x-guidance": {"lenient": True}}, "not"),
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


def test_an_object_has_no_more_than_its_listed_properties(model: Model):
    nested = {"type": "array", "items": {"properties": {"b": {"type": "integer"}}, "type": "object"}}
    open_ = {"type": "object", "properties": {"a": nested}}
    assert fits(model, open_, {"a": [{"b": 1}]})
    assert not fits(model, open_, {"a": [{"b": 1, "c": 2}]})
    assert not fits(model, open_, {"a": [], "c": 2})
    assert fits(model, {**open_, "additionalProperties": {"type": "integer"}}, {"a": [], "c": 2})
    assert fits(model, {"type": "object"}, {"whatever": ["x"]})
    named = {"type": "object", "properties": {"properties": {"type": "integer"}}}
    assert fits(model, named, {"properties": 1})


def test_what_is_described_in_several_places_is_left_as_it_is(model: Model):
    def having(name: str) -> dict[str, Any]:
        return {"type": "object", "properties": {name: {"type": "integer"}}, "required": [name]}

    both = {"allOf": [having("a"), having("b")]}
    assert fits(model, both, {"a": 1, "b": 2})
    assert not fits(model, both, {"a": 1})
    joined = {"$defs": {"A": having("a")}, "$ref": "#/$defs/A", **having("b")}
    assert fits(model, joined, {"a": 1, "b": 2})


@pytest.mark.parametrize(
    ("of", "good", "bad"),
    [
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, [5, None], ["5"]),
        ({"type": ["string", "null"]}, ["x", None], [5]),
        ({"enum": ["a", 1, None]}, ["a", 1, None], ["b", 2]),
        ({"const": {"a": [1, None]}}, [{"a": [1, None]}], [{}]),
        ({"type": "string", "pattern": "^[a-c]{2}$"}, ["ab"], ["ad", "abc"]),
        ({"type": "string", "format": "date"}, ["2024-02-29"], ["yesterday"]),
        ({"type": "integer", "exclusiveMinimum": 3, "maximum": 5}, [4, 5], [3, 6]),
        ({"type": "object", "patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": False},
         [{"x1": 1}, {}], [{"y": 1}, {"x1": "a"}]),
        ({"type": "array", "prefixItems": [{"type": "integer"}], "items": False}, [[1]], [["a"], [1, 2]]),
        ({"oneOf": [{"type": "object", "properties": {"kind": {"const": kind}}, "required": ["kind"]}
                    for kind in ("cat", "dog")], "discriminator": {"propertyName": "kind"}},
         [{"kind": "cat"}], [{"kind": "cow"}]),
    ],
)  # fmt: skip
def test_keywords_are_kept(model: Model, of: Any, good: list[Any], bad: list[Any]):
    assert [value for value in good if not fits(model, of, value)] == []
    assert [value for value in bad if fits(model, of, value)] == []


def test_a_schema_may_refer_to_itself(model: Model):
    node = {
        "$defs": {
            "Node": {
                "type": "object",
                "properties": {
                    "value": {"type": "integer"},
                    "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
                },
                "required": ["value", "next"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/Node",
    }
    assert fits(model, node, {"value": 1, "next": {"value": 2, "next": None}})
    assert not fits(model, node, {"value": 1, "next": {"value": 2}})
    tree = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}}
    assert fits(model, tree, {"children": [{"children": []}, {}]})


def test_white_space_has_an_end(model: Model):
    assert fits_text(model, {"type": "object"}, '{"a": 1,\n  "b": [\n    2]}')
    assert not fits_text(model, {"type": "object"}, "{" + " " * 30 + "}")
    assert not fits_text(model, {"type": "object"}, "{\n\n\n}")


@pytest.mark.parametrize(
    ("grammar", "good", "bad"),
    [
        ('root ::= "a" | "b"', "b", "c"),
        ('root ::= [^0-9]+ "\\n"? # comment\n', "xé🙂", "x1"),
        ('root ::= item{2,3}\nitem ::= "\\x41" [a-z]* ";"', "Abc;A;", "A;"),
        ('root ::= "\\u00e9" [\\u00e0-\\u00ff"\\]] "\\U0001F642"', "éü🙂", "eü🙂"),
        ('root ::= . ". \\"" .', '\n. "x', "\nx"),
        ('root ::= (\n  "yes" |\n  "no"\n) ws\nws ::= | " " ws', "no  ", "maybe"),
    ],
)
def test_gbnf_means_what_llama_cpp_says(model: Model, grammar: str, good: str, bad: str):
    for text, may_be in ((good, True), (bad, False)):
        walk = shapes_of(model).walk(gbnf_shape(grammar))
        assert lets_through(model, walk, text) is may_be


def walk_around(model: Model, *detours: Detour) -> Walk:
    return shapes_of(model).walk(json_shape({"const": 7}), detours=detours)


def test_thoughts_that_the_prompt_began_come_before_the_shape(model: Model):
    closing = re.compile("</think>")
    assert lets_through(model, walk_around(model, Detour(opening=None, closing=closing)), "Hm.\n</think>7")
    assert not lets_through(model, walk_around(model, Detour(opening=None, closing=closing)), "Hm.</think>8")
    walk = walk_around(model, Detour(opening=None, closing=closing))
    assert not allowed(model, walk)[list(model.end_tokens)].any()
    assert not lets_through(model, walk_around(model), "Hm.</think>7")


def test_a_detour_begins_only_at_the_beginning(model: Model):
    (mark,) = model.tokenize("<file_sep>", special=True).tolist()
    thinking = Detour(opening=mark, closing=re.compile("</think>"))
    assert lets_through(model, walk_around(model, thinking), "7")
    assert lets_through(model, walk_around(model, thinking), "<file_sep>Hm.</think>7")
    assert not lets_through(model, walk_around(model, thinking), "<file_sep>a</think><file_sep>a</think>7")
    (other,) = model.tokenize("<issue_start>", special=True).tolist()
    both = (thinking, Detour(opening=other))
    assert lets_through(model, walk_around(model, *both), "<file_sep>a</think><issue_start>free as a bird")
    assert not lets_through(model, walk_around(model, *both), "7<issue_start>")
    walk = walk_around(model, *both)
    walk.take(other)
    assert not walk.is_over
    assert allowed(model, walk).all()


def test_who_has_a_shape_does_not_wait_while_another_is_compiled(model: Model):
    many = {
        "anyOf": [{"properties": {f"{i} {j}": {"type": "string"} for j in range(50)}} for i in range(300)]
    }
    shapes = shapes_of(model)
    ready = json_shape({"const": 7})
    shapes.compile(ready)
    compiling = threading.Thread(target=shapes.compile, args=(json_shape(many),))
    compiling.start()
    walk = shapes.walk(ready)
    assert compiling.is_alive()
    assert lets_through(model, walk, "7")
    compiling.join()
