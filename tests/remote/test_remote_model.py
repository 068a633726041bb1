"""A remote model's way through a real daemon: what travels on, what comes back, what its manifest changes."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.daemons import Daemon, until
from tests.remote.models import ask, drop, manifest
from tests.remote.upstream import KEY, Upstream, chat, shown


@pytest.fixture
def far(near: Daemon, upstream: Upstream) -> Iterator[str]:
    yield drop(near, upstream)
    near.call("DELETE", "/v1/models/far")


def client(daemon: Daemon) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="sk-of-the-client", max_retries=0)


def test_a_chat_goes_out_under_the_name_over_there_and_comes_back_under_ours(
    near: Daemon, upstream: Upstream
) -> None:
    name = drop(near, upstream, "named", **{"MODEL-NAME": "gpt-up"})
    answer = client(near).chat.completions.create(model=name, messages=[{"role": "user", "content": "Hi"}])
    assert answer.model == name
    assert answer.choices[0].message.content == "Hello!"
    assert upstream.last.body == {"model": "gpt-up", "messages": [{"role": "user", "content": "Hi"}]}
    assert upstream.last.path == "/v1/chat/completions"


def test_the_client_s_own_key_never_travels_on(near: Daemon, upstream: Upstream, far: str) -> None:
    client(near).chat.completions.create(model=far, messages=[{"role": "user", "content": "Hi"}])
    assert shown(upstream.last.headers) == KEY
    assert "sk-of-the-client" not in json.dumps(upstream.last.headers)
    assert "Cookie" not in upstream.last.headers


def test_a_request_s_id_goes_along_as_a_client_s_own(near: Daemon, upstream: Upstream, far: str) -> None:
    """`X-Request-Id` is for servers to give, and some refuse what is no UUID."""
    body = {"model": far, "messages": [{"role": "user", "content": "Hi"}]}
    near.call("POST", "/v1/chat/completions", body, X_Request_Id="of-the-client")
    assert upstream.last.headers["X-Client-Request-Id"] == "of-the-client"
    assert "X-Request-Id" not in upstream.last.headers


def test_a_stream_comes_piece_by_piece_with_our_id_in_each(
    near: Daemon, upstream: Upstream, far: str
) -> None:
    stream = client(near).chat.completions.create(
        model=far, messages=[{"role": "user", "content": "Hi"}], stream=True
    )
    pieces = list(stream)
    assert [piece.choices[0].delta.content for piece in pieces] == ["one ", "two ", "three"]
    assert {piece.model for piece in pieces} == {far}


def test_embeddings_and_completions(near: Daemon, upstream: Upstream, far: str) -> None:
    vectors = client(near).embeddings.create(model=far, input=["a", "b"], encoding_format="float")
    assert vectors.model == far
    assert [vector.embedding for vector in vectors.data] == [[0.25, -1e-07]] * 2
    client(near).completions.create(model=far, prompt="x", max_tokens=3)
    assert upstream.last.path == "/v1/completions"
    assert upstream.last.body["max_tokens"] == 3


def test_ranks_come_as_the_other_side_gives_them(near: Daemon, upstream: Upstream, far: str) -> None:
    asked = {"model": far, "query": "q", "documents": ["a", {"text": "b"}], "top_n": 2}
    status, answer = near.call("POST", "/v1/rerank", asked)
    assert (status, answer["model"], len(answer["results"])) == (200, far, 2)
    assert upstream.last.path == "/v1/rerank"
    assert {name: upstream.last.body[name] for name in ("query", "documents", "top_n")} == {
        name: asked[name] for name in ("query", "documents", "top_n")
    }


def test_the_manifest_s_defaults_fill_what_a_request_leaves_open(near: Daemon, upstream: Upstream) -> None:
    text = manifest(upstream.url)
    text["parameters"]["runtime"] = {"temperature": "0.7", "token_limit": "99", "top_k": 5, "stream": "true"}
    near.drop("filled", text)
    near.wait_state("filled", "running")
    ask(near, "filled", temperature=0.1, ctx_len=5, **{"API-KEY": "sk-mine"})
    sent = {name: value for name, value in upstream.last.body.items() if name != "messages"}
    assert sent == {"model": "filled", "temperature": 0.1, "max_tokens": 99, "top_k": 5}
    assert shown(upstream.last.headers) == KEY


def test_an_edit_of_the_endpoint_moves_the_next_request(near: Daemon, upstream: Upstream, far: str) -> None:
    with Upstream(key=KEY) as other:
        near.drop(far, manifest(other.url))
        until(lambda: ask(near, far)[0] == 200 and other.calls, what="requests go to the new endpoint")
        before = len(upstream.calls)
        assert ask(near, far)[0] == 200
        assert len(upstream.calls) == before


def test_stop_turns_requests_away_until_start(near: Daemon, upstream: Upstream, far: str) -> None:
    status, stopped = near.call("PUT", f"/v1/models/{far}/stop")
    assert (status, stopped["state"]) == (200, "stopped")
    status, answer = ask(near, far)
    assert (status, answer["error"]["code"]) == (409, "model_stopped")
    assert not upstream.calls
    status, started = near.call("PUT", f"/v1/models/{far}/start", {"engine": "api"})
    assert (status, started["state"]) == (200, "running")
    assert ask(near, far)[0] == 200


def test_a_running_remote_model_is_listed_as_running(near: Daemon, far: str) -> None:
    running = near.call("GET", "/v1/models?filter=running")[1]["data"]
    assert far in [model["id"] for model in running]
    downloaded = near.call("GET", "/v1/models?filter=downloaded")[1]["data"]
    assert far not in [model["id"] for model in downloaded]


def test_delete_takes_the_manifest_away(near: Daemon, upstream: Upstream) -> None:
    drop(near, upstream, "doomed")
    assert near.call("DELETE", "/v1/models/doomed")[0] == 200
    assert not (near.models / "doomed").exists()
    assert ask(near, "doomed")[0] == 404


def test_its_alias_works_wherever_its_id_does(near: Daemon, upstream: Upstream) -> None:
    drop(near, upstream, "aliased", **{"DEPLOYMENT-NAME": "gpt4-turbo"})
    for name in ("localhost/gpt4-turbo", "/localhost/gpt4-turbo"):
        status, answer = ask(near, name)
        assert (status, answer["model"]) == (200, "aliased")
    assert near.call("GET", "/v1/models/localhost/gpt4-turbo")[1]["id"] == "aliased"


def test_health_is_what_the_last_answer_said(near: Daemon, upstream: Upstream, far: str) -> None:
    assert "latency_ms" not in (near.model(far) or {})
    assert not upstream.calls, "nothing is asked to find out"
    begun = time.monotonic()
    ask(near, far)
    model = near.model(far) or {}
    assert 0 <= model["latency_ms"] <= (time.monotonic() - begun) * 1000 + 1
    assert "last_error" not in model
    upstream.key = "another"
    assert ask(near, far)[0] == 401
    model = near.model(far) or {}
    assert model["state"] == "running"
    assert model["last_error"]["code"] == "upstream_auth"
    upstream.key = None
    ask(near, far)
    assert "last_error" not in (near.model(far) or {})


def test_an_answer_is_passed_on_byte_for_byte_but_for_the_model(
    near: Daemon, upstream: Upstream, far: str
) -> None:
    import urllib.request

    from aiohttp import web

    text = json.dumps({"x": 1.50, "model": "gpt-up", **chat()}, indent=3).replace("1.5", "1.500")

    async def odd(_request: web.Request, _body: object) -> web.Response:
        return web.Response(text=text, content_type="application/json")

    upstream.answer = odd
    body = json.dumps({"model": far, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    request = urllib.request.Request(near.url + "/v1/chat/completions", body)
    with urllib.request.urlopen(request, timeout=20) as response:
        assert response.read().decode() == text.replace('"gpt-up"', '"far"')


def test_an_answer_of_many_megabytes_is_whole(near: Daemon, upstream: Upstream, far: str) -> None:
    from aiohttp import web

    vector = [0.123456789] * 1000
    body = {"data": [{"embedding": vector, "model": "inner"}] * 1000, "model": "gpt-up"}

    async def large(_request: web.Request, _body: object) -> web.Response:
        return web.json_response(body)

    upstream.answer = large
    status, answer = near.call("POST", "/v1/embeddings", {"model": far, "input": "x"})
    assert status == 200
    assert answer == {**body, "model": far}


def test_a_daemon_knows_from_its_first_answer_on_which_remote_models_work(
    tmp_path: Path, upstream: Upstream
) -> None:
    daemon = Daemon(tmp_path, env={"TEST_KEY": KEY}, spare_worker=False)
    for name, key in (("good", "${TEST_KEY}"), ("bad", "${NOBODY_SET_THIS_KEY}")):
        daemon.drop(name, manifest(upstream.url, key=key))
    with daemon:
        assert (daemon.state("good"), daemon.state("bad")) == ("running", "failed")
