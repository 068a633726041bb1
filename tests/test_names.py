"""Which name means which model."""

from dataclasses import replace

from janagent.names import Names
from tests.core.driver import entry


def test_a_model_answers_to_its_id_and_aliases_with_or_without_a_leading_slash() -> None:
    names = Names()
    names.learn(entry("a", aliases=("deep/a", "openai.azure.com/docs/gpt")))
    assert names.find("a") == names.find("deep/a") == "a.json"
    assert names.find("/openai.azure.com/docs/gpt") == "a.json"
    assert names.find("b") is None


def test_an_id_wins_over_the_alias_of_another_model() -> None:
    names = Names()
    names.learn(entry("a", aliases=("b",)))
    assert names.find("b") == "a.json"
    names.learn(entry("b"))
    assert names.find("b") == "b.json"
    names.forget("b.json")
    assert names.find("b") == "a.json"


def test_a_renamed_model_no_longer_answers_to_its_old_name() -> None:
    names = Names()
    names.learn(entry("a", aliases=("old",)))
    names.learn(replace(entry("a"), id="new"))
    assert names.find("a") is None
    assert names.find("old") is None
    assert names.find("new") == "a.json"


def test_an_unknown_name_is_refused_with_the_nearest_ones() -> None:
    names = Names()
    names.learn(entry("smollm2"))
    assert "did you mean smollm2?" in names.unknown("smolm2").message
    assert len(names.unknown("x" * 100_000).message) < 500
