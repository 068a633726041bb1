"""The loop's side of a running request."""

import json
from typing import Any, cast

import pytest

from janagent.body import BodyStream
from janagent.engine.answers import ChunkWriter, Envelope
from janagent.engine.calls import Thinking
from janagent.engine.delivery import Collected, Streamed
from janagent.engine.families.tagged import HERMES
from janagent.engine.faults import RequestError
from janagent.engine.reader import AnswerReader
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


class Kept:
    """Stands for the stream: what is written to it, in events."""

    is_open = True
    is_congested = False

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def choices(self) -> list[Any]:
        events = self.data.decode().split("\n\n")[:-1]
        return [json.loads(event.removeprefix("data: "))["choices"][0] for event in events]


def streamed(kept: Kept, **reading: Any) -> Streamed:
    envelope = Envelope.new(model="m", is_chat=True, fingerprint="fp")
    chunks = ChunkWriter(envelope, n_choices=1, with_usage=False, piece_of=lambda token: b"%d" % token)
    readers = [AnswerReader(**reading)]
    return Streamed(cast(BodyStream, kept), chunks, n=1, readers=readers)


def report(token: int) -> TokenReport:
    return TokenReport(TokenChances(token=token, logprob=-1.0, top=()), 0)


async def test_every_token_of_a_read_stream_has_its_log_probability_once():
    kept = Kept()
    stream = streamed(kept, form=HERMES, thinking=Thinking(), tools={"clock": {}})
    texts = ["<thi", "nk>Hm", "</think>", "So. ", "<tool_", 'call>{"name": "clock"', "}", "</tool_call>"]
    for number, text in enumerate(texts):
        stream.receive(0, Progress(text, reports=(report(number),)))
    stream.receive(0, Progress("", Finish.STOP))
    choices = kept.choices()
    tokens = [entry["token"] for c in choices for entry in (c["logprobs"] or {}).get("content", ())]
    assert tokens == [str(number) for number in range(len(texts))]
    assert "".join(c["delta"].get("reasoning_content", "") for c in choices) == "Hm"
    assert "".join(c["delta"].get("content", "") for c in choices) == "So."
    assert choices[-1]["finish_reason"] == "tool_calls"
    assert stream.is_done
