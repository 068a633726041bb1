"""The error object."""

from janagent.engine.faults import RequestError, context_exceeded, engine_lost, unsupported


def test_an_error_has_openais_four_fields():
    body = RequestError("no", param="n", code="invalid_value").body()
    assert body == {
        "error": {"message": "no", "type": "invalid_request_error", "param": "n", "code": "invalid_value"}
    }


def test_too_long_a_prompt_names_both_numbers():
    error = context_exceeded(700, 512, param="messages")
    assert (error.status, error.code, error.param) == (400, "context_length_exceeded", "messages")
    assert "700" in error.message
    assert "512" in error.message


def test_an_unsupported_field_is_named():
    assert unsupported("tools", "no").param == "tools"


def test_a_lost_engine_is_no_fault_of_the_request():
    error = engine_lost("llama.cpp failed")
    assert (error.status, error.kind, error.code) == (500, "server_error", "engine_failed")
