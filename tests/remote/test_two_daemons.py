"""A janagent behind a janagent: the real model on one machine, declared on another."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from tests.clients import all_that_comes, raw
from tests.daemons import (
    Daemon,
    assert_all_gone,
    chat_body,
    stream_chats_at_once,
    until,
)
from tests.remote.models import manifest, put

MODEL = "smol"
KEY = "behind-8d1f3c5a7b"
QUESTION: list[Any] = [{"role": "user", "content": "Name a colour."}]
SETTINGS = {"spare_worker": False}


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, daemon: Daemon) -> Iterator[Daemon]:
    """A daemon without models of its own: `far` is the other's `smol`."""
    with Daemon(tmp_path_factory.mktemp("front"), **SETTINGS) as running:
        put(running, "far", manifest(daemon.url, key=None, **{"MODEL-NAME": MODEL}), origin=daemon.url)
        yield running


@pytest.fixture
def client(front: Daemon) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{front.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def straight(daemon: Daemon) -> openai.OpenAI:
    """A client of the daemon that has the model."""
    return openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="none", max_retries=0, timeout=60)


def test_a_chat_is_what_the_daemon_behind_says(client: openai.OpenAI, daemon: Daemon) -> None:
    more: Any = {"messages": QUESTION, "max_tokens": 12, "temperature": 0, "seed": 1}
    far = client.chat.completions.create(model="far", **more)
    with straight(daemon) as near:
        expected = near.chat.completions.create(model=MODEL, **more)
    assert far.model == "far"
    assert far.choices[0].message.content
    assert far.choices == expected.choices
    assert far.usage is not None
    assert expected.usage is not None
    assert far.usage.completion_tokens == expected.usage.completion_tokens


def test_a_streamed_chat_adds_up_to_the_whole_one(client: openai.OpenAI) -> None:
    more: Any = {"model": "far", "messages": QUESTION, "max_tokens": 12, "temperature": 0, "seed": 1}
    pieces = list(client.chat.completions.create(**more, stream=True, stream_options={"include_usage": True}))
    whole = client.chat.completions.create(**more)
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert text == whole.choices[0].message.content
    assert {piece.model for piece in pieces} == {"far"}
    assert pieces[-1].usage is not None
    assert pieces[-1].usage.completion_tokens == len(
        [piece for piece in pieces if piece.choices and piece.choices[0].delta.content]
    )


def test_embeddings_are_the_same_numbers(client: openai.OpenAI, daemon: Daemon) -> None:
    far = client.embeddings.create(model="far", input=["a cat", "a dog"])
    with straight(daemon) as near:
        expected = near.embeddings.create(model=MODEL, input=["a cat", "a dog"])
    assert far.model == "far"
    assert [vector.embedding for vector in far.data] == [vector.embedding for vector in expected.data]


def test_a_completion(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="far", prompt="The capital of France is", max_tokens=4)
    assert answer.choices[0].text


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_is_too_long_there_is_the_same_error_here(
    front: Daemon, daemon: Daemon, stream: bool
) -> None:
    def refused(asked: Daemon, model: str) -> tuple[int, Any]:
        body = chat_body(model, "word " * 5000, stream=stream)
        return asked.call("POST", "/v1/chat/completions", body)

    status, answer = refused(front, "far")
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
    assert (status, answer) == refused(daemon, MODEL)


def test_a_model_that_is_not_there_is_named_as_the_daemon_behind_names_it(
    front: Daemon, daemon: Daemon
) -> None:
    put(front, "lost", manifest(daemon.url, key=None, **{"MODEL-NAME": "smoll"}), origin=daemon.url)
    status, answer = front.call("POST", "/v1/chat/completions", chat_body("lost"))
    assert (status, answer["error"]["code"]) == (404, "model_not_found")
    assert MODEL in answer["error"]["message"], "with the nearest id, as it is told there"


async def test_four_streams_at_once_interleave_and_are_all_whole(front: Daemon) -> None:
    bodies = [chat_body("far", f"Count to {n}.") | {"max_tokens": 96, "ignore_eos": True} for n in range(4)]
    async with aiohttp.ClientSession() as session:
        answers = await stream_chats_at_once(session, front.url, bodies)
    assert [answer[-1]["choices"][0]["finish_reason"] for answer in answers] == ["length"] * 4
    assert {chunk["model"] for answer in answers for chunk in answer} == {"far"}


# -- a daemon behind that asks for a key, and dies ---------------------------------------------------


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory, starter: Path) -> Iterator[Daemon]:
    """Lets nobody in without its key; on the same port when it is started again."""
    with Daemon(tmp_path_factory.mktemp("behind"), api_key=KEY, **SETTINGS) as running:
        running.drop(MODEL, {"parameters": {"init": {"ctx_len": 1024}}}, gguf=starter)
        at, opened = f"/v1/models/{MODEL}", {"api_key": KEY}
        until(lambda: running.call("GET", at, **opened)[1].get("state") == "running", what="it is loaded")
        yield running


@pytest.fixture
def far(front: Daemon, behind: Daemon) -> Iterator[str]:
    text = manifest(behind.url, key=KEY, **{"MODEL-NAME": MODEL})
    put(front, "keyed", text, origin=behind.url)
    yield "keyed"
    front.call("DELETE", "/v1/models/keyed")


def test_its_key_opens_it(front: Daemon, behind: Daemon, far: str) -> None:
    status, answer = front.call("POST", "/v1/chat/completions", chat_body(far))
    assert (status, answer["model"]) == (200, far)
    assert answer["choices"][0]["message"]["content"]
    status, answer = front.call("POST", "/v1/embeddings", {"model": far, "input": "a cat"})
    assert (status, len(answer["data"])) == (200, 1)


@pytest.mark.parametrize("key", [None, "another"])
def test_without_its_key_it_is_shut(front: Daemon, behind: Daemon, key: str | None) -> None:
    put(front, "shut", manifest(behind.url, key=key, **{"MODEL-NAME": MODEL}), origin=behind.url)
    status, answer = front.call("POST", "/v1/chat/completions", chat_body("shut"))
    assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
    model = front.model("shut") or {}
    assert (model["state"], model["last_error"]["code"]) == ("running", "upstream_auth")
    front.call("DELETE", "/v1/models/shut")


def test_a_daemon_killed_in_mid_stream_never_looks_like_an_end(
    front: Daemon, behind: Daemon, far: str
) -> None:
    """And once it is there again, all works again, with the manifest as it was."""
    before = (front.models / far / f"{far}.json").stat().st_mtime_ns
    body = chat_body(far, "Tell me a long story.") | {"max_tokens": 900, "ignore_eos": True, "stream": True}
    with raw(front, body, receive_bytes=1 << 16) as sock:
        sock.settimeout(30)
        came = b""
        while came.count(b"data: ") < 5:
            part = sock.recv(1 << 16)
            assert part, came
            came += part
        assert_all_gone(behind.kill())
        came += all_that_comes(sock)
    assert came.startswith(b"HTTP/1.1 200 OK\r\n")
    assert not came.endswith(b"0\r\n\r\n"), "the last chunk, which is an end"
    assert b"[DONE]" not in came
    last = came.rpartition(b"data: ")[2].splitlines()[0]
    assert json.loads(last)["error"]["code"] == "upstream_failed"

    status, answer = front.call("POST", "/v1/chat/completions", chat_body(far))
    assert (status, answer["error"]["code"]) == (502, "upstream_unreachable")
    model = front.model(far) or {}
    assert (model["state"], model["last_error"]["code"]) == ("running", "upstream_unreachable")

    behind.settings["port"] = int(behind.url.rsplit(":", 1)[1])
    behind.start()
    status, answer = front.call("POST", "/v1/chat/completions", chat_body(far))
    assert (status, answer["model"]) == (200, far)
    assert (front.models / far / f"{far}.json").stat().st_mtime_ns == before
    assert "last_error" not in (front.model(far) or {})
