"""What Jan's programs put beside a model, and what is taken of it."""

import json
from typing import Any

import pytest

from janagent.fetch.jan import Unreadable, prompt_pieces, read

V1 = {
    "id": "some-7b",
    "object": "model",
    "source_url": "https://h.example/some.gguf",
    "format": "gguf",
    "settings": {
        "ctx_len": 2048,
        "ngl": 33,
        "prompt_template": "{system_message}\n### Instruction: {prompt}\n### Response:",
        "llama_model_path": "some.gguf",
    },
    "parameters": {"temperature": 0.7, "top_p": 0.95, "stream": True, "max_tokens": 2048, "stop": ["</s>"]},
    "metadata": {"author": "somebody", "size": 1},
    "engine": "nitro",
}
V2 = """
# model of another age
name: some-7b
model: some-7b:Q4
engine: llama-cpp
version: 1
stop:
  - <|im_end|>
temperature: 0.7 # between 0 and 2
top_p: 0.95
max_tokens: 2048
stream: true
ctx_len: 2048
ngl: 33
prompt_template: |
  {system_message}
  ### Instruction: {prompt}
  ### Response:
files:
  - some.gguf
"""
SPECIFICATION = {
    "origin": "evil/repo",
    "parameters": {
        "init": {"ctx_len": "2048", "ngl": 33, "user_prompt": "USER: ", "ai_prompt": "ASSISTANT: "},
        "runtime": {"temperature": "0.7", "token_limit": 2048, "top_k": ""},
    },
}


def shown(name: str, text: str) -> tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]:
    found, warnings = read(name, text.encode())
    return found.init.shown(), found.runtime.shown(), warnings


def test_model_json_with_settings_and_parameters() -> None:
    init, runtime, warnings = shown("model.json", json.dumps(V1))
    assert init == {
        "ctx_len": 2048,
        "ngl": 33,
        "user_prompt": "### Instruction: ",
        "ai_prompt": "### Response:",
    }
    assert runtime == {"temperature": 0.7, "top_p": 0.95, "max_tokens": 2048, "stop": ["</s>"]}
    assert warnings == ()


def test_model_yml_with_everything_at_the_top() -> None:
    init, runtime, warnings = shown("model.yml", V2)
    assert (init["ctx_len"], init["ngl"], init["user_prompt"]) == (2048, 33, "### Instruction: ")
    assert runtime == {"temperature": 0.7, "top_p": 0.95, "max_tokens": 2048, "stop": ["<|im_end|>"]}
    assert warnings == ()


def test_the_specification_s_own_shape() -> None:
    init, runtime, _ = shown("model.json", json.dumps(SPECIFICATION))
    assert init == SPECIFICATION["parameters"]["init"] | {"ctx_len": 2048}
    assert runtime == {"temperature": 0.7, "token_limit": 2048}


@pytest.mark.parametrize(
    ("template", "pieces"),
    [
        ("{system_message}\nUSER: {prompt}\nASSISTANT: ", ("USER: ", "ASSISTANT: ")),
        ("### Q: {prompt}\n### A:", ("### Q: ", "### A:")),
        ("<|im_start|>system\n{system_message}<|im_end|>\n<|im_start|>user\n{prompt}<|im_end|>\n", None),
        ("<s>[INST] {prompt} [/INST]", None),
        ("SYSTEM: {system_message}\nUSER: {prompt}\nASSISTANT:", None),
        ("{prompt}", None),
        ("no place for a prompt", None),
        ("USER: {prompt} {prompt} ASSISTANT:", None),
    ],
)
def test_a_template_becomes_pieces_only_where_nothing_is_lost(
    template: str, pieces: tuple[str, str] | None
) -> None:
    expected = {"user_prompt": pieces[0], "ai_prompt": pieces[1]} if pieces else {}
    assert prompt_pieces(template) == expected


def test_a_template_that_is_not_taken_is_told() -> None:
    init, _, warnings = shown("model.yml", "prompt_template: '<s>{prompt}'\nctx_len: 8")
    assert init == {"ctx_len": 8}
    assert "the model's own template is used" in warnings[0]


BOMB = "a: &a [x, x]\n" + "\n".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]" for n in range(20)
)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("model.json", "{", "is no JSON: line 1"),
        ("model.json", "[1]", "holds no object"),
        ("model.yml", "a: [", "is no YAML"),
        ("model.yml", "- a\n- b", "holds no object"),
        ("model.yml", "", "holds no object"),
        ("model.yml", BOMB, "uses YAML aliases"),
        ("model.yml", "a: " + "[" * 1000, "nested too deeply"),
        ("model.yml", "a: 2024-99-99", "cannot be"),
        ("model.yml", "a: !!python/object/apply:os.system ['true']", "is no YAML"),
        ("model.yml", "x: " + "y" * 70_000, "larger than 64 KiB"),
    ],
)
def test_a_broken_file_says_what_is_wrong(name: str, text: str, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        read(name, text.encode())


def test_bytes_that_are_no_text_and_values_that_cannot_be() -> None:
    with pytest.raises(Unreadable, match="UTF-8"):
        read("model.json", b"\xff\xfe{}")
    init, _, warnings = shown("model.yml", "ctx_len: .nan\nngl: {a: b}\n1: 2\nstop: [[x]]\ntop_k: 5000000")
    assert init == {}
    assert warnings[0].startswith("ctx_len:")
