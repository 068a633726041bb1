"""Marks that are tokens: how answers are read, and which ways lead around a forced shape."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import pytest

from janagent.engine.calls import Thinking
from janagent.engine.conversation import NO_READING, Conversation
from janagent.engine.families.channels import HARMONY
from janagent.engine.families.known import Family
from janagent.engine.families.llama import LLAMA
from janagent.engine.families.marked import FORCED, IN_WORDS
from janagent.engine.families.tagged import HERMES
from janagent.engine.llama_log import EngineLog
from janagent.engine.model import Model, load_model
from janagent.engine.tools import toolbox_of
from tests.engine.engines import Client, Engine, client_of, user
from tests.engine.templates import QWEN
from tests.gguf_files import write_model

CLOCK = {"type": "function", "function": {"name": "clock"}}
AUTO = toolbox_of([CLOCK], "auto")
REQUIRED = toolbox_of([CLOCK], "required")
MARKS = {"▁the": "<think>", "▁a": "</think>", "ing": "<tool_call>"}
"""Tokens of the small vocabulary, and what they are made."""


def write_marked(path: Path) -> Path:
    """A model of random weights in whose vocabulary marks are control tokens."""

    def rename(writer: gguf.GGUFWriter) -> None:
        header = writer.kv_data[0]
        tokens, types = header["tokenizer.ggml.tokens"].value, header["tokenizer.ggml.token_type"].value
        for old, new in MARKS.items():
            at = tokens.index(old)
            tokens[at], types[at] = new, int(gguf.TokenType.CONTROL)

    return write_model(path, chat_template=QWEN, customize=rename)


@pytest.fixture(scope="module")
def marked_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_marked(tmp_path_factory.mktemp("marked") / "marked.gguf")


@pytest.fixture(scope="module")
def marked(marked_gguf: Path, engine_log: EngineLog) -> Model:
    return load_model(str(marked_gguf), n_gpu_layers=0, on_progress=lambda _f: None)


@pytest.fixture(scope="module")
def marked_engine(marked_gguf: Path) -> Iterator[Engine]:
    with Engine() as engine:
        yield engine.start(marked_gguf, ctx_len=1024, n_threads=1)


def token(model: Model, mark: str) -> int:
    (found,) = model.tokenize(mark, special=True).tolist()
    return int(found)


def test_control_tokens_of_marks_are_shown_and_lead_around_a_shape(marked: Model):
    talk = Conversation(marked, Family(form=HERMES, thinking=Thinking()))
    think, unthink, call = (token(marked, mark) for mark in MARKS.values())
    assert not marked.piece(think)
    reading = talk.reading("assistant\n", AUTO, hides_thoughts=True)
    assert (reading.form, reading.thinking) == (HERMES, Thinking())
    assert reading.detours.calls == [call]
    assert reading.detours.thinking == (think, re.compile("</think>"))
    assert reading.detours.shown == {think: b"<think>", unthink: b"</think>", call: b"<tool_call>"}
    assert reading.instead == ()
    within = talk.reading("assistant\n<think>\n", None, hides_thoughts=True)
    assert (within.form, within.thinking) == (None, Thinking(is_open=True))
    assert within.detours.thinking == (None, re.compile("</think>"))
    assert talk.reading("", None, hides_thoughts=False).thinking is None


def test_where_calls_have_no_token_they_are_one_more_shape_of_an_answer(marked: Model):
    reading = Conversation(marked, Family(form=LLAMA)).reading("", AUTO, hides_thoughts=True)
    assert reading.detours.calls == []
    assert [list(schema["properties"]) for schema in reading.instead] == [["name", "parameters"]]
    reading = Conversation(marked, Family(form=IN_WORDS)).reading("", AUTO, hides_thoughts=True)
    assert [list(schema["properties"]) for schema in reading.instead] == [["name", "arguments"]]


def test_a_forced_call_is_read_as_our_own_grammar_makes_it(marked: Model):
    reading = Conversation(marked, Family(form=HERMES)).reading("", REQUIRED, hides_thoughts=True)
    assert reading.form is FORCED
    assert (reading.detours.calls, reading.instead) == ((), ())


def test_all_is_words_where_there_is_neither_a_tool_nor_a_thought(marked: Model):
    assert Conversation(marked, Family()).reading("", None, hides_thoughts=True) == NO_READING
    harmony = Conversation(marked, Family(form=HARMONY)).reading("", None, hides_thoughts=True)
    assert harmony.form is HARMONY


SEVEN = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"const": 7}}}


async def test_thoughts_come_before_a_forced_shape(marked_engine: Engine, marked: Model):
    think, unthink, call = (str(token(marked, mark)) for mark in MARKS.values())
    async with client_of(marked_engine) as client:
        thought = await ask(client, logit_bias={think: 8, unthink: 6}, response_format=SEVEN)
        assert thought["message"]["content"] == "7"
        assert "reasoning_content" in thought["message"]
        plain = await ask(client, logit_bias={think: -100, call: -100}, response_format=SEVEN)
        assert plain["message"]["content"] == "7"
        assert "reasoning_content" not in plain["message"]
        raw = await ask(
            client, logit_bias={think: 8, unthink: 6}, response_format=SEVEN, reasoning_format="none"
        )
        assert raw["message"]["content"].startswith("<think>")
        assert raw["message"]["content"].endswith("</think>7")


async def test_thoughts_come_before_a_forced_call(marked_engine: Engine, marked: Model):
    think, unthink, _ = (str(token(marked, mark)) for mark in MARKS.values())
    more = {"tools": [CLOCK], "tool_choice": "required", "parallel_tool_calls": False}
    async with client_of(marked_engine) as client:
        choice = await ask(client, logit_bias={think: 8, unthink: 6}, **more)
    assert choice["finish_reason"] == "tool_calls"
    (made,) = choice["message"]["tool_calls"]
    assert (made["function"]["name"], json.loads(made["function"]["arguments"])) == ("clock", {})
    assert "reasoning_content" in choice["message"]


async def test_beside_a_forced_shape_functions_may_still_be_called(marked_engine: Engine, marked: Model):
    think, call = (str(token(marked, mark)) for mark in ("<think>", "<tool_call>"))
    body = {"logit_bias": {call: 100, think: -100}, "response_format": SEVEN, "temperature": 0}
    async with client_of(marked_engine) as client:
        free = await ask(client, tools=[CLOCK], max_tokens=3, **body)
        assert free["message"]["content"].startswith("<tool_call>")
        bound = await ask(client, max_tokens=8, **body)
        assert bound["message"]["content"] == "7"


async def test_who_thinks_may_not_end_before_the_shape(marked_engine: Engine, marked: Model):
    think, eos = (str(token(marked, mark)) for mark in ("<think>", "</s>"))
    async with client_of(marked_engine) as client:
        choice = await ask(
            client, logit_bias={think: 50, eos: 100}, response_format=SEVEN, max_tokens=9, temperature=0
        )
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"] == ""


async def ask(client: Client, **body: Any) -> Any:
    shown = await client.ok("chat/completions", messages=user("Hi"), **{"max_tokens": 700, "seed": 3} | body)
    return shown["choices"][0]
