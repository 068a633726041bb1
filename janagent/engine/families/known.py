"""Which family a chat template belongs to, told by the marks in its source.

Neighbours: the parsers beside; `prompt` renders, `tools` has the functions.
"""

from dataclasses import dataclass, replace

from janagent.engine.calls import Form, Thinking
from janagent.engine.families.channels import FUNCTIONARY, HARMONY
from janagent.engine.families.gemma import FUNCTION_GEMMA, GEMMA
from janagent.engine.families.llama import LLAMA
from janagent.engine.families.marked import COMMAND, IN_WORDS, LISTED, NEMOTRON, PHI
from janagent.engine.families.named import DEEPSEEK, KIMI, MISTRAL
from janagent.engine.families.pythonic import LIQUID, LLAMA_4, OLMO
from janagent.engine.families.tagged import HERMES, MINIMAX, SEED

_MARKS: tuple[tuple[str, Form], ...] = (
    ("<|channel|>", HARMONY),
    ("<｜tool▁calls▁begin｜>", DEEPSEEK),
    ("<|tool_calls_section_begin|>", KIMI),
    ("<minimax:tool_call>", MINIMAX),
    ("<seed:tool_call>", SEED),
    ("<|tool_call>", GEMMA),
    ("<start_function_call>", FUNCTION_GEMMA),
    ("<|tool_call_start|>", LIQUID),
    ("<|tool_list_start|>", LIQUID),
    ("<|START_ACTION|>", COMMAND),
    ("<TOOLCALL>", NEMOTRON),
    ("[TOOL_CALLS]", MISTRAL),
    ("<|tool_call|>", PHI),
    ("functools[", PHI),
    ("<tool_calls>", LISTED),
    ("<tool_call>", HERMES),
    ("<function_calls>", OLMO),
    (">>>all", FUNCTIONARY),
    ("<|python_start|>", LLAMA_4),
    ("<|python_tag|>", LLAMA),
    ("ipython", LLAMA),
    ("<function=", LLAMA),
)
"""What a template holds that shows how its model calls, the surest first."""

_THOUGHTS = (
    Thinking("<think>", "</think>"),
    Thinking("[THINK]", "[/THINK]"),
    Thinking("<seed:think>", "</seed:think>"),
    Thinking("<|START_THINKING|>", "<|END_THINKING|>"),
    Thinking("<|channel>thought\n", "<channel|>", recurs=True),
    Thinking("<|inner_prefix|>", "<|inner_suffix|>"),
    Thinking("<thought>", "</thought>"),
    Thinking("◁think▷", "◁/think▷"),
)


@dataclass(frozen=True, slots=True)
class Family:
    """How one model calls functions, and marks its thoughts."""

    form: Form = IN_WORDS
    thinking: Thinking | None = None

    @classmethod
    def of(cls, template: str, *, shows_tools: bool) -> "Family":
        """`shows_tools`: the template tells the model of its tools by itself."""
        form = next((form for mark, form in _MARKS if mark in template), IN_WORDS)
        if not shows_tools and form.channels is None:
            form = IN_WORDS  # it is told how to call in our words
        thinking = next((thinking for thinking in _THOUGHTS if thinking.closing in template), None)
        return cls(form=form, thinking=thinking)

    def thinking_after(self, prompt: str) -> Thinking | None:
        """How reasoning is marked in the answer to `prompt`."""
        if self.thinking is None:
            return None
        return replace(self.thinking, is_open=prompt.rstrip().endswith(self.thinking.opening.rstrip()))

    @property
    def marks(self) -> tuple[str, ...]:
        """Texts of which parts may be control tokens, and must be seen all the same."""
        thoughts = () if self.thinking is None else (self.thinking.opening, self.thinking.closing)
        return (*self.form.marks, *thoughts)
