"""How a request differs between the APIs that call themselves OpenAI's. Pure.

The client's own fields travel as they are, so that an API's newest ones work the day they come; renamed is
only what is the same thing under another name. Defaults of the manifest that an API does not know are left
out, because a default is a wish and a refused request is no answer.
"""

from collections.abc import Mapping
from typing import Any, Literal

from janagent.remote.address import Address

TokenField = Literal["max_tokens", "max_completion_tokens"]
TOKEN_FIELDS: tuple[TokenField, TokenField] = ("max_tokens", "max_completion_tokens")
_NOT_OPENAI = frozenset({"top_k", "min_p", "repeat_penalty"})
"""Runtime parameters that llama.cpp and vLLM know, and OpenAI and Azure refuse."""


def usable_defaults(defaults: Mapping[str, Any], *, address: Address) -> dict[str, Any]:
    """The manifest's runtime parameters that the API at `address` can be told."""
    is_strict = address.is_openai or address.is_azure
    usable = {name: value for name, value in defaults.items() if not (is_strict and name in _NOT_OPENAI)}
    if "repeat_penalty" in usable:  # llama.cpp's name, and vLLM's
        usable["repetition_penalty"] = usable["repeat_penalty"]
    if usable.get("seed") == -1:  # random, which is what they do without one
        del usable["seed"]
    return usable


def first_token_field(address: Address, endpoint: str) -> TokenField | None:
    """The name under which an answer's length is limited; None: as the client says.

    Azure refuses the name that a deployment does not know, and then the other one is tried. Of other servers
    all know the old name, and some pass over the new one in silence (llama_cpp.server).
    """
    if endpoint != "chat/completions":
        return "max_tokens" if endpoint == "completions" else None
    if address.is_azure:
        return None
    return "max_completion_tokens" if address.is_openai else "max_tokens"


def adapt(body: Mapping[str, Any], *, model: str, token_field: TokenField | None) -> dict[str, Any]:
    """`body` as the API takes it."""
    adapted = {**body, "model": model}
    if token_field is None:
        return adapted
    for name in TOKEN_FIELDS:
        if name != token_field and (value := adapted.pop(name, None)) is not None:
            adapted.setdefault(token_field, value)
    return adapted


def other_token_field(body: Mapping[str, Any], error: Any) -> TokenField | None:
    """The other name to try, if `error`, the object of a 400, says that the one in `body` is not known.

    Azure's older APIs know only `max_tokens`, OpenAI's reasoning models only `max_completion_tokens`, and a
    deployment's name tells nothing of either.
    """
    if not isinstance(error, Mapping):
        return None
    message = str(error.get("message", ""))
    is_unknown = error.get("code") == "unsupported_parameter" or "nrecognized" in message
    for name, other in (TOKEN_FIELDS, TOKEN_FIELDS[::-1]):
        is_meant = error.get("param") == name or name in message.partition(other)[0]
        if is_unknown and is_meant and body.get(name) is not None:
            return other
    return None
