"""Prompts and inputs of requests as tokens."""

from pathlib import Path

import numpy as np
import pytest

from janagent.engine.faults import RequestError
from janagent.engine.llama_log import EngineLog
from janagent.engine.media import MediaRun
from janagent.engine.model import Model, load_model
from janagent.engine.parts import Kind, Marks, Medium, Mixed
from janagent.engine.tokenizing import chat_tokens, checked, each, mixed_prompt, prompt_tokens, tokenized
from tests.gguf_files import write_model


@pytest.fixture(scope="module")
def tiny(tiny_gguf: Path, engine_log: EngineLog) -> Model:
    """A model that wants a BOS token."""
    return load_model(str(tiny_gguf), n_gpu_layers=0, on_progress=lambda _fraction: None)


def test_one_text_or_one_token_list_is_one_item():
    assert each("ab") == ["ab"]
    assert each([1, 2]) == [[1, 2]]
    assert each(["a", "b"]) == ["a", "b"]
    assert each([[1], [2]]) == [[1], [2]]
    assert each([]) == []


async def test_a_very_long_text_is_tokenized_beside_the_loop(model: Model):
    text = "word " * 20_000
    assert model.text_of(await tokenized(model, text, special=False)) == text


def test_a_token_that_is_not_in_the_vocabulary_is_refused(model: Model):
    with pytest.raises(RequestError, match="not in the vocabulary"):
        checked(model, [1, model.n_vocab], param="prompt")
    assert list(checked(model, [1, 2], param="prompt")) == [1, 2]


async def test_a_chat_prompt_begins_with_one_bos_however_the_template_puts_it(tiny: Model):
    with_bos = await chat_tokens(tiny, "<s>hello")
    without = await chat_tokens(tiny, "hello")
    assert list(with_bos) == list(without)
    assert list(without).count(tiny.bos) == 1


async def test_media_stand_where_their_marks_do(tiny: Model):
    marks = Marks()
    picture = Medium(Kind.PICTURE, "u", "image_url")
    text = marks.text_of(Mixed((picture, "between", picture)))
    run = MediaRun(embeddings=np.zeros((3, 64), np.float32), n_positions=3)
    media = [(b"a", (run,)), (b"b", (run,))]
    prompt = await mixed_prompt(tiny, text, marks, media)
    between = await tokenized(tiny, "between", special=True)
    newline = await tokenized(tiny, "\n", special=True)
    assert prompt.tokens[0] == tiny.bos
    assert [placed.start for placed in prompt.media] == [1, 1 + 3 + between.size]
    assert prompt.tokens[4 : 4 + between.size].tolist() == between.tolist()
    assert prompt.tokens[-newline.size :].tolist() == newline.tolist(), "the last one is a token"
    turned = await mixed_prompt(tiny, "".join(reversed(text.partition("between"))), marks, media)
    assert turned.tokens[1] == prompt.tokens[4 + between.size]
    for lost in ("nothing", text[: text.index("between")], text + text):
        with pytest.raises(RequestError, match="leaves pictures"):
            await mixed_prompt(tiny, lost, marks, media)


async def test_an_empty_prompt_still_has_a_token_to_begin_with(model: Model, tiny: Model):
    assert (await prompt_tokens(model, "", suffix=None)).size == 1
    assert list(await prompt_tokens(tiny, "", suffix=None)) == [tiny.bos]
    assert (await mixed_prompt(model, "", Marks(), [])).tokens.size == 1  # of a template that says nothing


async def test_a_suffix_needs_a_model_trained_for_it(model: Model, tiny: Model):
    with pytest.raises(RequestError) as caught:
        await prompt_tokens(tiny, "def f(", suffix="return 1")
    assert (caught.value.param, caught.value.code) == ("suffix", "unsupported_parameter")


async def test_a_suffix_frames_the_prompt_with_the_models_marks(tmp_path: Path, engine_log: EngineLog):
    def trained(writer: object) -> None:
        for name, token in (("prefix", 260), ("suffix", 261), ("middle", 262)):
            writer.add_uint32(f"tokenizer.ggml.{name}_token_id", token)  # type: ignore[attr-defined]

    path = write_model(tmp_path / "fim.gguf", customize=trained)
    fim = load_model(str(path), n_gpu_layers=0, on_progress=lambda _fraction: None)
    before, after = (list(fim.tokenize(text, special=False)) for text in ("ab", "yz"))
    framed = await prompt_tokens(fim, "ab", suffix="yz")
    assert list(framed) == [fim.bos, 260, *before, 261, *after, 262]
