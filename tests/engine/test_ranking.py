"""The rerank call: real rank models by llama.cpp, against the same weights computed in float64."""

import math
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import gguf
import pytest

from janagent.engine.ranking import chance, filled
from tests.engine.bert import N_CTX, bert_weights, pair_ids, score, write_bert, write_reranker
from tests.engine.engines import Client, Engine, client_of
from tests.gguf_files import write_model

WEIGHTS = bert_weights(classifier=True)
QUERY = "what is a cat"
DOCUMENTS = ["a dog barks", "the cat purrs", "q", "what is a cat", "snow falls in winter"]


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path = write_reranker(tmp_path_factory.mktemp("rank") / "rank.gguf", weights=WEIGHTS)
    with Engine() as engine:
        yield engine.start(path, ctx_len=512, n_threads=1)


@pytest.fixture
async def ranks(reranker: Engine) -> AsyncIterator[Client]:
    async with client_of(reranker) as client:
        yield client


def by_index(shown: dict[str, Any]) -> dict[int, float]:
    return {result["index"]: result["relevance_score"] for result in shown["results"]}


async def test_the_scores_are_those_of_the_weights(ranks: Client):
    expected = [score(WEIGHTS, pair_ids(QUERY, document)) for document in DOCUMENTS]
    assert max(expected) - min(expected) > 0.05, "texts that all score alike would prove nothing"
    raw = await ranks.ok("rerank", query=QUERY, documents=DOCUMENTS, raw_scores=True)
    chances = await ranks.ok("rerank", query=QUERY, documents=DOCUMENTS)
    for index, wanted in enumerate(expected):
        assert by_index(raw)[index] == pytest.approx(wanted, abs=2e-3)
        assert by_index(chances)[index] == pytest.approx(1 / (1 + math.exp(-wanted)), abs=1e-3)


async def test_the_best_comes_first_and_the_shape_is_what_clients_expect(ranks: Client):
    shown = await ranks.ok("rerank", model="rank", query=QUERY, documents=DOCUMENTS)
    assert (shown["model"], shown["object"]) == ("rank", "list")
    assert shown["id"]
    scores = [result["relevance_score"] for result in shown["results"]]
    assert scores == sorted(scores, reverse=True)
    assert sorted(by_index(shown)) == list(range(len(DOCUMENTS)))
    assert all(set(result) == {"index", "relevance_score"} for result in shown["results"])
    n_tokens = sum(len(pair_ids(QUERY, document)) for document in DOCUMENTS)
    assert shown["usage"] == {"prompt_tokens": n_tokens, "total_tokens": n_tokens}


async def test_only_the_best_are_shown_with_their_texts_when_asked(ranks: Client):
    documents = [{"text": text, "page": page} for page, text in enumerate(DOCUMENTS)]
    every = await ranks.ok("rerank", query=QUERY, documents=DOCUMENTS)
    best = await ranks.ok("rerank", query=QUERY, documents=documents, top_n=2, return_documents=True)
    assert [result["index"] for result in best["results"]] == [
        result["index"] for result in every["results"][:2]
    ]
    for result in best["results"]:
        assert result["document"] == documents[result["index"]]
    more = await ranks.ok("rerank", query=QUERY, documents=DOCUMENTS[:2], top_n=9, return_documents=True)
    assert {result["document"]["text"] for result in more["results"]} == set(DOCUMENTS[:2])


async def test_hundreds_of_documents_score_as_each_does_alone(ranks: Client):
    many = [" ".join("abcdefghij"[: 1 + number % 10]) for number in range(300)]
    together = by_index(await ranks.ok("rerank", query="a b", documents=many, raw_scores=True))
    for number in range(0, 300, 37):
        alone = score(WEIGHTS, pair_ids("a b", many[number]))
        assert together[number] == pytest.approx(alone, abs=2e-3)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"query": ""}, "query"),
        ({"query": None}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": ["a"] * 3000}, "documents"),
        ({"documents": "a"}, "documents"),
        ({"documents": ["a", 5]}, "documents[1]"),
        ({"documents": [{"body": "a"}]}, "documents[0].text"),
        ({"top_n": 0}, "top_n"),
    ],
)
async def test_a_request_that_cannot_be_ranked_is_400(ranks: Client, change: dict[str, Any], param: str):
    error = await ranks.error("rerank", **{"query": "a", "documents": ["b"], **change})
    assert error["param"] == param


async def test_too_long_a_document_is_400_and_may_be_cut(ranks: Client):
    long = "a " * 100
    error = await ranks.error("rerank", query="b", documents=["a", long])
    assert (error["code"], error["param"]) == ("context_length_exceeded", "documents[1]")
    assert str(N_CTX) in error["message"]
    cut = await ranks.ok("rerank", query="b", documents=["a", long], max_tokens_per_doc=10, raw_scores=True)
    assert by_index(cut)[1] == pytest.approx(score(WEIGHTS, pair_ids("b", "a " * 10)), abs=2e-3)


async def test_a_model_that_ranks_does_nothing_else_and_says_what_it_does(ranks: Client):
    assert "/v1/rerank" in (await ranks.error("embeddings", input="a"))["message"]
    assert "/v1/rerank" in (await ranks.error("completions", prompt="a"))["message"]


async def test_a_model_that_ranks_does_so_with_embeddings_switched_off(tmp_path: Path):
    with Engine() as engine:
        engine.start(write_reranker(tmp_path / "m.gguf"), embedding=False)
        async with client_of(engine) as client:
            assert (await client.ok("rerank", query="a", documents=["b"]))["results"]


async def test_models_that_cannot_rank_say_why(tmp_path: Path):
    headless = write_bert(tmp_path / "headless.gguf", pooling=gguf.PoolingType.RANK)
    for path, has_classifier, why in (
        (write_model(tmp_path / "chat.gguf"), True, "pooling type rank"),
        (write_bert(tmp_path / "vectors.gguf"), True, "pooling type rank"),
        (headless, False, "cls.output.weight"),
    ):
        with Engine() as engine:
            engine.start(path, has_classifier=has_classifier)
            async with client_of(engine) as client:
                error = await client.error("rerank", query="a", documents=["b"])
        assert error["code"] == "rerank_unsupported"
        assert why in error["message"]


def test_what_the_texts_hold_is_no_place_of_the_template():
    assert filled("Q: {query} D: {document}", "{document}", "{query}") == "Q: {document} D: {query}"


def test_a_chance_is_between_0_and_1_for_any_score():
    assert [chance(score) for score in (-1e4, 0.0, 1e4)] == [0.0, 0.5, 1.0]
    assert chance(2.0) == pytest.approx(1 - chance(-2.0))
