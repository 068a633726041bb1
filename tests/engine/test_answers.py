"""OpenAI's answer shapes."""

import json
from typing import Any

import pytest

from janagent.engine.answers import Choice, ChunkWriter, Envelope, Usage, error_event, whole
from janagent.engine.calls import Arguments, Call, Piece, Thinking, Words
from janagent.engine.families.llama import LLAMA
from janagent.engine.reader import AnswerReader
from janagent.engine.sampling import TokenChances
from janagent.engine.work import Finish, TokenReport

PIECES = {1: b"Hi", 2: b" \xf0\x9f", 3: b"!"}
USAGE = Usage(prompt=5, completion=2, cached=3)
REPORTS = [
    TokenReport(TokenChances(token=1, logprob=-0.5, top=((1, -0.5), (3, -1.5))), at_char=0),
    TokenReport(TokenChances(token=2, logprob=-2.0, top=((3, -0.1), (2, -2.0))), at_char=2),
]


def piece_of(token: int) -> bytes:
    return PIECES[token]


def envelope(*, is_chat: bool = True) -> Envelope:
    return Envelope.new(model="m", is_chat=is_chat, fingerprint="fp")


def decoded(data: bytes) -> list[dict[str, Any]]:
    events = data.decode().split("\n\n")
    assert events[-1] == ""
    return [json.loads(event.removeprefix("data: ")) for event in events[:-1]]


def writer(*, is_chat: bool = True, with_usage: bool = False) -> ChunkWriter:
    return ChunkWriter(envelope(is_chat=is_chat), n_choices=2, with_usage=with_usage, piece_of=piece_of)


def test_a_whole_chat_answer_has_openais_fields():
    choice = Choice(texts=["He", "llo"], finish=Finish.STOP)
    body = whole(envelope(), [choice], usage=USAGE, piece_of=piece_of, with_logprobs=False)
    assert body["id"].startswith("chatcmpl-")
    assert body["object"] == "chat.completion"
    assert body["model"] == "m"
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert body["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 2,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 3},
    }


def test_a_whole_text_completion_may_echo_its_prompt():
    choices = [Choice(texts=[" b"], finish=Finish.LENGTH), Choice(texts=[" d"], finish=Finish.STOP)]
    body = whole(
        envelope(is_chat=False),
        choices,
        usage=USAGE,
        piece_of=piece_of,
        with_logprobs=False,
        echoed=["a", "c"],
    )
    assert (body["object"], body["id"][:5]) == ("text_completion", "cmpl-")
    assert [choice["text"] for choice in body["choices"]] == ["a b", "c d"]


def test_the_events_of_a_chat_are_role_text_and_end():
    chunks = writer()
    role, text, end = decoded(chunks.role(1) + chunks.text(1, 'é"\n') + chunks.end(1, Finish.STOP))
    assert role["choices"] == [
        {"index": 1, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
    ]
    assert text["choices"] == [
        {"index": 1, "delta": {"content": 'é"\n'}, "logprobs": None, "finish_reason": None}
    ]
    assert end["choices"] == [{"index": 1, "delta": {}, "logprobs": None, "finish_reason": "stop"}]
    assert {event["object"] for event in (role, text, end)} == {"chat.completion.chunk"}
    assert len({event["id"] for event in (role, text, end)}) == 1
    assert "usage" not in text


def test_the_events_of_a_text_completion_have_no_role():
    chunks = writer(is_chat=False)
    assert chunks.role(0) == b""
    text, end = decoded(chunks.text(0, "x") + chunks.end(0, Finish.LENGTH))
    assert text["choices"] == [{"index": 0, "text": "x", "logprobs": None, "finish_reason": None}]
    assert end["choices"] == [{"index": 0, "text": "", "logprobs": None, "finish_reason": "length"}]


def test_usage_is_null_until_the_event_that_has_it():
    chunks = writer(with_usage=True)
    role, text, end = decoded(chunks.role(0) + chunks.text(0, "x", REPORTS) + chunks.end(0, Finish.STOP))
    assert [event["usage"] for event in (role, text, end)] == [None, None, None]
    (last,) = decoded(chunks.usage(USAGE))
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 7


def test_the_log_probabilities_of_a_chat_name_tokens_and_bytes():
    (event,) = decoded(writer().text(0, "Hi", REPORTS))
    first, second = event["choices"][0]["logprobs"]["content"]
    assert first["token"] == "Hi"
    assert first["bytes"] == [72, 105]
    assert first["logprob"] == -0.5
    assert [top["token"] for top in first["top_logprobs"]] == ["Hi", "!"]
    assert second["bytes"] == [32, 0xF0, 0x9F]


def test_the_log_probabilities_of_a_text_completion_are_parallel_lists():
    choice = Choice(texts=["Hi"], reports=REPORTS, finish=Finish.STOP)
    body = whole(
        envelope(is_chat=False), [choice], usage=USAGE, piece_of=piece_of, with_logprobs=True, echoed=["abc"]
    )
    logprobs = body["choices"][0]["logprobs"]
    assert logprobs["tokens"][0] == "Hi"
    assert logprobs["token_logprobs"] == [-0.5, -2.0]
    assert logprobs["top_logprobs"][0] == {"Hi": -0.5, "!": -1.5}
    assert logprobs["text_offset"] == [3, 5]


def test_an_error_event_holds_the_error_object():
    assert decoded(error_event({"error": {"message": "é"}})) == [{"error": {"message": "é"}}]


def test_the_events_of_a_call_are_its_head_and_then_its_arguments():
    chunks = writer()
    begun = Call(0, "call_1", "clock")
    head, more = decoded(chunks.piece(1, begun) + chunks.piece(1, Arguments(0, '{"é": 1}')))
    assert head["choices"][0]["delta"] == {
        "tool_calls": [
            {
                "index": 0,
                "id": "call_1",
                "type": "function",
                "function": {"name": "clock", "arguments": ""},
            }
        ]
    }
    assert more["choices"][0]["delta"] == {
        "tool_calls": [{"index": 0, "function": {"arguments": '{"é": 1}'}}]
    }
    assert (more["choices"][0]["index"], more["choices"][0]["finish_reason"]) == (1, None)


@pytest.mark.parametrize(
    "piece", [Words("x"), Words("x", is_thought=True), Call(0, "a", "b"), Arguments(0, "{")]
)
def test_the_log_probabilities_of_any_piece_go_along(piece: Piece):
    (event,) = decoded(writer().piece(0, piece, REPORTS))
    assert event["choices"][0]["logprobs"]["content"][0]["token"] == "Hi"
    (end,) = decoded(writer().end(0, Finish.STOP, REPORTS))
    assert len(end["choices"][0]["logprobs"]["content"]) == 2


def test_a_whole_answer_says_thoughts_words_and_calls_apart():
    call = '{"name": "clock", "arguments": {}}'
    choice = Choice(texts=["<think>Hm", f".</think>So:\n{call}"], finish=Finish.STOP)
    choice.read(AnswerReader(form=LLAMA, thinking=Thinking(), tools={"clock": {}}))
    body = whole(envelope(), [choice], usage=USAGE, piece_of=piece_of, with_logprobs=False)
    (shown,) = body["choices"]
    assert shown["finish_reason"] == "tool_calls"
    assert shown["message"]["content"] == "So:"
    assert shown["message"]["reasoning_content"] == "Hm."
    (made,) = shown["message"]["tool_calls"]
    assert made["function"] == {"name": "clock", "arguments": "{}"}


def test_a_call_that_was_cut_off_keeps_its_reason():
    choice = Choice(texts=['{"name": "clock", "arguments": {"a": 1'], finish=Finish.LENGTH)
    choice.read(AnswerReader(form=LLAMA, tools={"clock": {}}))
    assert choice.finish is Finish.LENGTH
    assert choice.said["tool_calls"][0]["function"]["arguments"] == '{"a": 1'
    assert choice.said["content"] is None
