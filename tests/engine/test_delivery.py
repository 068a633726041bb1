"""The loop's side of a running request."""

import pytest

from janagent.engine.delivery import Collected
from janagent.engine.faults import RequestError
from janagent.engine.sampling import TokenChances
from janagent.engine.work import Finish, Progress, TokenReport


async def test_a_collected_request_is_done_when_all_its_answers_are():
    collected = Collected(2)
    report = TokenReport(TokenChances(token=1, logprob=-1.0, top=()), 0)
    collected.receive(0, Progress("Hel", reports=(report,)))
    collected.receive(0, Progress("lo", Finish.STOP))
    assert not collected.done.done()
    collected.receive(1, Progress("x", Finish.LENGTH))
    await collected.done
    assert "".join(collected.choices[0].texts) == "Hello"
    assert collected.choices[0].reports == [report]
    assert [choice.finish for choice in collected.choices] == [Finish.STOP, Finish.LENGTH]


async def test_a_failure_of_the_engine_fails_the_whole_request():
    collected = Collected(2)
    collected.receive(0, Progress("x", Finish.STOP))
    collected.receive(1, Progress("", error="lost"))
    collected.receive(1, Progress("", error="lost again"))
    with pytest.raises(RequestError, match=r"^lost$"):
        await collected.done
