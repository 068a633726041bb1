"""Azure OpenAI behind a real daemon: example 3 of the specification, and what is Azure's own, for clients."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import web

from tests.daemons import Daemon, until
from tests.remote.azure import (
    DENIED,
    FILTERED,
    FINE,
    FIRST_CHUNK,
    NO_DEPLOYMENT,
    PROMPT_FILTER,
    VERSION,
    Azure,
)
from tests.remote.azure import answer as good_answer
from tests.remote.models import put
from tests.remote.upstream import Body, Handler, chat

EXAMPLE = Path(__file__).parents[1] / "data" / "model-azure-openai-gpt4-turbo.json"
STEM = EXAMPLE.stem
ALIAS = "/openai.azure.com/docs-test-001/gpt4-turbo"
NAMES = (STEM, ALIAS, ALIAS.removeprefix("/"))
KEY = "0123456789abcdef0123456789abcdef"
CLIENT_KEY = "sk-of-the-client"
QUESTION: list[Any] = [{"role": "user", "content": "Hi"}]
DEFAULTS = {"temperature": 0.7, "max_tokens": 2048, "presence_penalty": 0, "top_p": 1}


def edited(origin: str, key: str) -> str:
    """The specification's example with only its endpoint and its key changed."""
    text = EXAMPLE.read_text()
    for old, new in (
        ('"https://docs-test-001.openai.azure.com/"', f'"{origin}"'),
        ('"API-KEY": ""', f'"API-KEY": "{key}"'),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    return text


@pytest.fixture
def azure() -> Iterator[Azure]:
    with Azure(deployment=STEM, key=KEY) as running:
        yield running


@pytest.fixture
def example(near: Daemon, azure: Azure) -> Iterator[Daemon]:
    """A daemon with the example in its folder."""
    put(near, STEM, edited(f"{azure.url}/", KEY), origin=f"{azure.url}/")
    yield near
    near.call("DELETE", f"/v1/models/{STEM}")


def openai_client(daemon: Daemon) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{daemon.url}/v1", api_key=CLIENT_KEY, max_retries=0)


def azure_client(daemon: Daemon) -> openai.AzureOpenAI:
    return openai.AzureOpenAI(
        azure_endpoint=daemon.url, api_version="2024-02-01", api_key=CLIENT_KEY, max_retries=0
    )


CLIENTS = pytest.mark.parametrize("make_client", [openai_client, azure_client])


def post(daemon: Daemon, endpoint: str, body: Body) -> tuple[int, dict[str, str], bytes]:
    """(status, headers with lower-case names, body) of a request, byte for byte."""
    data = json.dumps({"model": STEM, **body}).encode()
    request = urllib.request.Request(f"{daemon.url}/v1/{endpoint}", data)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            raw = response.read()
    except urllib.error.HTTPError as error:
        with error:
            response, raw = error, error.read()
    return response.status or 0, {name.lower(): value for name, value in response.headers.items()}, raw


def failing(status: int, body: Body, **headers: str) -> Handler:
    async def answer(_request: web.Request, _body: Body) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response(body, status=status, headers=named)

    return answer


# -- example 3 ------------------------------------------------------------------------------------


def test_the_example_is_the_specification_s_but_for_two_values() -> None:
    before, after = EXAMPLE.read_text().splitlines(), edited("http://localhost:1/", KEY).splitlines()
    changed = [new.strip() for old, new in zip(before, after, strict=True) if old != new]
    assert changed == ['"origin": "http://localhost:1/",', f'"API-KEY": "{KEY}",']


def assert_asked_as_the_example_says(azure: Azure, endpoint: str = "chat/completions") -> Body:
    """What the upstream saw of the last request; returns its body without what the client asked."""
    call = azure.last
    assert call.path == f"/openai/deployments/{STEM}/{endpoint}"
    assert call.query == {"api-version": VERSION}
    assert call.headers["api-key"] == KEY
    assert "Authorization" not in call.headers
    assert CLIENT_KEY not in json.dumps([call.headers, call.body, call.query])
    return {name: value for name, value in call.body.items() if name not in ("model", "messages")}


@CLIENTS
@pytest.mark.parametrize("name", NAMES)
def test_the_example_chats_under_its_stem_and_its_alias(
    example: Daemon, azure: Azure, make_client: Any, name: str
) -> None:
    with make_client(example) as client:
        answer = client.chat.completions.create(model=name, messages=QUESTION)
    assert answer.choices[0].message.content == "Hello!"
    assert answer.model == STEM
    assert assert_asked_as_the_example_says(azure) == DEFAULTS
    assert azure.last.body["messages"] == QUESTION


@CLIENTS
@pytest.mark.parametrize("name", NAMES)
def test_the_example_streams_only_when_asked_to(
    example: Daemon, azure: Azure, make_client: Any, name: str
) -> None:
    """Its `stream: true` is for other programs; what comes is what the client asked for (contract 2)."""
    with make_client(example) as client:
        pieces = list(client.chat.completions.create(model=name, messages=QUESTION, stream=True))
    assert "".join(piece.choices[0].delta.content for piece in pieces if piece.choices) == "one two three"
    assert {piece.model for piece in pieces} == {STEM}
    assert assert_asked_as_the_example_says(azure) == {**DEFAULTS, "stream": True}


@CLIENTS
def test_the_example_completes_and_embeds(example: Daemon, azure: Azure, make_client: Any) -> None:
    with make_client(example) as client:
        completion = client.completions.create(model=STEM, prompt="x", max_tokens=3)
        assert completion.model == STEM
        assert assert_asked_as_the_example_says(azure, "completions") == {
            **DEFAULTS,
            "max_tokens": 3,
            "prompt": "x",
        }
        vectors = client.embeddings.create(model=ALIAS, input=["a", "b"], encoding_format="float")
    assert [vector.embedding for vector in vectors.data] == [[0.25, -1e-07]] * 2
    assert vectors.model == STEM
    sent = assert_asked_as_the_example_says(azure, "embeddings")
    assert sent == {"input": ["a", "b"], "encoding_format": "float"}


def test_what_the_client_says_wins_over_the_example_s_defaults(example: Daemon, azure: Azure) -> None:
    with azure_client(example) as client:
        client.chat.completions.create(model=STEM, messages=QUESTION, temperature=0, max_tokens=5)
    assert assert_asked_as_the_example_says(azure) == {**DEFAULTS, "temperature": 0, "max_tokens": 5}


def test_a_deployment_of_another_name(near: Daemon) -> None:
    with Azure(deployment="gpt 4/turbo", key=KEY) as azure:
        text = edited(azure.url, KEY).replace('"DEPLOYMENT-NAME": ""', '"DEPLOYMENT-NAME": "gpt 4/turbo"')
        put(near, "odd", text.replace(ALIAS, ""), origin=azure.url)
        azure.refusal = lambda *_: None  # type: ignore[method-assign]
        assert post(near, "chat/completions", {"model": "odd", "messages": QUESTION})[0] == 200
        assert azure.last.path == "/openai/deployments/gpt 4/turbo/chat/completions"
        assert azure.last.raw_path.startswith("/openai/deployments/gpt%204%2Fturbo/chat/completions?")
    near.call("DELETE", "/v1/models/odd")


def test_the_model_object_shows_the_example_and_hides_its_key(example: Daemon) -> None:
    model = example.model(ALIAS) or {}
    assert model["id"] == STEM
    assert ALIAS.removeprefix("/") in [alias.removeprefix("/") for alias in model["aliases"]]
    assert model["state"] == "running"
    assert model["owned_by"] == "OpenAI Azure"
    assert model["parameters"]["init"]["API-KEY"] == "***"
    assert model["parameters"]["runtime"] == {**DEFAULTS, "stream": True}


# -- Azure's answers ------------------------------------------------------------------------------


async def remembered(request: web.Request, body: Body) -> web.StreamResponse:
    """The good answer, whose bytes a test compares."""
    whole = {**chat(model="gpt-4-1106-Preview"), "prompt_filter_results": PROMPT_FILTER}
    whole["choices"][0]["content_filter_results"] = FINE
    return web.Response(body=json.dumps(whole, indent=1).encode(), content_type="application/json")


def test_filter_results_of_an_answer_come_through_byte_for_byte(example: Daemon, azure: Azure) -> None:
    azure.answer = remembered
    whole = {**chat(model=STEM), "prompt_filter_results": PROMPT_FILTER}
    whole["choices"][0]["content_filter_results"] = FINE
    status, _, raw = post(example, "chat/completions", {"messages": QUESTION})
    assert (status, raw) == (200, json.dumps(whole, indent=1).encode())


def test_a_stream_s_first_chunk_without_choices_comes_through(example: Daemon, azure: Azure) -> None:
    """The model's name is empty in it; all else is as Azure wrote it."""
    status, headers, raw = post(example, "chat/completions", {"messages": QUESTION, "stream": True})
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    assert raw.startswith(FIRST_CHUNK.replace(b'"model":""', b'"model":"%s"' % STEM.encode()))
    events = re.findall(rb"data: (\{.*\})\n\n", raw)
    assert [json.loads(event)["model"] for event in events] == [STEM] * 4
    assert raw.endswith(b"\n\ndata: [DONE]\n\n")


def test_a_wrong_key_is_azure_s_401(example: Daemon, azure: Azure) -> None:
    azure.key = "another"
    status, _, raw = post(example, "chat/completions", {"messages": QUESTION})
    assert (status, json.loads(raw)) == (401, DENIED)
    with azure_client(example) as client, pytest.raises(openai.AuthenticationError, match="Access denied"):
        client.chat.completions.create(model=STEM, messages=QUESTION)
    until(lambda: (example.model(STEM) or {}).get("last_error", {}).get("code") == "upstream_auth")


def test_a_deployment_that_is_not_there_is_azure_s_404(example: Daemon, azure: Azure) -> None:
    azure.deployment = "another"
    status, _, raw = post(example, "chat/completions", {"messages": QUESTION})
    assert (status, json.loads(raw)) == (404, NO_DEPLOYMENT)
    with openai_client(example) as client, pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model=STEM, messages=QUESTION)
    assert caught.value.code == "DeploymentNotFound"


def test_a_limit_comes_with_azure_s_times(example: Daemon, azure: Azure) -> None:
    limit = {"error": {"code": "429", "message": "Requests have exceeded the call rate limit."}}
    times = {"retry-after-ms": "1250", "Retry-After": "2", "x-ratelimit-remaining-tokens": "0"}
    azure.answer = failing(429, limit, **times)
    status, headers, raw = post(example, "chat/completions", {"messages": QUESTION})
    assert (status, json.loads(raw)) == (429, limit)
    for name, value in times.items():
        assert headers[name.lower()] == value
    assert len(azure.calls) == 1, "a limit is passed on, not hammered"


@CLIENTS
def test_a_client_that_waits_as_it_is_told_gets_its_answer(
    example: Daemon, azure: Azure, make_client: Any
) -> None:
    async def once(request: web.Request, body: Body) -> web.StreamResponse:
        azure.answer = good_answer
        return await failing(429, {"error": {"code": "429", "message": "slow"}}, retry_after_ms="20")(
            request, body
        )

    azure.answer = once
    with make_client(example).with_options(max_retries=1) as client:
        answer = client.chat.completions.create(model=STEM, messages=QUESTION)
    assert answer.choices[0].message.content == "Hello!"
    assert len(azure.calls) == 2


@pytest.mark.parametrize("stream", [False, True])
def test_a_filtered_prompt_is_azure_s_400_with_all_that_is_in_it(
    example: Daemon, azure: Azure, stream: bool
) -> None:
    azure.answer = failing(400, FILTERED)
    status, _, raw = post(example, "chat/completions", {"messages": QUESTION, "stream": stream})
    assert (status, json.loads(raw)) == (400, FILTERED)
    assert len(azure.calls) == 1
    with azure_client(example) as client, pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=STEM, messages=QUESTION)
    assert caught.value.code == "content_filter"
    assert caught.value.body["innererror"] == FILTERED["error"]["innererror"]  # type: ignore[index]
    assert "last_error" not in (example.model(STEM) or {}), "the request was at fault, not Azure"
