"""Refusals."""

from janagent.core.faults import Refusal
from janagent.folder.fault import Fault


def test_a_refusal_follows_from_a_fault_under_its_own_or_another_code() -> None:
    fault = Fault("incomplete", "31 % of 4.1 GB")
    assert Refusal.of(fault) == Refusal("incomplete", "31 % of 4.1 GB")
    assert Refusal.of(fault, code="model_missing").code == "model_missing"


def test_a_refusal_says_itself_in_a_log() -> None:
    assert repr(Refusal("a", "b")) == "Refusal('a', 'b')"
    assert str(Refusal("a", "b", retry_after_s=3)) == "b"
