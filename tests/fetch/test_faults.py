import pytest

from janagent.fetch.faults import Code, FetchError


@pytest.mark.parametrize("code", ["offline", "rate_limited", "server_error", "network", "stalled"])
def test_trouble_that_passes_is_worth_another_try(code: str):
    assert FetchError(code, "wait").is_passing
    assert not FetchError(code, "no", is_permanent=True).is_passing


@pytest.mark.parametrize("code", ["disk_full", "in_the_way", "changed", "wrong_hash"])
def test_what_a_person_or_a_new_plan_must_solve_is_not_tried_again_at_once(code: str):
    assert not FetchError(code, "do something").is_passing


def test_an_unknown_code_is_a_programming_error():
    with pytest.raises(ValueError, match="oops"):
        FetchError("oops", "")
    assert str(FetchError(Code.GATED, "visit the page", is_permanent=True)) == "visit the page"
