"""From chat messages to the one text the model reads: its Jinja template, or the manifest's prompt pieces.

Templates come with models, that is from strangers, so they run in Jinja's immutable sandbox. Must not know
tokens.
"""

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from janagent.engine.tools import (
    Family,
    Message,
    Toolbox,
    in_words,
    parsed_history,
    plain_history,
    with_words,
)

#: What llama.cpp falls back to when a GGUF brings no template.
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


#: stands for a message's text when a template is asked how it wants it
_PROBE = "the text of a message"


class PromptError(Exception):
    """The messages cannot be rendered.

    The message says why, in the template's own words where it has some.
    """


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """The prompt pieces of a manifest; empty where not set."""

    pre_prompt: str = ""
    user_prompt: str = ""
    ai_prompt: str = ""

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt as contract section 2 puts it together, ending in `ai_prompt`."""
        parts = []
        systems = [m["content"] for m in messages if m["role"] in ("system", "developer")]
        if systems or self.pre_prompt:
            parts.append(systems.pop(0) if systems else self.pre_prompt)
        seen_system = False
        for message in messages:
            match message["role"]:
                case "system" | "developer":
                    if seen_system:
                        parts.append(message["content"])
                    seen_system = True
                case "user":
                    parts.append(self.user_prompt + message["content"])
                case "assistant":
                    parts.append(self.ai_prompt + message["content"])
                case role:
                    raise PromptError(
                        f"this model's prompt pieces have no place for a message of role {role!r}"
                    )
        parts.append(self.ai_prompt)
        return "".join(_ended(part) for part in parts[:-1]) + parts[-1]


def _ended(piece: str) -> str:
    return piece if not piece or piece[-1].isspace() else piece + "\n"


class Template:
    """A compiled chat template. Make one with `compile_template`."""

    def __init__(self, template: jinja2.Template, *, bos: str, eos: str) -> None:
        self._template = template
        self._tokens = {"bos_token": bos, "eos_token": eos}
        self._wants_parts = not self._shows(_PROBE) and self._shows([{"type": "text", "text": _PROBE}])

    def _shows(self, content: Any) -> bool:
        """Whether the text of a message written so is in the prompt."""
        try:
            return _PROBE in self._render([{"role": "user", "content": content}], None)
        except PromptError:
            return False

    def render(self, messages: Sequence[Message], *, extra: Mapping[str, Any] | None = None) -> str:
        """The prompt, ready for the assistant's turn. Raises PromptError with the template's own words.

        Contents are strings; a template that only takes lists of parts gets them as such.
        """
        if self._wants_parts:
            messages = [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in messages]
        return self._render(messages, extra)

    def _render(self, messages: Sequence[Message], extra: Mapping[str, Any] | None) -> str:
        values: dict[str, Any] = {
            "messages": messages,
            "tools": None,
            "documents": None,
            **self._tokens,
            "add_generation_prompt": True,
            **(extra or {}),
        }
        try:
            return self._template.render(values)
        except jinja2.TemplateError as error:
            raise PromptError(error.message or "the chat template refused the messages") from error
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError) as error:
            raise PromptError(f"the chat template failed: {error}") from error
        except (RecursionError, MemoryError, ZeroDivisionError) as error:
            raise PromptError(f"the chat template failed: {type(error).__name__}") from error


def compile_template(source: str, *, bos: str, eos: str) -> Template:
    """Compile a template the way Hugging Face templates expect. Raises PromptError naming the line."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    try:
        return Template(environment.from_string(source), bos=bos, eos=eos)
    except jinja2.TemplateSyntaxError as error:
        raise PromptError(f"the chat template is broken at line {error.lineno}: {error.message}") from error


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes <, > and & for HTML, which would change the prompt.
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> str:
    raise jinja2.TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.datetime.now().astimezone().strftime(pattern)


@dataclass(frozen=True, kw_only=True)
class ChatPrompt:
    """How this model is talked to: by pieces when the manifest sets them, else by its template.

    `fault` is why the template cannot be used; every chat request then gets it as its error.
    """

    pieces: Pieces | None = None
    template: Template | None = None
    system: str = ""
    fault: str = ""
    family: Family = field(default_factory=Family)

    @property
    def stops(self) -> tuple[str, ...]:
        """Stop strings that come with the way of prompting."""
        return (self.pieces.user_prompt,) if self.pieces and self.pieces.user_prompt else ()

    def render(
        self,
        messages: Sequence[Message],
        *,
        toolbox: Toolbox | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt for `messages`, whose contents are plain strings. Raises PromptError."""
        if self.pieces is None and self.family.has_tools:
            messages = parsed_history(messages)
            if toolbox is not None:
                extra = {**(extra or {}), "tools": list(toolbox.tools)}
        else:
            messages = plain_history(messages)
            if toolbox is not None:
                messages = with_words(messages, in_words(toolbox))
        if self.pieces is not None:
            return self.pieces.render(messages)
        if self.template is None:
            raise PromptError(self.fault)
        if self.system and not any(m["role"] in ("system", "developer") for m in messages):
            messages = [{"role": "system", "content": self.system}, *messages]
        return self.template.render(messages, extra=extra)


def make_chat_prompt(
    *,
    pre_prompt: str | None,
    user_prompt: str | None,
    ai_prompt: str | None,
    template: str | None,
    bos: str,
    eos: str,
) -> ChatPrompt:
    """Choose the way of prompting.

    `pre_prompt` alone is the default system message of the model's template.
    """
    if user_prompt or ai_prompt:
        pieces = Pieces(pre_prompt=pre_prompt or "", user_prompt=user_prompt or "", ai_prompt=ai_prompt or "")
        return ChatPrompt(pieces=pieces)
    try:
        compiled = compile_template(template or CHATML, bos=bos, eos=eos)
    except PromptError as error:
        return ChatPrompt(fault=str(error))
    return ChatPrompt(template=compiled, system=pre_prompt or "", family=Family.of(template or CHATML))
