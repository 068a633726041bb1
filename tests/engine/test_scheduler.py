"""Continuous batching: queueing, fairness, prefill beside running answers, and what a broken engine says."""

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import aiohttp
import numpy as np
import pytest

from janagent.children import wire
from janagent.engine.context import ContextOptions, open_context
from janagent.engine.drafts import Costs
from janagent.engine.model import Model, Tokens, load_model
from janagent.engine.retained import Retained
from janagent.engine.sampling import Sampling
from janagent.engine.scheduler import Scheduler
from janagent.engine.text import TextStream
from janagent.engine.work import Generation, Progress, TokenReport
from tests.engine.conftest import N_PARALLEL, QUEUE_LIMIT
from tests.engine.engines import Client, Engine, client_of, user
from tests.gguf_files import write_aborts_on_decode

STORY = user("Tell me a long story about a dog.")


async def test_requests_beyond_the_slots_wait_and_are_answered(client: Client):
    answers = await asyncio.gather(
        *(client.ok("chat/completions", messages=STORY, max_tokens=4) for _ in range(N_PARALLEL + 4))
    )
    assert all(answer["usage"]["completion_tokens"] <= 4 for answer in answers)


async def test_a_full_queue_is_429_and_says_when_to_come_back(client: Client, engine: Engine):
    body = {"messages": STORY, "ignore_eos": True}
    async with asyncio.TaskGroup() as group:
        after = len(engine.lines)
        fillers = [
            group.create_task(client.post("chat/completions", **body))
            for _ in range(N_PARALLEL + QUEUE_LIMIT)
        ]
        await asyncio.to_thread(engine.wait_for, wire.Stats, lambda s: s.queued == QUEUE_LIMIT, after=after)
        async with client.session.post("/v1/chat/completions", json=body) as answer:
            assert answer.status == 429
            assert int(answer.headers["Retry-After"]) >= 1
            error = (await answer.json())["error"]
            assert (error["type"], error["code"]) == ("rate_limit_error", "queue_full")
        for filler in fillers:
            filler.cancel()
    await asyncio.to_thread(engine.idle)


async def test_a_request_for_many_answers_lets_others_in_between(client: Client, engine: Engine):
    greedy = asyncio.ensure_future(  # noqa: TID251
        client.ok("chat/completions", messages=STORY, n=16, max_tokens=40, ignore_eos=True)
    )
    after = len(engine.lines)
    await asyncio.to_thread(engine.wait_for, wire.Stats, lambda s: s.live == N_PARALLEL, after=after)
    await client.ok("chat/completions", messages=STORY, max_tokens=4)
    assert not greedy.done()
    assert len((await greedy)["choices"]) == 16


async def test_a_long_prompt_does_not_stall_a_running_answer(starter: Path):
    long = "The quick brown fox jumps over the lazy dog. " * 60
    with Engine() as engine:
        engine.start(starter, ctx_len=1024, n_parallel=2, n_threads=1)
        async with client_of(engine) as client:
            body = {"messages": STORY, "ignore_eos": True, "max_tokens": 400, "stream": True}
            async with client.session.post("/v1/chat/completions", json=body) as running:
                assert await running.content.readline()
                beside = asyncio.ensure_future(  # noqa: TID251
                    client.ok("completions", prompt=long, max_tokens=1)
                )
                came = 0
                async for line in running.content:
                    came += line.startswith(b"data: ")
                    if beside.done():
                        break
                assert (await beside)["usage"]["prompt_tokens"] > 500
                # In one piece the prompt would let nothing through; in chunks of a fifth of a second it does.
                assert came > 2
                running.close()


async def test_a_client_that_leaves_during_prefill_frees_its_slot_at_once(starter: Path):
    long = "The quick brown fox jumps over the lazy dog. " * 700
    with Engine() as engine:
        engine.start(starter, ctx_len=8192, n_parallel=1, n_threads=1)
        async with client_of(engine) as client:
            leaving = asyncio.ensure_future(client.post("completions", prompt=long))  # noqa: TID251
            await asyncio.to_thread(engine.wait_for, wire.Stats, lambda s: s.live == 1 and s.steps > 0)
            leaving.cancel()
            shown = await client.ok("completions", prompt="hi", max_tokens=1)
            stats = await asyncio.to_thread(engine.wait_for, wire.Stats, lambda s: s.completion_tokens == 1)
    assert shown["usage"]["completion_tokens"] == 1
    assert stats.requests == 2
    assert stats.steps < 12  # all of it would be some 7000 tokens, in chunks of at most 512


async def test_an_engine_that_breaks_ends_so_that_it_can_be_started_again(tmp_path: Path):
    with Engine() as engine:
        engine.start(write_aborts_on_decode(tmp_path / "m.gguf"))
        async with client_of(engine) as client:
            with pytest.raises(aiohttp.ClientError):
                await client.post("completions", prompt="a", max_tokens=2)
        assert engine.exit_status() not in (wire.ExitCode.OK, wire.ExitCode.LOAD_FAILED)
        assert "GGML_ASSERT" in engine.wait_for(wire.Failed).message


async def test_stats_come_every_second_and_only_grow(client: Client, engine: Engine):
    after = len(engine.lines)
    before = await asyncio.to_thread(engine.wait_for, wire.Stats, after=after)
    await client.ok("chat/completions", messages=STORY, max_tokens=5, ignore_eos=True)
    later = await asyncio.to_thread(
        engine.wait_for, wire.Stats, lambda s: s.completion_tokens >= before.completion_tokens + 5
    )
    assert later.requests == before.requests + 1
    assert later.steps > before.steps  # one for each token, or fewer where drafts came true
    assert later.prompt_tokens > before.prompt_tokens


class HandedTo:
    """An event loop, with when how many updates were handed to it at one time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.came: list[tuple[float, int]] = []

    def call_soon_threadsafe(self, call: Callable[[list[Any]], None], updates: list[Any]) -> None:
        self.came.append((time.monotonic(), len(updates)))
        self._loop.call_soon_threadsafe(call, updates)


async def test_tokens_that_come_quickly_are_handed_over_together_but_the_first_and_the_last(tiny_gguf: Path):
    tiny = load_model(str(tiny_gguf), n_gpu_layers=0, on_progress=lambda _fraction: None)
    context = open_context(tiny, ContextOptions(n_ctx=512, n_batch=64, n_seq_max=1, n_threads=1))
    scheduler = Scheduler(context, n_slots=1, ctx_len=512, queue_limit=1, on_broken=pytest.fail)
    loop = HandedTo(asyncio.get_running_loop())
    done = asyncio.Event()

    def receive(progress: Progress) -> None:
        if progress.finish is not None:
            done.set()

    scheduler.start(cast(asyncio.AbstractEventLoop, loop))
    try:
        begun = time.monotonic()
        sampling = Sampling(temperature=0.0, logit_bias=dict.fromkeys(tiny.end_tokens, float("-inf")))
        scheduler.submit(
            [
                Generation(
                    prompt=tiny.tokenize("once", special=False),
                    max_tokens=300,
                    sampling=sampling,
                    text=TextStream(),
                    receive=receive,
                )
            ]
        )
        await asyncio.wait_for(done.wait(), 60)
    finally:
        scheduler.stop()
    lasted = loop.came[-1][0] - begun
    assert len(loop.came) <= lasted / 0.01 + 3
    assert loop.came[0][1] == 1  # the first one came alone, as soon as it was there


class FreeDrafts(Costs):
    """A machine on which guessed tokens cost nothing, so that all are tried."""

    def seconds(self, n_answers: int, length: int) -> float:
        return 1.0


async def generated(scheduler: Scheduler, prompts: list[Tokens], **sampling: Any) -> list[list[int]]:
    """The tokens of one answer to each prompt, asked at one time."""
    done: list[asyncio.Future[None]] = []
    generations = []
    for prompt in prompts:
        ended = asyncio.get_running_loop().create_future()
        done.append(ended)

        def receive(progress: Progress, ended: "asyncio.Future[None]" = ended) -> None:
            assert progress.error is None
            if progress.finish is not None:
                ended.set_result(None)

        generations.append(
            Generation(
                prompt=prompt,
                max_tokens=60,
                sampling=Sampling(temperature=0.0, **sampling),
                text=TextStream(),
                receive=receive,
                top_logprobs=0,
            )
        )
    said: list[list[int]] = [[] for _ in prompts]
    for generation, tokens in zip(generations, said, strict=True):
        generation.unsent = Noting(tokens)
    scheduler.submit(generations)
    await asyncio.gather(*done)
    return said


class Noting(list[TokenReport]):
    """Token reports on their way, with their tokens noted."""

    def __init__(self, tokens: list[int]) -> None:
        super().__init__()
        self._tokens = tokens

    def append(self, report: TokenReport, /) -> None:
        self._tokens.append(report.chances.token)
        super().append(report)


LIST = "The keys: " + " ".join(
    f"{name} opens door {at};" for at, name in enumerate(("oak", "iron", "glass", "salt"))
)


@pytest.mark.parametrize("n_answers", [1, 3])
async def test_every_token_is_the_best_one_after_those_before_it_drafts_or_not(model: Model, n_answers: int):
    context = open_context(model, ContextOptions(n_ctx=1536, n_batch=256, n_seq_max=3, n_threads=1))
    scheduler = Scheduler(context, n_slots=3, ctx_len=512, queue_limit=1, on_broken=pytest.fail)
    scheduler._costs = FreeDrafts()
    prompts = [
        model.tokenize(f"Copy {at} times. {LIST}\n{LIST}\n{LIST}\nThe keys: oak", special=False)
        for at in range(n_answers)
    ]
    scheduler.start(asyncio.get_running_loop())
    try:
        said = await generated(scheduler, prompts)
        steps = scheduler.steps
    finally:
        scheduler.stop()
        scheduler._thread.join()
    assert steps < 40  # of 60 tokens each
    for prompt, tokens in zip(prompts, said, strict=True):
        whole = np.concatenate((prompt, np.array(tokens, dtype=np.int32)))
        context.clear_memory()
        for at in range(whole.size):
            context.clear_batch()
            context.add_token(int(whole[at]), position=at, seq_id=0)
            context.decode()
            if at + 1 >= prompt.size and at + 1 < whole.size:
                logits = context.logits(0)
                # llama.cpp does not promise the same bits for a token alone and among others.
                assert logits[whole[at + 1]] > logits.max() - 0.5


async def test_the_loop_does_not_wait_while_a_conversation_is_copied(
    tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch
):
    tiny = load_model(str(tiny_gguf), n_gpu_layers=0, on_progress=lambda _fraction: None)
    context = open_context(tiny, ContextOptions(n_ctx=256, n_batch=64, n_seq_max=1, n_threads=1))
    retained = Retained(1 << 30)
    scheduler = Scheduler(
        context, n_slots=1, ctx_len=256, queue_limit=9, on_broken=pytest.fail, retained=retained
    )
    is_copying, may_go_on = threading.Event(), threading.Event()
    read_state = context.read_state

    def slowly(seq_id: int) -> Any:
        is_copying.set()
        assert may_go_on.wait(60)
        return read_state(seq_id)

    monkeypatch.setattr(context, "read_state", slowly)
    scheduler.start(asyncio.get_running_loop())
    try:
        prompts = [tiny.tokenize(f"{word} " * 20, special=False) for word in ("oak", "elm", "ash")]
        await generated(scheduler, prompts[:1])
        second = asyncio.ensure_future(generated(scheduler, prompts[1:2]))  # noqa: TID251
        assert await asyncio.to_thread(is_copying.wait, 60)
        third = asyncio.ensure_future(generated(scheduler, prompts[2:]))  # noqa: TID251
        await asyncio.sleep(0)  # it has been asked for
        assert scheduler.counts()[1] == 1
        may_go_on.set()
        await asyncio.gather(second, third)
    finally:
        may_go_on.set()
        scheduler.stop()
        scheduler._thread.join()
    assert len(retained) == 2
