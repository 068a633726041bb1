"""`python -m llama_cpp.server` behind a real daemon: an OpenAI-compatible server that others wrote."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from tests.daemons import Daemon, chat_body, stream_chat, text_of, until
from tests.remote.models import manifest, put

KEY = "sk-of-llama-cpp-server"
START_LIMIT_S = 60.0
QUESTION: list[Any] = [{"role": "user", "content": "Tell me a long story about a fox."}]


def unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, starter: Path) -> Iterator[str]:
    """Its URL; the key is `KEY`."""
    log = tmp_path_factory.mktemp("llama-cpp-server") / "log"
    port = unused_port()
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(starter), "--n_ctx", "1024"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--api_key", KEY, "--model_alias", "smollm"]

    def accepts() -> bool:
        assert process.poll() is None, log.read_text()
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0

    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, env=os.environ) as process:
        try:
            until(accepts, within_s=START_LIMIT_S, what="llama_cpp.server takes connections")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, server: str) -> Iterator[Daemon]:
    text = manifest(server, key=KEY, **{"MODEL-NAME": "smollm"})
    text["parameters"]["runtime"] = {"temperature": "0", "seed": 1, "top_k": 40}
    with Daemon(tmp_path_factory.mktemp("front"), spare_worker=False) as running:
        put(running, "far", text, origin=server)
        yield running


@pytest.fixture
def client(front: Daemon) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{front.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def ask(client: openai.OpenAI, **more: Any) -> Any:
    return client.chat.completions.create(model="far", messages=QUESTION, **more)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_chat_is_as_long_as_the_client_allows_by_either_name(client: openai.OpenAI, name: str) -> None:
    """That server takes `max_completion_tokens` for something it need not know, and goes on and on."""
    answer = ask(client, **{name: 7})
    assert answer.model == "far"
    assert answer.usage.completion_tokens == 7
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_streamed_chat_is_too(client: openai.OpenAI, name: str) -> None:
    pieces = list(ask(client, stream=True, **{name: 7}))
    assert {piece.model for piece in pieces} == {"far"}
    texts = [piece.choices[0].delta.content for piece in pieces if piece.choices[0].delta.content]
    assert "".join(texts) == ask(client, max_tokens=7).choices[0].message.content
    assert pieces[-1].choices[0].finish_reason == "length"


def test_completions_and_what_it_refuses(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="far", prompt="The capital of France is", max_tokens=4)
    assert answer.model == "far"
    assert answer.choices[0].text
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="far", messages=[{"role": "user", "content": "word " * 3000}], max_tokens=4
        )
    assert caught.value.code == "context_length_exceeded"


def test_a_wrong_key_is_its_401(front: Daemon, server: str) -> None:
    put(front, "shut", manifest(server, key="another"), origin=server)
    status, answer = front.call("POST", "/v1/chat/completions", chat_body("shut"))
    assert status == 401
    assert answer["error"].keys() >= {"message", "type", "code"}
    assert (front.model("shut") or {})["last_error"]["code"] == "upstream_auth"


async def test_clients_that_leave_make_room_for_others(front: Daemon) -> None:
    """It computes one answer at a time, and stops for those who are gone."""
    long = chat_body("far", "Tell me a long story.", stream=True) | {"max_tokens": 900}
    async with aiohttp.ClientSession() as session:
        url = f"{front.url}/v1/chat/completions"
        for _ in range(3):
            async with session.post(url, json=long) as response:
                assert json.loads((await response.content.readline()).removeprefix(b"data: "))
        chunks = await asyncio.wait_for(stream_chat(session, front.url, chat_body("far")), 30)
    assert text_of(chunks)
