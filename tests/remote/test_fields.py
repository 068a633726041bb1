from typing import Any

import pytest

from janagent.remote.address import Address
from janagent.remote.fields import adapt, first_token_field, other_token_field, usable_defaults

OPENAI = Address("https://api.openai.com/v1", "gpt")
AZURE = Address("https://x.openai.azure.com/openai/deployments/d", "d", is_azure=True)
OTHER = Address("http://gpu.local:8000/v1", "m")


def test_the_client_s_own_fields_travel_as_they_are() -> None:
    body = {"model": "ours", "messages": [], "max_tokens": 5, "brand_new": {"x": 1}, "top_k": 3}
    assert adapt(body, model="m", token_field=None) == {**body, "model": "m"}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_openai_gets_its_own_name_for_the_limit(name: str) -> None:
    field = first_token_field(OPENAI, "chat/completions")
    assert adapt({name: 7}, model="m", token_field=field) == {"model": "m", "max_completion_tokens": 7}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_other_servers_get_the_name_that_all_of_them_know(name: str) -> None:
    field = first_token_field(OTHER, "chat/completions")
    assert adapt({name: 7}, model="m", token_field=field) == {"model": "m", "max_tokens": 7}


def test_azure_gets_the_name_that_the_client_says() -> None:
    assert first_token_field(AZURE, "chat/completions") is None


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_plain_completions_know_only_the_old_name(name: str) -> None:
    field = first_token_field(OPENAI, "completions")
    assert adapt({name: 7}, model="m", token_field=field) == {"model": "m", "max_tokens": 7}


def test_of_two_limits_the_one_that_the_api_knows_counts() -> None:
    body = {"max_tokens": 1, "max_completion_tokens": 2}
    assert adapt(body, model="m", token_field="max_tokens") == {"model": "m", "max_tokens": 1}
    assert adapt(body, model="m", token_field=None) == {**body, "model": "m"}


DEFAULTS = {"temperature": 0.7, "top_k": 40, "min_p": 0.1, "repeat_penalty": 1.1, "seed": -1}


@pytest.mark.parametrize("address", [OPENAI, AZURE])
def test_defaults_that_openai_would_refuse_are_left_out(address: Address) -> None:
    assert usable_defaults(DEFAULTS, address=address) == {"temperature": 0.7}


def test_other_servers_get_them_all_but_a_random_seed() -> None:
    expected = {**DEFAULTS, "repetition_penalty": 1.1}  # what vLLM calls it
    del expected["seed"]
    assert usable_defaults(DEFAULTS, address=OTHER) == expected


OLD_AZURE = {"message": "Unrecognized request argument supplied: max_completion_tokens", "code": None}
REASONING = {
    "message": "Unsupported parameter: 'max_tokens' is not supported with this model. "
    "Use 'max_completion_tokens' instead.",
    "param": "max_tokens",
    "code": "unsupported_parameter",
}


@pytest.mark.parametrize(
    ("body", "error", "other"),
    [
        ({"max_tokens": 1}, REASONING, "max_completion_tokens"),
        ({"max_completion_tokens": 1}, OLD_AZURE, "max_tokens"),
        ({"max_completion_tokens": 1}, REASONING, None),
        ({"max_tokens": 1}, OLD_AZURE, None),
        ({"max_tokens": 1}, {"message": "max_tokens is too large: 99999", "param": "max_tokens"}, None),
        ({"max_tokens": 1}, {"message": "Unrecognized request argument supplied: foo"}, None),
        ({"max_tokens": 1}, "text", None),
        ({"max_tokens": 1}, None, None),
    ],
)
def test_when_the_other_name_is_tried(body: dict[str, Any], error: Any, other: str | None) -> None:
    assert other_token_field(body, error) == other
