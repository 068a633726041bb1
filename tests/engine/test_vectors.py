"""The embeddings call over the real socket."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from janagent.engine.model import Model
from tests.engine.conftest import CTX_LEN
from tests.engine.engines import Client, Engine, client_of


def vectors(shown: dict[str, Any]) -> list[np.ndarray[Any, Any]]:
    assert [entry["index"] for entry in shown["data"]] == list(range(len(shown["data"])))
    return [np.array(entry["embedding"], dtype=np.float32) for entry in shown["data"]]


async def test_embeddings_are_normalised_and_alike_for_alike_texts(client: Client):
    texts = [
        "The cat sits on the mat.",
        "A cat is sitting on a mat.",
        "Quarterly revenue fell by nine percent.",
    ]
    shown = await client.ok("embeddings", model="smol", input=texts)
    assert shown["object"] == "list"
    assert shown["model"] == "smol"
    assert shown["data"][0]["object"] == "embedding"
    cat, other_cat, revenue = vectors(shown)
    for vector in (cat, other_cat, revenue):
        assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-4)
    assert cat @ other_cat > cat @ revenue
    assert shown["usage"]["prompt_tokens"] == shown["usage"]["total_tokens"] > 15


async def test_base64_holds_the_same_numbers(client: Client):
    (plain,) = vectors(await client.ok("embeddings", input="hello"))
    shown = await client.ok("embeddings", input="hello", encoding_format="base64")
    coded = np.frombuffer(base64.b64decode(shown["data"][0]["embedding"]), dtype="<f4")
    np.testing.assert_allclose(coded, plain, atol=1e-3)


async def test_fewer_dimensions_are_cut_and_normalised_again(client: Client):
    (whole,) = vectors(await client.ok("embeddings", input="hello"))
    (cut,) = vectors(await client.ok("embeddings", input="hello", dimensions=8))
    assert cut.size == 8
    np.testing.assert_allclose(cut, whole[:8] / np.linalg.norm(whole[:8]), atol=1e-2)


async def test_many_inputs_of_all_lengths_come_back_in_order(client: Client, model: Model):
    words = ["one", "two two", "a much longer text " * 20, *(f"number {i}" for i in range(15))]
    many = vectors(await client.ok("embeddings", input=words))
    for index in (0, 2, 9):
        (alone,) = vectors(await client.ok("embeddings", input=words[index]))
        assert float(alone @ many[index]) > 0.999
    tokens = [model.tokenize(word, special=False).tolist() for word in words[:2]]
    for from_tokens, from_text in zip(
        vectors(await client.ok("embeddings", input=tokens)), many, strict=False
    ):
        assert float(from_tokens @ from_text) > 0.999


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": ["a"] * 3000}, "input"),
        ({"input": [10**6]}, "input"),
        ({"input": "a", "dimensions": 10_000}, "dimensions"),
        ({"input": "word " * 2000}, "input"),
    ],
)
async def test_an_input_that_cannot_be_embedded_is_refused(client: Client, body: dict[str, Any], param: str):
    error = await client.error("embeddings", **body)
    assert error["param"] == param


async def test_too_long_an_input_names_both_numbers(client: Client):
    error = await client.error("embeddings", input="word " * 2000)
    assert error["code"] == "context_length_exceeded"
    assert str(CTX_LEN) in error["message"]


async def test_an_answer_of_many_vectors_comes_in_pieces_and_whole(tiny_gguf: Path):
    words = [f"w{number}" for number in range(1000)]
    with Engine() as engine:
        engine.start(tiny_gguf)
        async with client_of(engine) as client:
            body = {"model": "t", "input": words}
            async with client.session.post("/v1/embeddings", json=body) as answer:
                assert answer.content_type == "application/json"
                assert answer.content_length is None, "nobody holds it whole"
                many = await answer.json()
            assert many["usage"]["prompt_tokens"] >= len(words)
            (alone,) = vectors(await client.ok("embeddings", input=words[998]))
    found = vectors(many)
    assert len(found) == len(words)
    assert float(alone @ found[998]) > 0.9999


async def test_embeddings_may_be_switched_off(tiny_gguf: Path):
    with Engine() as engine:
        engine.start(tiny_gguf, embedding=False)
        async with client_of(engine) as client:
            assert (await client.error("embeddings", input="a"))["code"] == "embeddings_disabled"
