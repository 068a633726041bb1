"""From the messages of a chat to the prompt that the model reads, media and all.

Neighbours: `server` asks, `prompt` renders, `senses` perceives, `turns` says what a chat that has outgrown
the context is cut to.
"""

from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

from janagent.engine.faults import RequestError, context_exceeded
from janagent.engine.media import Encoded, Prompt
from janagent.engine.model import Model
from janagent.engine.parts import Marks, Medium, Mixed
from janagent.engine.prompt import ChatPrompt, PromptError
from janagent.engine.requests import ChatBody, ChatMessage
from janagent.engine.retained import alike
from janagent.engine.senses import Senses
from janagent.engine.tokenizing import mixed_prompt, tokenized
from janagent.engine.tools import Toolbox
from janagent.engine.turns import first_kept, n_system, next_turn

#: tokens that templates write around a message, and that a medium takes, about
_AROUND = 8
_MEDIUM = 256

Numbered = Sequence[tuple[int, ChatMessage]]
"""Messages with their place in the request, by which errors name them."""


class Read(NamedTuple):
    """The prompt as text and as tokens. `n_keep` tokens of it stay when the context shifts; None: it must
    not."""

    text: str
    prompt: Prompt
    n_keep: int | None = None


class Shift(Enum):
    """What becomes of a chat that has outgrown the context."""

    NONE = auto()
    """It is refused, and an answer ends where the context is full."""
    TURNS = auto()
    """Its oldest turns go, but an answer ends: the model's memory cannot drop a part of it."""
    ALL = auto()


class ChatReader:
    """Reads chats for one model."""

    def __init__(
        self, model: Model, chat_prompt: ChatPrompt, senses: Senses, *, ctx_len: int, shift: Shift
    ) -> None:
        self._model = model
        self._chat_prompt = chat_prompt
        self._senses = senses
        self._ctx_len = ctx_len
        self._shift = shift

    async def read(self, body: ChatBody, toolbox: Toolbox | None) -> Read:
        """Raises RequestError: a template that refuses, a medium that cannot be read, a chat too long."""
        messages = list(enumerate(body.messages))
        text, prompt = await self._rendered(messages, body, toolbox)
        if self._shift is not Shift.NONE:
            roles = [message.role for message in body.messages]
            begin = n_system(roles)
            first: int | None = await self._first_kept(body.messages, prompt)
            while first is not None and (first > begin or prompt.tokens.size >= self._ctx_len):
                text, prompt = await self._rendered(messages[:begin] + messages[first:], body, toolbox)
                if prompt.tokens.size < self._ctx_len:
                    break
                first = next_turn(roles, first)
        if prompt.tokens.size >= self._ctx_len:
            raise context_exceeded(prompt.tokens.size, self._ctx_len, param="messages")
        return Read(text, prompt, await self._n_keep(messages, prompt, body, toolbox))

    async def _first_kept(self, messages: Sequence[ChatMessage], prompt: Prompt) -> int:
        roles = [message.role for message in messages]
        if 2 * prompt.tokens.size <= self._ctx_len:
            return n_system(roles)
        sizes = [await self._size_of(message) for message in messages]
        return first_kept(roles, sizes, ctx_len=self._ctx_len)

    async def _size_of(self, message: ChatMessage) -> int:
        parts = message.content.parts if isinstance(message.content, Mixed) else (message.content or "",)
        extra = str(message.model_extra or "")
        texts = [part for part in (*parts, extra) if isinstance(part, str)]
        n_text = (await tokenized(self._model, "\n".join(texts), special=False)).size
        return n_text + _AROUND + _MEDIUM * sum(isinstance(part, Medium) for part in parts)

    async def _n_keep(
        self, messages: Numbered, prompt: Prompt, body: ChatBody, toolbox: Toolbox | None
    ) -> int | None:
        """What every chat with this system message begins with."""
        if self._shift is not Shift.ALL or prompt.media:
            return None
        begin = n_system([message.role for _, message in messages])
        other = (begin, ChatMessage(role="user", content="\N{REPLACEMENT CHARACTER}"))
        try:
            _, same = await self._rendered([*messages[:begin], other], body, toolbox)
        except RequestError:  # a template that wants more than one short message
            return 0
        return alike(prompt.tokens, same.tokens)

    async def _rendered(
        self, messages: Numbered, body: ChatBody, toolbox: Toolbox | None
    ) -> tuple[str, Prompt]:
        marks = Marks()
        try:
            shown = [message.for_template(marks) for _, message in messages]
            text = self._chat_prompt.render(shown, toolbox=toolbox, extra=body.template_values)
        except PromptError as error:
            raise RequestError(str(error), param="messages", code="template_error") from error
        return text, await mixed_prompt(self._model, text, marks, await self._media(messages))

    async def _media(self, messages: Numbered) -> list[tuple[bytes, Encoded]]:
        """What the messages show, in the order of their marks, each by the digest of its content."""
        return [
            await self._senses.perceive(part, param=f"messages[{index}].content[{number}]")
            for index, message in messages
            if isinstance(message.content, Mixed)
            for number, part in enumerate(message.content.parts)
            if isinstance(part, Medium)
        ]
