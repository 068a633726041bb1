"""Sampling, stop strings, characters, log-probabilities and bad readers, over the real socket."""

import asyncio
import json
import socket
from typing import Any

import pytest

from janagent.children import wire
from janagent.engine.model import Model
from tests.engine.engines import Client, Engine, answer_text, streamed_text, user

STORY = user("Tell me a long story about a dog.")


async def test_a_seed_gives_the_same_answer_again_and_another_seed_another(client: Client):
    body = {"messages": STORY, "max_tokens": 24, "temperature": 1.2}
    first = answer_text(await client.ok("chat/completions", seed=11, **body))
    again = answer_text(await client.ok("chat/completions", seed=11, **body))
    other = answer_text(await client.ok("chat/completions", seed=12, **body))
    assert first == again
    assert first != other


async def test_several_answers_are_different_and_all_arrive(client: Client):
    body = {"messages": STORY, "max_tokens": 12, "temperature": 1.5, "seed": 3}
    shown = await client.ok("chat/completions", n=2, **body)
    texts = [answer_text(shown, 0), answer_text(shown, 1)]
    assert texts[0] != texts[1]
    assert shown["usage"]["completion_tokens"] == 24
    events = await client.events("chat/completions", n=2, **body)
    assert streamed_text(events, 0) != streamed_text(events, 1)
    roles = [c["index"] for e in events for c in e["choices"] if "role" in c["delta"]]
    assert sorted(roles) == [0, 1]


async def test_more_answers_than_slots_are_served_in_turn(client: Client):
    shown = await client.ok("chat/completions", messages=STORY, n=9, max_tokens=2)
    assert [choice["index"] for choice in shown["choices"]] == list(range(9))
    assert all(choice["finish_reason"] == "length" for choice in shown["choices"])


def forced(model: Model, text: str) -> dict[str, Any]:
    """A request whose answer repeats the tokens of `text`, which must be different and few."""
    ids = list(dict.fromkeys(model.tokenize(text, special=False).tolist()))
    return {
        "logit_bias": {str(token): 100 for token in ids},
        "temperature": 1.0,
        "top_k": len(ids),
        "seed": 5,
    }


async def test_emoji_made_of_several_tokens_arrive_whole(client: Client, model: Model):
    assert model.tokenize("🦜", special=False).size > 1
    body = forced(model, "🦜") | {"messages": STORY, "max_tokens": 40}
    events = await client.events("chat/completions", **body)
    whole = answer_text(await client.ok("chat/completions", **body))
    assert streamed_text(events) == whole
    assert "🦜" in whole or "\ufffd" in whole
    for event in events:
        for choice in event["choices"]:
            text = choice["delta"].get("content", "")
            assert text.encode("utf-8", "strict").decode() == text


async def test_a_character_cut_by_max_tokens_does_not_show(client: Client, model: Model):
    first, *_rest = model.tokenize("🦜", special=False).tolist()
    shown = await client.ok(
        "chat/completions", messages=STORY, logit_bias={str(first): 100}, temperature=0, max_tokens=1
    )
    assert answer_text(shown) == ""
    assert shown["usage"]["completion_tokens"] == 1


async def test_a_stop_string_over_several_tokens_never_leaks(client: Client):
    body = {"prompt": "1, 2, 3, 4, 5, 6, 7,", "max_tokens": 40, "temperature": 0, "seed": 1}
    free = (await client.ok("completions", **body))["choices"][0]["text"]
    stop = free[5:12]
    before = free[: free.index(stop)]
    shown = await client.ok("completions", stop=stop, **body)
    assert shown["choices"][0]["text"] == before
    assert shown["choices"][0]["finish_reason"] == "stop"
    events = await client.events("completions", stop=[stop, "never there"], **body)
    assert "".join(c["text"] for event in events for c in event["choices"]) == before


async def test_the_log_probabilities_of_a_chat_cover_its_text(client: Client):
    body = {
        "messages": STORY,
        "max_tokens": 6,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 3,
        "seed": 1,
    }
    shown = await client.ok("chat/completions", **body)
    content = shown["choices"][0]["logprobs"]["content"]
    assert "".join(token["token"] for token in content) == answer_text(shown)
    for token in content:
        assert bytes(token["bytes"]).decode() == token["token"]
        assert token["logprob"] <= 0
        assert len(token["top_logprobs"]) == 3
        assert token["top_logprobs"][0] == {k: token[k] for k in ("token", "logprob", "bytes")}
    events = await client.events("chat/completions", **body)
    streamed = [t for e in events for c in e["choices"] if c["logprobs"] for t in c["logprobs"]["content"]]
    assert [token["token"] for token in streamed] == [token["token"] for token in content]


async def test_the_log_probabilities_of_a_completion_are_parallel_lists(client: Client):
    shown = await client.ok(
        "completions", prompt="The capital of France is", max_tokens=3, temperature=0, logprobs=2
    )
    choice = shown["choices"][0]
    logprobs = choice["logprobs"]
    assert "".join(logprobs["tokens"]) == choice["text"]
    assert logprobs["tokens"][0] == " Paris"
    assert [len(logprobs[name]) for name in ("token_logprobs", "top_logprobs", "text_offset")] == [3, 3, 3]
    assert logprobs["text_offset"][1] == len(" Paris")


async def test_the_tokens_of_a_stop_string_have_no_log_probabilities(client: Client):
    body = {"prompt": "1, 2, 3, 4, 5, 6, 7,", "max_tokens": 40, "temperature": 0, "seed": 1}
    shown = await client.ok("completions", logprobs=0, stop=" 9", **body)
    choice = shown["choices"][0]
    assert "".join(choice["logprobs"]["tokens"]).startswith(choice["text"])
    assert "9" not in "".join(choice["logprobs"]["tokens"])


async def test_the_next_turn_of_a_conversation_prefills_only_what_is_new(client: Client):
    turns = user("Name a colour of the rainbow, please, and nothing else at all.")
    first = await client.ok("chat/completions", messages=turns, max_tokens=8, temperature=0)
    turns = [*turns, {"role": "assistant", "content": answer_text(first)}, *user("Another one.")]
    second = await client.ok("chat/completions", messages=turns, max_tokens=8, temperature=0)
    cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached >= first["usage"]["prompt_tokens"] - 4


async def test_a_client_that_leaves_in_mid_stream_frees_its_slot(client: Client, engine: Engine):
    body = {"messages": STORY, "stream": True, "ignore_eos": True}
    async with client.session.post("/v1/chat/completions", json=body) as answer:
        await answer.content.readline()
        answer.close()
    await asyncio.to_thread(engine.idle)


async def test_a_client_that_leaves_without_a_stream_frees_its_slot(client: Client, engine: Engine):
    request = asyncio.ensure_future(client.post("chat/completions", messages=STORY, ignore_eos=True))  # noqa: TID251
    after = len(engine.lines)
    await asyncio.to_thread(engine.wait_for, wire.Stats, lambda s: s.live == 1, after=after)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await asyncio.to_thread(engine.idle)


async def test_a_client_that_never_reads_is_cut_and_stalls_nobody(client: Client, engine: Engine):
    # Log-probabilities make answers fat, so that they fill the socket's buffers soon.
    body = {"messages": STORY, "ignore_eos": True, "stream": True, "logprobs": True, "top_logprobs": 20}
    data = json.dumps(body | {"n": 2}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as reader:
        reader.setblocking(False)
        await loop.sock_connect(reader, str(engine.socket))
        await loop.sock_sendall(reader, head.encode() + data)
        assert (await loop.sock_recv(reader, 12)) == b"HTTP/1.1 200"
        assert answer_text(await client.ok("chat/completions", messages=STORY, max_tokens=8))
        await asyncio.to_thread(engine.wait_for_log, "a client took no byte for 1 s and was cut")
        await asyncio.to_thread(engine.idle)
