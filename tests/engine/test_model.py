"""The weights and the vocabulary of the real starter model."""

from pathlib import Path

import numpy as np
import pytest

from janagent.engine.llama_log import EngineLog
from janagent.engine.model import LoadError, Model, load_model
from tests.gguf_files import write_model, write_unloadable


def test_text_goes_to_tokens_and_back(model: Model):
    text = "Grüße, 日本 🎉\n  indented"
    tokens = model.tokenize(text, special=False)
    assert tokens.dtype == np.int32
    assert model.text_of(tokens) == text


def test_control_tokens_are_read_only_when_asked_and_never_written(model: Model):
    asked = model.tokenize("<|im_end|>", special=True)
    assert asked.size == 1
    assert model.tokenize("<|im_end|>", special=False).size > 1
    assert model.piece(int(asked[0])) == b""
    assert model.special_text(int(asked[0])) == "<|im_end|>"


def test_the_tokens_that_end_an_answer_are_known(model: Model):
    assert int(model.tokenize("<|im_end|>", special=True)[0]) in model.end_tokens
    assert model.eos in model.end_tokens


def test_the_gguf_says_what_it_is(model: Model):
    assert model.metadata("general.architecture") == "llama"
    assert model.metadata("no.such.key") is None
    assert model.n_ctx_train == 8192
    assert model.chat_template is not None
    assert "<|im_start|>" in model.chat_template
    assert not model.is_encoder_decoder


def test_long_metadata_comes_whole(tmp_path: Path, engine_log: EngineLog):
    words = "long " * 2000
    path = write_model(tmp_path / "m.gguf", customize=lambda writer: writer.add_description(words))
    assert load(path).metadata("general.description") == words


def test_a_beginning_token_is_added_once_where_the_model_wants_it(tmp_path: Path, engine_log: EngineLog):
    tiny = load(write_model(tmp_path / "m.gguf"))
    assert tiny.adds_bos
    once = tiny.with_bos(tiny.tokenize("a", special=False))
    assert list(once[:1]) == [tiny.bos]
    assert list(tiny.with_bos(once)) == list(once)


def test_a_model_not_trained_for_it_does_not_fill_in_the_middle(tmp_path: Path, engine_log: EngineLog):
    assert load(write_model(tmp_path / "m.gguf")).fill_in_middle is None


def test_progress_is_told_while_loading(tmp_path: Path, engine_log: EngineLog):
    seen: list[float] = []
    load_model(str(write_model(tmp_path / "m.gguf")), n_gpu_layers=0, on_progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_a_file_that_is_no_model_raises_and_the_log_has_the_reason(tmp_path: Path, engine_log: EngineLog):
    path = write_unloadable(tmp_path / "broken.gguf")
    with pytest.raises(LoadError):
        load(path)
    assert "blk.0.ffn_up.weight" in engine_log.last_errors()


def load(path: Path) -> Model:
    return load_model(str(path), n_gpu_layers=0, on_progress=lambda _fraction: None)
