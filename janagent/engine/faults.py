"""Errors of the engine in the one shape clients know: OpenAI's error object with an HTTP status.

Raised anywhere on the way from the request body to the first token; `server` alone turns them into responses.
"""

from typing import Any

INVALID_REQUEST = "invalid_request_error"
RATE_LIMIT = "rate_limit_error"
SERVER_ERROR = "server_error"


class RequestError(Exception):
    """A request that gets an error answer. `retry_after_s` becomes a Retry-After header."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = INVALID_REQUEST,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.param = param
        self.code = code
        self.retry_after_s = retry_after_s

    def body(self) -> dict[str, Any]:
        """The JSON body of the answer, also the payload of an SSE error event."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


def unsupported(param: str, reason: str) -> RequestError:
    """The error for a field that this engine does not offer."""
    return RequestError(f"{param}: {reason}", param=param, code="unsupported_parameter")


def context_exceeded(n_tokens: int, ctx_len: int, *, param: str) -> RequestError:
    """The error for a prompt that leaves no room for an answer."""
    return RequestError(
        f"the prompt has {n_tokens} tokens, but one conversation may use {ctx_len} tokens (ctx_len); "
        "shorten the prompt or raise ctx_len",
        param=param,
        code="context_length_exceeded",
    )


def engine_lost(message: str) -> RequestError:
    """The error for answers that were running when llama.cpp failed."""
    return RequestError(message, status=500, kind=SERVER_ERROR, code="engine_failed")
