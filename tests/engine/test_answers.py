"""OpenAI's answer shapes."""

import json
from typing import Any

from janagent.engine.answers import Choice, ChunkWriter, Envelope, Usage, error_event, whole
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
