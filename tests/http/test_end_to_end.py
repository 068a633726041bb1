"""The API as clients meet it: a real daemon process, the real model, the unmodified `openai` package."""

import asyncio
import contextlib
import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import aiohttp
import openai
import pydantic
import pytest

from tests.daemons import Daemon, chat_body, stream_chats_at_once
from tests.engine.bert import write_reranker
from tests.gguf_files import write_model

MODEL = "smol"
QUESTION: list[Any] = [{"role": "user", "content": "Name a colour."}]
TIMEOUT = aiohttp.ClientTimeout(total=120)


@pytest.fixture
def client(daemon: Daemon) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="none", max_retries=0, timeout=120) as client:
        yield client


def error_of(daemon: Daemon, path: str, body: Any) -> tuple[int, dict[str, Any]]:
    status, answer = daemon.call("POST", path, body)
    assert set(answer["error"]) == {"message", "type", "param", "code"}, answer
    return status, answer["error"]


def live_requests(daemon: Daemon) -> int:
    _, text = daemon.call("GET", "/metrics")
    lines = [line for line in text.splitlines() if line.startswith("janagent_engine_requests_live{")]
    return sum(int(line.rsplit(" ", 1)[1]) for line in lines)


async def eventually(is_true: Callable[[], bool], *, within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while not await asyncio.to_thread(is_true):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)


def test_openai_lists_models(client: openai.OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}
    assert models[MODEL].object == "model"
    assert client.models.retrieve(MODEL).id == MODEL


def test_openai_chats(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=12, temperature=0)
    assert answer.object == "chat.completion"
    assert answer.model == MODEL
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_openai_streams_the_same_chat(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=12, temperature=0, seed=1
    )
    with client.chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        max_tokens=12,
        temperature=0,
        seed=1,
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens <= 12


def test_openai_completes(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt="The capital of France is", max_tokens=8)
    assert answer.object == "text_completion"
    assert answer.choices[0].text


def test_openai_embeds(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model=MODEL, input=["a cat", "a dog"])
    assert [entry.index for entry in answer.data] == [0, 1]
    for entry in answer.data:
        assert math.isclose(sum(x * x for x in entry.embedding), 1, rel_tol=1e-3)


def test_openai_embeds_many_texts_whose_answer_comes_in_pieces(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model=MODEL, input=[f"cat {number}" for number in range(150)])
    assert [entry.index for entry in answer.data] == [*range(150)]
    assert {len(entry.embedding) for entry in answer.data} == {576}


def test_an_azure_client_chats(daemon: Daemon) -> None:
    with openai.AzureOpenAI(
        azure_endpoint=daemon.url, api_key="none", api_version="2024-02-01", max_retries=0, timeout=120
    ) as client:
        answer = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=4)
    assert answer.model == MODEL


def test_openai_knows_our_errors_by_their_classes(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="smoll", messages=QUESTION)
    assert caught.value.code == "model_not_found"
    assert MODEL in caught.value.message
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model=MODEL, messages=QUESTION, temperature="hot")  # type: ignore[call-overload]
    assert wrong.value.param == "temperature"


async def test_four_streams_at_once_interleave_and_are_all_whole(daemon: Daemon) -> None:
    bodies = [
        chat_body(MODEL, f"Count to {number}.") | {"max_tokens": 96, "ignore_eos": True}
        for number in range(4)
    ]
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        answers = await stream_chats_at_once(session, daemon.url, bodies)
    assert [answer[-1]["choices"][0]["finish_reason"] for answer in answers] == ["length"] * 4


def test_a_prompt_that_is_too_long_is_400(daemon: Daemon) -> None:
    body = chat_body(MODEL, "word " * 5000)
    status, error = error_of(daemon, "/v1/chat/completions", body)
    assert (status, error["code"], error["type"]) == (400, "context_length_exceeded", "invalid_request_error")


def test_ten_thousand_stop_strings_are_400_and_name_the_field(daemon: Daemon) -> None:
    body = chat_body(MODEL, stop=[f"stop {number}" for number in range(10_000)])
    status, error = error_of(daemon, "/v1/chat/completions", body)
    assert (status, error["param"]) == (400, "stop")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"max_tokens": "many"}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"n": 0}, "n"),
        ({"logit_bias": [1]}, "logit_bias"),
        ({"stop": 5}, "stop"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages"),
        ({"messages": [{"role": "wizard", "content": "hi"}]}, "messages"),
    ],
)
def test_a_wrong_value_is_400_and_names_the_field(daemon: Daemon, change: dict[str, Any], param: str) -> None:
    status, error = error_of(daemon, "/v1/chat/completions", {**chat_body(MODEL), **change})
    assert (status, error["type"]) == (400, "invalid_request_error")
    assert param in error["param"]


def test_a_prompt_of_hostile_text_is_answered(daemon: Daemon) -> None:
    status, answer = daemon.call(
        "POST", "/v1/chat/completions", chat_body(MODEL, "\x00 <|im_end|> 😀 \u202e")
    )
    assert status == 200
    assert answer["choices"]


def test_the_event_stream_begins_with_a_snapshot_of_the_model(daemon: Daemon) -> None:
    kind, data = next(daemon.events())
    assert kind == "snapshot"
    assert MODEL in [model["id"] for model in data["models"]]
    assert set(data["machine"]) >= {"memory_used_bytes", "memory_budget_bytes", "downloads_paused", "version"}


async def test_a_client_that_vanishes_mid_stream_frees_its_slot(daemon: Daemon) -> None:
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        body = chat_body(MODEL, "Tell a very long story.", stream=True) | {
            "max_tokens": 900,
            "ignore_eos": True,
        }
        response = await session.post(f"{daemon.url}/v1/chat/completions", json=body)
        await response.content.readany()
        response.close()
    await eventually(lambda: live_requests(daemon) == 0)
    status, _ = await asyncio.to_thread(daemon.call, "POST", "/v1/chat/completions", chat_body(MODEL))
    assert status == 200


async def test_kill_9_of_a_worker_mid_stream_is_an_error_event_and_an_aborted_connection(
    tmp_path: Path, starter: Path
) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.drop(MODEL, {"parameters": {"init": {"ctx_len": 1024}}}, gguf=starter)
        await asyncio.to_thread(daemon.wait_state, MODEL, "running")
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
            body = chat_body(MODEL, "Tell a story.", stream=True) | {"max_tokens": 900, "ignore_eos": True}
            async with session.post(f"{daemon.url}/v1/chat/completions", json=body) as response:
                text = await response.content.readany()
                (engine,) = daemon.engines()
                os.kill(engine.pid, signal.SIGKILL)
                is_broken = False
                try:
                    async for chunk in response.content.iter_any():
                        text += chunk
                except aiohttp.ClientPayloadError:
                    is_broken = True
            assert is_broken, "the stream ended as if it were complete"
            assert b"[DONE]" not in text
            error = json.loads(text.rstrip().rpartition(b"\n\n")[2].removeprefix(b"data: "))["error"]
            assert error["code"] == "engine_failed"
            assert "killed" in error["message"]
            with contextlib.closing(openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="none")) as client:
                answer = await asyncio.to_thread(
                    lambda: client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=4)
                )
            assert answer.choices[0].message.content


def test_a_reranker_that_is_dropped_ranks(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        write_reranker(daemon.models / "ranks.gguf")
        write_model(daemon.models / "chats.gguf")
        shown = daemon.wait_state("ranks", "downloaded", "running")
        assert shown["capabilities"] == ["rerank"]
        body = {"model": "ranks", "query": "a cat", "documents": ["snow", {"text": "a cat"}, "dogs"]}
        status, answer = daemon.call("POST", "/v1/rerank", body | {"top_n": 2, "return_documents": True})
        assert (status, answer["model"], len(answer["results"])) == (200, "ranks", 2)
        assert all(result["document"]["text"] for result in answer["results"])
        status, error = error_of(daemon, "/v1/rerank", body | {"model": "chats"})
        assert (status, error["type"]) == (400, "invalid_request_error")
        assert "cannot rank" in error["message"]
        status, error = error_of(daemon, "/v1/rerank", body | {"documents": ["a " * 100]})
        assert (status, error["code"]) == (400, "context_length_exceeded")


class Weather(pydantic.BaseModel):
    """The weather somewhere."""

    city: Literal["Bern", "Oslo"]
    days: int = pydantic.Field(ge=1, le=9)


def test_the_official_client_s_structured_outputs_work_unmodified(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(
        model=MODEL, messages=QUESTION, response_format=Weather, max_tokens=200
    )
    parsed = answer.choices[0].message.parsed
    assert isinstance(parsed, Weather)


def test_the_official_client_s_tools_work_unmodified(client: openai.OpenAI) -> None:
    tools = [openai.pydantic_function_tool(Weather)]
    answer = client.chat.completions.parse(
        model=MODEL, messages=QUESTION, tools=tools, tool_choice="required", max_tokens=400
    )
    for call in answer.choices[0].message.tool_calls or []:
        assert isinstance(call.function.parsed_arguments, Weather)
    assert answer.choices[0].finish_reason == "tool_calls"
    with client.chat.completions.stream(
        model=MODEL, messages=QUESTION, tools=tools, tool_choice="required", parallel_tool_calls=False
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "tool_calls.function.arguments.delta" in kinds
    (call,) = final.choices[0].message.tool_calls or []
    assert isinstance(call.function.parsed_arguments, Weather)
