"""`chat`: one answer for a prompt or a pipe, a conversation on a terminal. Talks OpenAI's chat API."""

from __future__ import annotations

import stat
import sys
from collections.abc import Generator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, Any

import typer

from janagent.caller import model_path, server_sent_events
from janagent.cli import output
from janagent.cli.client import BrokenAnswer, Client, connect
from janagent.cli.options import Config, ModelId, Root
from janagent.cli.output import Exit, Failure

HELP = "/clear forgets the conversation, /bye or Ctrl-D leaves, Ctrl-C stops an answer."

Message = dict[str, str]


def chat(
    model_id: ModelId,
    prompt: Annotated[
        str | None, typer.Argument(metavar="[PROMPT]", help="Without it: stdin, or a conversation.")
    ] = None,
    root: Root = None,
    config: Config = None,
    system: Annotated[str | None, typer.Option("--system", "-s", help="System message.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Overrides the manifest's.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer, in tokens.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answer.")] = None,
) -> None:
    """Talk to a model. The prompt may come as an argument, through a pipe, or line by line."""
    client = connect(root, config)
    model = client.get(model_path(model_id))["id"]
    options = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    body = {"model": model, "stream": True} | {
        key: value for key, value in options.items() if value is not None
    }
    start: list[Message] = [{"role": "system", "content": system}] if system else []
    text = "\n".join(part for part in (prompt, _piped()) if part)
    if text:
        answer = Answer(client, body)
        for piece in answer.pieces([*start, {"role": "user", "content": text}]):
            output.write(piece)
        print()
        answer.check()
    elif sys.stdin.isatty():
        _converse(client, body, start)
    else:
        raise Failure("there is no prompt: give one as an argument or through a pipe", Exit.USAGE)


def _piped() -> str:
    """What a pipe or a redirected file holds; empty for a terminal or /dev/null."""
    try:
        mode = stat.S_IFMT(Path(f"/dev/fd/{sys.stdin.fileno()}").stat().st_mode)
    except (OSError, ValueError, AttributeError):
        return ""
    if mode not in (stat.S_IFIFO, stat.S_IFREG, stat.S_IFSOCK):
        return ""
    return sys.stdin.buffer.read().decode("utf-8", "replace").strip("\n")


class Answer:
    """One streamed answer: its pieces as they come, then `text` and how it ended."""

    def __init__(self, client: Client, body: dict[str, Any]) -> None:
        self._client = client
        self._body = body
        self.text = ""
        self.finish_reason: str | None = None

    def pieces(self, messages: list[Message]) -> Generator[str]:
        """Ask, and yield the answer as it comes. Raises ApiError, NoDaemon, BrokenAnswer."""
        request = {**self._body, "messages": messages}
        with ExitStack() as waiting:
            if sys.stderr.isatty():
                waiting.enter_context(output.console(stderr=True).status("waiting for the model"))
            with self._client.open("POST", "/v1/chat/completions", request) as response:
                for _, chunk in server_sent_events(response):
                    if piece := self._take(chunk):
                        waiting.close()  # the spinner ends where the text begins
                        yield piece

    def _take(self, chunk: dict[str, Any]) -> str:
        if error := chunk.get("error"):
            raise BrokenAnswer(str(error.get("message", "the answer broke off")))
        for choice in chunk.get("choices", ()):
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
            piece = (choice.get("delta") or {}).get("content") or ""
            self.text += piece
            return str(piece)
        return ""

    def check(self) -> None:
        """Raise BrokenAnswer unless the answer came to its end."""
        if self.finish_reason is None:
            raise BrokenAnswer("the answer broke off before its end")
        if self.finish_reason == "length":
            output.say("the answer was cut at the longest length allowed (max_tokens or the context)")


def _converse(client: Client, body: dict[str, Any], start: list[Message]) -> None:
    """Read, answer, repeat. Ctrl-C stops an answer, never the conversation."""
    import readline  # noqa: F401  -- input() then has history and editing

    print(f"{body['model']}: {HELP}")
    history = list(start)
    while True:
        try:
            line = input(">>> ").strip()
            if line in ("/bye", "/exit", "/quit"):
                return
            if line == "/clear":
                history = list(start)
            elif line in ("/help", "/?"):
                print(HELP)
            elif line:
                _turn(client, body, history, line)
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print(f"\n{HELP}")


def _turn(client: Client, body: dict[str, Any], history: list[Message], line: str) -> None:
    """One question and its answer. A failed question leaves the history as it was; a stopped one stays."""
    answer = Answer(client, body)
    question = {"role": "user", "content": line}
    is_stopped = False
    try:
        with closing(answer.pieces([*history, question])) as pieces:
            for piece in pieces:
                output.write(piece)
        print()
        answer.check()
    except KeyboardInterrupt:
        is_stopped = True
        print("\n(stopped)")
    except Failure as failure:
        print()
        output.say(str(failure))
        return
    if answer.text or not is_stopped:
        history += [question, {"role": "assistant", "content": answer.text}]
