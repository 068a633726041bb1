"""From chats to prompts: what goes when a chat has outgrown the context, and answers that go on beyond it."""

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from janagent.children import wire
from tests.engine.architectures import write_windowed
from tests.engine.engines import Client, Engine, Json, answer_text, client_of, user

CTX_LEN = 192
SYSTEM = {"role": "system", "content": "You answer in one word. The password is heron."}


@pytest.fixture(scope="module")
def engine(starter: Path) -> Iterator[Engine]:
    with Engine() as engine:
        yield engine.start(starter, ctx_len=CTX_LEN, n_parallel=2, n_threads=1, context_shift=True)


@pytest.fixture
async def client(engine: Engine) -> AsyncIterator[Client]:
    async with client_of(engine) as client:
        yield client


def chat(n_turns: int) -> list[Json]:
    turns = [
        message
        for at in range(n_turns)
        for message in (
            {"role": "user", "content": f"Here is fact number {at}: the river has {at + 7} old bridges."},
            {"role": "assistant", "content": f"Noted, {at + 7} bridges."},
        )
    ]
    return [SYSTEM, *turns, {"role": "user", "content": "How many bridges did I name first?"}]


async def test_a_long_chat_loses_its_oldest_turns_and_keeps_the_system_message(client: Client):
    sizes = []
    for n_turns in range(1, 12):
        shown = await client.ok("chat/completions", messages=chat(n_turns), max_tokens=2, temperature=0)
        sizes.append(shown["usage"]["prompt_tokens"])
    assert max(sizes) <= CTX_LEN
    # Some turns at once, so that the others find the rest in the cache.
    assert 2 <= sum(later < earlier for earlier, later in itertools.pairwise(sizes)) <= 5


async def test_the_turn_after_a_cut_finds_the_rest_in_the_cache(client: Client):
    begun = False
    for n_turns in range(6, 12):
        shown = await client.ok("chat/completions", messages=chat(n_turns), max_tokens=2, temperature=0)
        usage = shown["usage"]
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        if begun and cached > usage["prompt_tokens"] / 2:
            return
        begun = True
    pytest.fail("each turn computed its prompt anew")


async def test_a_last_turn_that_is_too_long_by_itself_is_refused(client: Client):
    error = await client.error("chat/completions", messages=user("word " * 400))
    assert error["code"] == "context_length_exceeded"


async def test_an_answer_goes_on_beyond_the_context(client: Client, engine: Engine):
    shown = await client.ok(
        "chat/completions",
        messages=[SYSTEM, *user("Tell me a long story about a dog.")],
        max_tokens=3 * CTX_LEN,
        ignore_eos=True,
    )
    assert shown["usage"]["completion_tokens"] == 3 * CTX_LEN
    assert shown["choices"][0]["finish_reason"] == "length"
    assert len(answer_text(shown)) > 3 * CTX_LEN
    # What was computed with tokens that are gone is no part of another answer.
    again = await client.ok(
        "chat/completions", messages=[SYSTEM, *user("Tell me a long story about a dog.")], max_tokens=1
    )
    usage = again["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] < usage["prompt_tokens"]


async def test_a_text_goes_on_beyond_the_context_too(client: Client):
    shown = await client.ok(
        "completions", prompt="Once upon a time", max_tokens=CTX_LEN + 20, ignore_eos=True, temperature=0
    )
    assert shown["usage"]["completion_tokens"] == CTX_LEN + 20


async def test_without_a_limit_an_answer_ends_after_as_many_tokens_as_the_context_has(client: Client):
    shown = await client.ok("chat/completions", messages=user("Count."), ignore_eos=True, temperature=0)
    assert shown["usage"]["completion_tokens"] == CTX_LEN


async def test_a_memory_that_cannot_shift_is_warned_about_and_turns_go_all_the_same(tmp_path: Path):
    with Engine() as engine:
        engine.start(write_windowed(tmp_path / "w.gguf"), ctx_len=CTX_LEN, context_shift=True, n_threads=1)
        ready = engine.wait_for(wire.Ready)
        assert [warning for warning in ready.warnings if warning.startswith("context_shift: ")]
        async with client_of(engine) as client:
            shown = await client.ok(
                "chat/completions",
                messages=[*user("a b c " * 20), *user("d"), *user("e f " * 20)],
                max_tokens=2,
            )
            assert shown["usage"]["prompt_tokens"] < CTX_LEN
            shown = await client.ok("chat/completions", messages=user("a"), ignore_eos=True)
            assert sum(shown["usage"][name] for name in ("prompt_tokens", "completion_tokens")) <= CTX_LEN + 1


async def test_by_default_such_a_chat_is_refused(starter: Path):
    with Engine() as engine:
        engine.start(starter, ctx_len=CTX_LEN, n_threads=1)
        async with client_of(engine) as client:
            error = await client.error("chat/completions", messages=chat(12))
            assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
