"""Models that see and hear, over the worker's HTTP: a tiny llama and a tiny CLIP, all of it llama.cpp's."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from janagent.children import wire
from tests.engine.engines import Client, Engine, Json, answer_text, client_of, streamed_text, user
from tests.engine.pictures import data_url, image, noise, picture, shown, sound, wav
from tests.engine.projectors import write_gridded, write_gridded_model, write_hearing, write_whole
from tests.gguf_files import CHATML, write_model, write_projector

CHAT = "chat/completions"
N_TOKENS = 16
"""Of one picture."""
LISTS = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{{ part['text'] if part['type'] == 'text' }}{% endfor %}"
    "<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)
"""A template that only takes lists of parts."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    write_model(folder / "tiny.gguf", chat_template=CHATML, layers=2)
    write_projector(folder / "mmproj.gguf")
    return folder


@pytest.fixture(scope="module")
def seeing(files: Path) -> Iterator[Engine]:
    with Engine() as engine:
        yield engine.start(
            files / "tiny.gguf",
            projector_path=str(files / "mmproj.gguf"),
            ctx_len=512,
            n_parallel=4,
            n_threads=1,
        )


@pytest.fixture
async def eyes(seeing: Engine) -> AsyncIterator[Client]:
    async with client_of(seeing) as client:
        yield client


async def look(client: Client, messages: list[Json], **more: Any) -> Json:
    """A short greedy answer with the likelihoods of its tokens."""
    asked = {"max_tokens": 8, "temperature": 0, "logprobs": True, "ignore_eos": True, **more}
    return await client.ok(CHAT, messages=messages, **asked)


def likelihoods(answer: Json) -> list[float]:
    return [entry["logprob"] for entry in answer["choices"][0]["logprobs"]["content"]]


def cached(answer: Json) -> int:
    count = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert isinstance(count, int)
    return count


async def test_the_answer_depends_on_the_picture_and_its_tokens_are_counted(eyes: Client) -> None:
    one, other, again = [await look(eyes, shown("What is it?", picture(seed))) for seed in (1, 2, 1)]
    assert likelihoods(one) != pytest.approx(likelihoods(other), abs=1e-3)
    assert likelihoods(one) == pytest.approx(likelihoods(again), abs=1e-4)
    assert answer_text(one) == answer_text(again)
    blind = await look(eyes, user("What is it?"))
    assert one["usage"]["prompt_tokens"] == blind["usage"]["prompt_tokens"] + N_TOKENS


async def test_the_second_question_takes_the_picture_from_the_cache_and_says_so(eyes: Client) -> None:
    seed = 10
    first = await look(eyes, shown(picture(seed), "What is it?"))
    second = await look(eyes, shown(picture(seed), "And what colour?"))
    assert cached(first) < N_TOKENS < cached(second)
    other = await look(eyes, shown(picture(seed + 1), "And what colour?"))
    assert cached(other) < N_TOKENS, "another picture is another beginning"
    cold = await look(eyes, shown(picture(seed), "And what colour?"), seed=1)  # a seed takes nothing from it
    assert cached(cold) == 0
    assert answer_text(cold) == answer_text(second)
    assert likelihoods(cold) == pytest.approx(likelihoods(second), abs=1e-3)


async def test_several_pictures_keep_their_order(eyes: Client) -> None:
    a, b = picture(20), picture(21)
    both = await look(eyes, shown("First", a, "then", b, "what changed?"))
    turned = await look(eyes, shown("First", b, "then", a, "what changed?"))
    twice = await look(eyes, shown("First", a, "then", a, "what changed?"))
    assert both["usage"]["prompt_tokens"] == twice["usage"]["prompt_tokens"]
    for one, other in itertools.combinations((both, turned, twice), 2):
        assert likelihoods(one) != pytest.approx(likelihoods(other), abs=1e-3)


async def test_pictures_are_seen_in_messages_of_every_role(eyes: Client) -> None:
    seen = []
    for role in ("system", "user", "assistant", "tool"):
        for seed in (30, 31):
            last = {"role": "user", "content": "Well?"}
            answer = await look(eyes, [*shown("Look:", picture(seed), role=role), last])
            seen.append(likelihoods(answer))
    for first, second in itertools.pairwise(seen[::2]):
        assert first != second
    for one, other in zip(seen[::2], seen[1::2], strict=True):
        assert one != pytest.approx(other, abs=1e-3)


async def test_answers_with_pictures_are_the_same_beside_others(eyes: Client) -> None:
    questions = [shown("What is it?", picture(seed), "Tell me.") for seed in range(40, 43)]
    questions.append(user("And without one?"))
    alone = [await look(eyes, question, seed=1) for question in questions]
    together = await asyncio.gather(*(look(eyes, question, seed=1) for question in questions))
    for one, other in zip(alone, together, strict=True):
        assert answer_text(one) == answer_text(other)
        assert likelihoods(one) == pytest.approx(likelihoods(other), abs=1e-3)


async def test_several_answers_about_a_picture_share_it(eyes: Client) -> None:
    answer = await look(eyes, shown(picture(50), "What is it?"), n=3)
    texts = [answer_text(answer, index) for index in range(3)]
    assert len(set(texts)) == 1
    usage = answer["usage"]
    assert usage["prompt_tokens"] > N_TOKENS


async def test_an_answer_about_a_picture_streams(eyes: Client) -> None:
    asked: Json = {"messages": shown(picture(1), "What is it?"), "max_tokens": 8, "temperature": 0}
    events = await eyes.events(CHAT, **asked, ignore_eos=True)
    whole = await look(eyes, shown(picture(1), "What is it?"))
    assert streamed_text(events) == answer_text(whole)


async def test_a_prompt_too_long_for_its_pictures_is_an_error_with_the_figure(eyes: Client) -> None:
    pictures = [picture(1)] * 32
    error = await eyes.error(CHAT, messages=shown(*pictures))
    assert error["code"] == "context_length_exceeded"
    assert int(error["message"].split()[3]) > 32 * N_TOKENS


async def test_penalties_and_shapes_go_with_pictures(eyes: Client) -> None:
    body: Json = {"messages": shown("What?", picture(1)), "max_tokens": 20, "repeat_penalty": 1.2, "seed": 3}
    assert answer_text(await eyes.ok(CHAT, **body))
    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"enum": ["cat", "dog"]}}}
    assert answer_text(await eyes.ok(CHAT, **body, response_format=schema)) in ('"cat"', '"dog"')


BAD_PICTURES = [
    (data_url(b"no picture"), "no picture"),
    (data_url(b""), "empty"),
    (data_url(picture(1)[:100]), "cannot be decoded"),
    ("data:image/png;base64,%%%", "base64"),
    ("http://127.0.0.1:9/x.png", "picture_urls"),
    ("file:///etc/passwd", "must be a data: URL"),
]


@pytest.mark.parametrize(("url", "words"), BAD_PICTURES)
async def test_a_bad_picture_is_an_error_at_its_place_and_no_harm(eyes: Client, url: str, words: str) -> None:
    error = await eyes.error(CHAT, messages=shown("Look:", image(url)))
    assert words in error["message"]
    assert error["param"].startswith("messages[0].content[1]")
    assert await look(eyes, shown(picture(1), "Still there?"))


async def test_a_sense_that_the_projector_lacks_is_an_error(eyes: Client) -> None:
    error = await eyes.error(CHAT, messages=shown("Listen:", sound(wav(noise(0.1)))))
    assert "does not take sound: its projector is not made for that" in error["message"]


async def test_a_model_without_a_projector_says_so(files: Path) -> None:
    with Engine() as engine:
        engine.start(files / "tiny.gguf", n_threads=1)
        async with client_of(engine) as client:
            error = await client.error(CHAT, messages=shown("Look:", picture(1)))
            assert "does not take pictures: there is no projector (mmproj) beside it" in error["message"]
            assert error["param"] == "messages[0].content[1]"
            assert await client.ok(CHAT, messages=user("hello"), max_tokens=2)


async def test_a_model_whose_projector_cannot_be_used_still_reads_and_tells(
    files: Path, tmp_path: Path
) -> None:
    wide = write_projector(tmp_path / "wide.gguf", embedding_length=128)
    with Engine() as engine:
        engine.start(files / "tiny.gguf", projector_path=str(wide), n_threads=1)
        (warning,) = engine.wait_for(wire.Ready).warnings
        assert "the projector cannot be used" in warning
        assert "mismatch between text model" in warning
        async with client_of(engine) as client:
            assert "mismatch" in (await client.error(CHAT, messages=shown(picture(1))))["message"]
            assert await client.ok(CHAT, messages=user("hello"), max_tokens=2)


async def test_a_template_that_takes_lists_of_parts_gets_them(files: Path) -> None:
    with Engine() as engine:
        engine.start(
            files / "tiny.gguf",
            projector_path=str(files / "mmproj.gguf"),
            chat_template=LISTS,
            n_parallel=2,
            n_threads=1,
        )
        async with client_of(engine) as client:
            one, other = [await look(client, shown("What?", picture(seed))) for seed in (1, 2)]
            assert likelihoods(one) != pytest.approx(likelihoods(other), abs=1e-3)
            plain = await look(client, user("What?"))
            assert one["usage"]["prompt_tokens"] == plain["usage"]["prompt_tokens"] + N_TOKENS


async def test_a_template_that_drops_pictures_is_an_error(files: Path) -> None:
    with Engine() as engine:
        engine.start(
            files / "tiny.gguf",
            projector_path=str(files / "mmproj.gguf"),
            chat_template="{{ messages[-1]['content'] }}",
            n_threads=1,
        )
        async with client_of(engine) as client:
            messages = [*shown(picture(1)), *user("What was it?")]
            error = await client.error(CHAT, messages=messages)
            assert (error["code"], error["param"]) == ("template_error", "messages")
            assert await look(client, shown(picture(1))), "a picture may be the end of a prompt"


async def test_pictures_whose_positions_are_a_grid_are_shared_and_gone_on_from(tmp_path: Path) -> None:
    """Qwen2-VL: a picture takes fewer positions than tokens, so the two are counted apart."""
    model = write_gridded_model(tmp_path / "m.gguf", chat_template=CHATML)
    projector = write_gridded(tmp_path / "p.gguf")
    with Engine() as engine:
        engine.start(model, projector_path=str(projector), ctx_len=512, n_parallel=3, n_threads=1, n_batch=32)
        async with client_of(engine) as client:
            turns = shown("First:", picture(1, width=300, height=200), "second:", picture(2))
            first = await look(client, turns)
            turns += [{"role": "assistant", "content": answer_text(first)}, *shown("And this?", picture(3))]
            warm = await look(client, turns)
            cold = await look(client, turns, seed=1)
            assert (cached(warm) > 80, cached(cold)) == (True, 0)
            assert likelihoods(warm) == pytest.approx(likelihoods(cold), abs=2e-3)
            beside = await asyncio.gather(*(look(client, turns, seed=1) for _ in range(3)))
            for one in beside:
                assert likelihoods(one) == pytest.approx(likelihoods(cold), abs=2e-3)


async def test_a_grid_comes_back_from_what_is_kept_of_finished_conversations(tmp_path: Path) -> None:
    model = write_gridded_model(tmp_path / "m.gguf", chat_template=CHATML)
    projector = write_gridded(tmp_path / "p.gguf")
    with Engine() as engine:
        engine.start(model, projector_path=str(projector), ctx_len=512, n_parallel=1, n_threads=1)
        async with client_of(engine) as client:
            question = shown("Look:", picture(1, width=300, height=200), "What is it?")
            await look(client, question)
            await look(client, user("Something else, long enough to be worth its own place in the cache."))
            back = await look(client, [*question, *user("Well?")])
            cold = await look(client, [*question, *user("Well?")], seed=1)
            assert cached(back) > 80
            assert likelihoods(back) == pytest.approx(likelihoods(cold), abs=2e-3)


async def test_pictures_that_are_seen_at_once_are_whole_or_refused(files: Path, tmp_path: Path) -> None:
    """Gemma 3."""
    projector = write_whole(tmp_path / "p.gguf")
    for n_batch, is_fine in ((32, True), (8, False)):
        with Engine() as engine:
            engine.start(
                files / "tiny.gguf", projector_path=str(projector), n_parallel=2, n_batch=n_batch, n_threads=1
            )
            async with client_of(engine) as client:
                if is_fine:
                    answers = [await look(client, shown("a", picture(1)), seed=1) for _ in range(2)]
                    assert likelihoods(answers[0]) == pytest.approx(likelihoods(answers[1]), abs=1e-4)
                    assert likelihoods(answers[0]) != likelihoods(await look(client, shown("a", picture(2))))
                else:
                    error = await client.error(CHAT, messages=shown("a", picture(1)))
                    assert "16 tokens at once, but n_batch is 8" in error["message"]


async def test_a_model_that_hears_answers_by_what_it_heard(files: Path, tmp_path: Path) -> None:
    projector = write_hearing(tmp_path / "p.gguf")
    with Engine() as engine:
        engine.start(
            files / "tiny.gguf", projector_path=str(projector), ctx_len=1024, n_parallel=1, n_threads=1
        )
        async with client_of(engine) as client:
            one, other = [
                await look(client, shown("Listen:", sound(wav(noise(1.0, seed=seed))))) for seed in (1, 2)
            ]
            assert likelihoods(one) != likelihoods(other)
            assert one["usage"]["prompt_tokens"] > 375
            assert (
                "does not take pictures" in (await client.error(CHAT, messages=shown(picture(1))))["message"]
            )
            bad = await client.error(CHAT, messages=shown(sound(b"nothing to hear")))
            assert (bad["code"], bad["param"]) == ("invalid_audio", "messages[0].content[0]")


async def test_memory_stays_flat_over_many_pictures(seeing: Engine, eyes: Client) -> None:
    process = psutil.Process(seeing.process.pid)

    async def ask(seeds: range) -> int:
        for seed in seeds:
            body: Json = {"messages": shown(picture(seed, width=400, height=300)), "max_tokens": 1}
            await eyes.ok(CHAT, **body)
        return int(process.memory_info().rss)

    before = await ask(range(1000, 1030))
    after = await ask(range(1030, 1230))
    assert after - before < 200 * 100_000, "each is 360 kB of pixels, and more inside mtmd"


async def test_a_client_that_leaves_while_a_picture_is_encoded_leaves_nothing(
    seeing: Engine, eyes: Client
) -> None:
    body: Json = {"messages": shown(picture(9, width=3000, height=2000)), "max_tokens": 100}
    for _ in range(3):
        task = asyncio.ensure_future(eyes.post(CHAT, **body))  # noqa: TID251
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    seeing.idle()
    assert await look(eyes, shown(picture(9, width=3000, height=2000)))
