"""From chat messages to the one text the model reads: its Jinja template, or the manifest's prompt pieces.

Templates come with models, that is from strangers, so they run in Jinja's immutable sandbox. Must not know
tokens.
"""

import datetime
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from janagent.engine.families.known import Family
from janagent.engine.history import Abilities, Message, fitted, in_plain_words, tidied, without_system
from janagent.engine.tools import Toolbox, in_words, with_words

#: What llama.cpp falls back to when a GGUF brings no template.
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


#: stands for a message's text when a template is asked how it wants it
_PROBE = "the text of a message"
#: what Hugging Face sets where a request has none; other templates take a name that is set for a list
_UNSET = {"tools": None, "documents": None}


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

    def __init__(self, template: jinja2.Template, *, source: str, bos: str, eos: str) -> None:
        self.source = source
        self._template = template
        self._tokens = {"bos_token": bos, "eos_token": eos}

    @functools.cached_property
    def _way(self) -> tuple[Mapping[str, Any], bool]:
        """What is passed for values that are not set, and whether contents have to be lists of parts."""
        for unset, wants_parts in ((_UNSET, False), (_UNSET, True), ({}, False), ({}, True)):
            if self._shows(unset, wants_parts):
                return unset, wants_parts
        return _UNSET, False

    def _shows(self, unset: Mapping[str, Any], wants_parts: bool) -> bool:
        """Whether the text of a message that is given so is in the prompt."""
        content = [{"type": "text", "text": _PROBE}] if wants_parts else _PROBE
        try:
            return _PROBE in self._render([{"role": "user", "content": content}], unset)
        except PromptError:
            return False

    def render(self, messages: Sequence[Message], *, extra: Mapping[str, Any] | None = None) -> str:
        """The prompt, ready for the assistant's turn. Raises PromptError with the template's own words.

        Contents are strings; a template that only takes lists of parts gets them as such.
        """
        unset, wants_parts = self._way
        if wants_parts:
            messages = [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in messages]
        return self._render(messages, {**unset, **(extra or {})})

    def _render(self, messages: Sequence[Message], values: Mapping[str, Any]) -> str:
        values = {"messages": messages, **self._tokens, "add_generation_prompt": True, **values}
        try:
            return self._template.render(values)
        except jinja2.TemplateError as error:
            raise PromptError(error.message or "the chat template refused the messages") from error
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError) as error:
            raise PromptError(f"the chat template failed: {error}") from error
        except (RecursionError, MemoryError, ZeroDivisionError) as error:
            raise PromptError(f"the chat template failed: {type(error).__name__}") from error

    @functools.cached_property
    def abilities(self) -> Abilities:
        """What it can show; found out when it is first needed."""

        def render(messages: Sequence[Message], tools: Sequence[Any] | None) -> str | None:
            try:
                return self.render(messages, extra={} if tools is None else {"tools": tools})
            except PromptError:
                return None

        return Abilities.of(render)


class _Generation(Extension):
    """Hugging Face's `{% generation %}`, which marks words for training: shown as they are."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja has it

    def parse(self, parser: Parser) -> list[Node]:
        """What stands up to `{% endgeneration %}`."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def compile_template(source: str, *, bos: str, eos: str) -> Template:
    """Compile a template the way Hugging Face templates expect. Raises PromptError naming the line."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    try:
        return Template(environment.from_string(source), source=source, bos=bos, eos=eos)
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

    @functools.cached_property
    def family(self) -> Family:
        """How this model calls functions and marks its thoughts."""
        if self.template is None:
            return Family()
        return Family.of(self.template.source, shows_tools=self.template.abilities.tools)

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
        told = tidied(messages)
        if self.pieces is not None:
            return self.pieces.render(_with_tools(in_plain_words(told), toolbox))
        if self.template is None:
            raise PromptError(self.fault)
        able, source = self.template.abilities, self.template.source
        if "developer" not in source:
            told = [{**m, "role": "system"} if m["role"] == "developer" else m for m in told]
        told = fitted(told, able) if able.calls else in_plain_words(told)
        if self.system and not any(m["role"] in ("system", "developer") for m in told):
            told = [{"role": "system", "content": self.system}, *told]
        if toolbox is not None and able.tools:
            extra = {**(extra or {}), "tools": list(toolbox.tools)}
        else:
            told = _with_tools(told, toolbox)
        if not able.system:
            told = without_system(told)
        return self.template.render(told, extra=extra)


def _with_tools(messages: list[Message], toolbox: Toolbox | None) -> list[Message]:
    return messages if toolbox is None else with_words(messages, in_words(toolbox))


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
    return ChatPrompt(template=compiled, system=pre_prompt or "")
