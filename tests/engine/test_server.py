"""Chat and text completions of the real model over the real socket."""

import asyncio
from pathlib import Path

import pytest

from janagent.engine.model import Model
from tests.engine.conftest import CTX_LEN
from tests.engine.engines import Client, Engine, answer_text, client_of, streamed_text, user
from tests.gguf_files import write_model

FRANCE = user("What is the capital of France? Answer in one word.")


async def test_a_chat_is_answered(client: Client):
    shown = await client.ok("chat/completions", model="smol", messages=FRANCE, max_tokens=40, temperature=0)
    assert shown["object"] == "chat.completion"
    assert shown["model"] == "smol"
    choice = shown["choices"][0]
    assert choice["message"]["role"] == "assistant"
    assert answer_text(shown).strip()
    assert choice["finish_reason"] in ("stop", "length")
    usage = shown["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] <= 40


async def test_a_streamed_chat_says_the_same_as_a_whole_one(client: Client):
    body = {"model": "smol", "messages": FRANCE, "max_tokens": 12, "temperature": 0, "seed": 1}
    events = await client.events("chat/completions", **body)
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert streamed_text(events) == answer_text(await client.ok("chat/completions", **body))
    ends = [c["finish_reason"] for event in events for c in event["choices"] if c["finish_reason"]]
    assert len(ends) == 1
    assert {event["object"] for event in events} == {"chat.completion.chunk"}
    assert len({event["id"] for event in events}) == 1


async def test_usage_comes_in_a_last_event_when_asked_for(client: Client):
    events = await client.events(
        "chat/completions", messages=FRANCE, max_tokens=4, stream_options={"include_usage": True}
    )
    assert [event["usage"] for event in events[:-1]] == [None] * (len(events) - 1)
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["completion_tokens"] <= 4


async def test_an_answer_ends_at_max_tokens(client: Client):
    for field in ("max_tokens", "max_completion_tokens"):
        shown = await client.ok("chat/completions", messages=user("Tell me a story."), **{field: 3})
        assert shown["choices"][0]["finish_reason"] == "length"
        assert shown["usage"]["completion_tokens"] == 3


async def test_an_answer_that_fills_the_context_ends_with_length(client: Client):
    prompt = "one two three four five " * 80
    shown = await client.ok("completions", prompt=prompt, ignore_eos=True, temperature=0)
    assert shown["choices"][0]["finish_reason"] == "length"
    usage = shown["usage"]
    assert usage["total_tokens"] in (CTX_LEN, CTX_LEN + 1)


async def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(client: Client):
    error = await client.error("chat/completions", messages=user("word " * 2000))
    assert error["code"] == "context_length_exceeded"
    assert error["param"] == "messages"
    assert str(CTX_LEN) in error["message"]
    error = await client.error("completions", prompt="word " * 2000)
    assert error["param"] == "prompt"


async def test_the_end_of_turn_ends_the_answer_with_stop(client: Client, model: Model):
    (end,) = model.tokenize("<|im_end|>", special=True)
    shown = await client.ok("chat/completions", messages=FRANCE, logit_bias={str(end): 100}, temperature=0)
    assert shown["choices"][0]["finish_reason"] == "stop"
    assert answer_text(shown) == ""


async def test_roles_and_text_parts_and_null_content_are_accepted(client: Client):
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": [{"type": "text", "text": "Bye"}]},
    ]
    assert (await client.ok("chat/completions", messages=messages, max_tokens=2))["choices"]


async def test_a_completion_takes_texts_tokens_and_lists(client: Client, model: Model):
    ids = model.tokenize("The capital of France is", special=False).tolist()
    body = {"max_tokens": 1, "temperature": 0}
    for prompt in ("The capital of France is", ids, [ids], ["The capital of France is"]):
        shown = await client.ok("completions", prompt=prompt, **body)
        assert shown["object"] == "text_completion"
        assert shown["choices"][0]["text"] == " Paris"
    shown = await client.ok("completions", prompt=["The capital of France is", "1 2 3 4 5"], n=2, **body)
    assert [choice["index"] for choice in shown["choices"]] == [0, 1, 2, 3]
    assert [choice["text"] for choice in shown["choices"][:2]] == [" Paris", " Paris"]


async def test_a_completion_can_echo_its_prompt_and_generate_nothing(client: Client):
    body = {"prompt": "The capital of France is", "echo": True, "temperature": 0}
    shown = await client.ok("completions", max_tokens=1, **body)
    assert shown["choices"][0]["text"] == "The capital of France is Paris"
    shown = await client.ok("completions", max_tokens=0, **body)
    assert shown["choices"][0]["text"] == "The capital of France is"
    assert shown["usage"]["completion_tokens"] == 0
    events = await client.events("completions", max_tokens=1, **body)
    assert "".join(c["text"] for event in events for c in event["choices"]).endswith("is Paris")


async def test_prompts_outside_the_vocabulary_and_empty_lists_are_refused(client: Client):
    assert (await client.error("completions", prompt=[10**6]))["param"] == "prompt"
    assert (await client.error("completions", prompt=[]))["param"] == "prompt"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("chat/completions", {"messages": FRANCE, "tools": [{}]}, "tools[0].function"),
        ("chat/completions", {"messages": FRANCE, "max_tokens": 0}, "max_tokens"),
        ("chat/completions", {"messages": FRANCE, "top_logprobs": 2}, "top_logprobs"),
        ("chat/completions", {"messages": FRANCE, "stop": ["x"] * 10_000}, "stop"),
        ("chat/completions", {"messages": FRANCE, "logit_bias": {"word": 1}}, "logit_bias"),
        ("chat/completions", {"messages": FRANCE, "logit_bias": {"99999999": 1}}, "logit_bias"),
        ("completions", {"prompt": "x", "suffix": "y"}, "suffix"),
        ("completions", {"prompt": "x", "echo": True, "logprobs": 1}, "logprobs"),
        ("completions", {"prompt": ["x"] * 100, "n": 2}, "n"),
    ],
)
async def test_a_request_that_cannot_be_served_names_its_field(
    client: Client, path: str, body: dict[str, object], param: str
):
    assert (await client.error(path, **body))["param"] == param


async def test_health_tells_what_is_going_on(client: Client):
    async with client.session.get("/health") as answer:
        assert set(await answer.json()) == {"status", "live", "queued"}


async def test_a_template_that_raises_is_400_in_its_own_words(tmp_path: Path):
    template = "{% if messages | length > 1 %}{{ raise_exception('one message only') }}{% endif %}hello"
    path = write_model(tmp_path / "m.gguf", chat_template=template)
    with Engine() as engine:
        engine.start(path)
        async with client_of(engine) as client:
            error = await client.error("chat/completions", messages=user("a") + user("b"))
            assert (error["message"], error["code"]) == ("one message only", "template_error")
            await client.ok("chat/completions", messages=user("a"), max_tokens=2)


async def test_prompt_pieces_make_the_prompt_and_the_users_piece_stops_the_answer(tiny_gguf: Path):
    with Engine() as engine:
        engine.start(tiny_gguf, ctx_len=128, pre_prompt="P", user_prompt="U:", ai_prompt="A:")
        async with client_of(engine) as client:
            shown = await client.ok("chat/completions", messages=user("x"), max_tokens=4, seed=1)
            # BOS, then "P\nU:x\nA:", which this vocabulary spells in single characters after a space
            assert shown["usage"]["prompt_tokens"] == 1 + 1 + len("P\nU:x\nA:")


async def test_four_at_once_each_get_their_own_answer(client: Client):
    # Continuations that leave no doubt: batches of different sizes may differ in the last bits of a sum.
    series = {
        "one, two, three, four, five, six,": "seven",
        "A, B, C, D, E, F, G,": "H",
        "Monday, Tuesday, Wednesday, Thursday,": "Friday",
        "January, February, March, April,": "May",
    }
    answers = await asyncio.gather(
        *(client.ok("completions", prompt=prompt, temperature=0, max_tokens=2) for prompt in series)
    )
    for answer, next_word in zip(answers, series.values(), strict=True):
        assert answer["choices"][0]["text"].strip().startswith(next_word)
