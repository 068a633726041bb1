from janagent.folder.entry import Condition
from janagent.folder.fault import Fault
from janagent.folder.verdict import Verdict


def test_the_first_fault_is_the_one_that_is_told() -> None:
    verdict = Verdict()
    assert (verdict.condition, verdict.fault) == (Condition.COMPLETE, None)
    verdict.fail(Condition.MISSING, "missing", "one part")
    verdict.fail(Condition.INVALID, "invalid", "another")
    assert (verdict.condition, verdict.fault) == (Condition.MISSING, Fault("missing", "one part"))


def test_only_files_that_all_stand_still_soon_are_settling() -> None:
    verdict = Verdict()
    verdict.fail(Condition.MISSING, "incomplete", "a", is_settling=True)
    assert verdict.is_settling
    verdict.fail(Condition.MISSING, "incomplete", "b", is_settling=True)
    assert verdict.is_settling
    verdict.fail(Condition.MISSING, "incomplete", "c")
    assert not verdict.is_settling
