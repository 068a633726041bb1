"""Chat prompts: templates in their sandbox, and the manifest's prompt pieces."""

import datetime

import pytest

from janagent.engine.families.tagged import HERMES
from janagent.engine.prompt import ChatPrompt, Pieces, PromptError, compile_template, make_chat_prompt
from janagent.engine.tools import toolbox_of
from tests.engine import templates

HELLO = [{"role": "user", "content": "Hello"}]
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": "Bye"},
]


def rendered(source: str, messages: list[dict[str, str]] = HELLO, **extra: object) -> str:
    return compile_template(source, bos="<s>", eos="</s>").render(messages, extra=extra)


def prompt_with(template: str | None = None, **pieces: str) -> ChatPrompt:
    given = {"pre_prompt": None, "user_prompt": None, "ai_prompt": None} | pieces
    return make_chat_prompt(**given, template=template, bos="<s>", eos="</s>")


def test_a_template_gets_messages_special_tokens_and_the_generation_prompt():
    source = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}{% endfor %}"
    source += "{% if add_generation_prompt %}[assistant]{% endif %}"
    assert rendered(source) == "<s>[user] Hello</s>[assistant]"


def test_a_template_has_the_helpers_that_templates_use():
    assert rendered("{{ {'a': '<é>'} | tojson }}") == '{"a": "<é>"}'
    assert rendered("{{ [1] | tojson(indent=1) }}") == "[\n 1\n]"
    assert rendered("{{ strftime_now('%Y') }}") == str(datetime.datetime.now().astimezone().year)
    assert rendered("{% for i in range(3) %}{% if i == 1 %}{% break %}{% endif %}{{ i }}{% endfor %}") == "0"
    assert rendered("{% if tools is none %}none{% endif %}") == "none"


def test_blocks_leave_no_empty_lines_behind():
    assert rendered("{% if true %}\n  {% if true %}\nx\n  {% endif %}\n{% endif %}\n") == "x\n"


def test_a_request_may_pass_values_to_the_template():
    assert rendered("{% if enable_thinking is false %}quick{% endif %}", enable_thinking=False) == "quick"


LISTS = (
    "{% for m in messages %}{% for part in m.content %}"
    "{{ part.type }}={{ part.text }};{% endfor %}{% endfor %}"
)
BOTH = (
    "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for part in m.content %}{{ part.text }}{% endfor %}{% endif %}{% endfor %}"
)


def test_a_template_that_only_takes_lists_of_parts_gets_them():
    assert rendered(LISTS, TALK[:2]) == "text=Be brief.;text=Hi;"
    assert rendered(BOTH) == "Hello"
    assert rendered("{{ messages[0].content }}") == "Hello"


def test_a_template_that_raises_gives_its_own_words():
    with pytest.raises(PromptError, match=r"^roles must alternate$"):
        rendered("{{ raise_exception('roles must alternate') }}")


def test_a_broken_template_names_its_line():
    with pytest.raises(PromptError, match="line 2"):
        rendered("{% for m in messages %}\n{{ m. }}{% endfor %}")


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'x'}) }}",
        "{{ lipsum.__globals__['os'].popen('id') }}",
        "{{ missing.attribute }}",
        "{{ range(100000000) | list }}",
        "{{ 1 / 0 }}",
        "{{ messages[0].content + 1 }}",
        "{{ messages[9]['role']['x'] }}",
    ],
)
def test_a_hostile_or_faulty_template_is_an_error_and_nothing_else(source: str):
    with pytest.raises(PromptError):
        rendered(source)


def test_pieces_make_turns_joined_by_one_newline_where_needed():
    pieces = Pieces(pre_prompt="A chat.", user_prompt="USER: ", ai_prompt="ASSISTANT: ")
    assert pieces.render(HELLO) == "A chat.\nUSER: Hello\nASSISTANT: "
    assert pieces.render(TALK) == "Be brief.\nUSER: Hi\nASSISTANT: Hello!\nUSER: Bye\nASSISTANT: "


def test_a_piece_that_ends_in_whitespace_gets_no_newline():
    pieces = Pieces(pre_prompt="Chat.\n\n", user_prompt="Q:", ai_prompt="A:")
    assert pieces.render([{"role": "user", "content": "why "}]) == "Chat.\n\nQ:why A:"


def test_pieces_without_a_beginning_start_with_the_first_turn():
    assert Pieces(user_prompt="Q:", ai_prompt="A:").render(HELLO) == "Q:Hello\nA:"


def test_pieces_have_no_place_for_tools():
    with pytest.raises(PromptError, match="tool"):
        Pieces(user_prompt="Q:").render([{"role": "tool", "content": "42"}])


def test_pieces_win_over_the_template_and_bring_their_stop_string():
    prompt = prompt_with("template", user_prompt="USER: ", ai_prompt="AI: ")
    assert prompt.stops == ("USER: ",)
    assert prompt.render(HELLO) == "USER: Hello\nAI: "


def test_a_pre_prompt_alone_is_the_default_system_message_of_the_template():
    prompt = prompt_with(
        "{% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}", pre_prompt="Be kind."
    )
    assert prompt.render(HELLO) == "system=Be kind.;user=Hello;"
    assert prompt.render(TALK).startswith("system=Be brief.;user=Hi;")
    assert prompt.stops == ()


def test_a_model_without_a_template_is_talked_to_in_chatml():
    assert prompt_with().render(HELLO) == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"


def test_a_broken_template_is_told_at_the_first_request():
    prompt = prompt_with("{% if %}")
    assert "broken" in prompt.fault
    with pytest.raises(PromptError, match="broken"):
        prompt.render(HELLO)


def test_words_marked_for_training_are_shown():
    source = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %};{% endfor %}"
    assert rendered(source) == "Hello;"
    with pytest.raises(PromptError, match="broken"):
        rendered("{% generation %}no end")


def test_who_is_a_developer_is_the_system_to_a_template_that_knows_none():
    talk = [{"role": "developer", "content": "Be brief."}, *HELLO]
    shown = "{% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}"
    assert prompt_with(shown).render(talk) == "system=Be brief.;user=Hello;"
    knowing = shown + "{# developer #}"
    assert prompt_with(knowing).render(talk) == "developer=Be brief.;user=Hello;"


def test_a_template_without_a_system_message_gets_it_in_the_user_s_words():
    prompt = prompt_with(templates.GEMMA_2)
    assert "user\nBe brief.\n\nHi<end_of_turn>" in prompt.render(TALK)
    assert "user\nBe kind.\n\nHello" in prompt_with(templates.GEMMA_2, pre_prompt="Be kind.").render(HELLO)
    assert "user\nBe brief.<end_of_turn>" in prompt.render(TALK[:1])


@pytest.mark.parametrize("pieces", [{}, {"user_prompt": "USER: ", "ai_prompt": "AI: "}])
def test_a_model_whose_template_knows_no_tools_gets_them_in_words(pieces: dict[str, str]):
    clock = {"type": "function", "function": {"name": "clock"}}
    weather = {"type": "function", "function": {"name": "weather", "description": "Outside"}}
    call = {"id": "1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    messages = [
        *TALK[:2],
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "12:30"},
    ]
    text = prompt_with(**pieces).render(messages, toolbox=toolbox_of([weather, clock], None))
    assert "Be brief." in text
    assert '"name": "weather"' in text
    assert text.index("weather") < text.index('"arguments": {}') < text.index("12:30")


def test_a_template_shows_tools_only_when_there_are_some():
    clock = {"type": "function", "function": {"name": "clock", "description": "The time"}}
    prompt = prompt_with(templates.QWEN)
    assert "<tools>" in prompt.render(HELLO, toolbox=toolbox_of([clock], None))
    assert "<tools>" not in prompt.render(HELLO)
    assert prompt.family.form is HERMES


def test_a_template_that_takes_tools_for_a_list_wherever_they_are_set_gets_none():
    source = "{% if tools is defined %}{% for t in tools %}[{{ t.function.name }}]{% endfor %}{% endif %}"
    source += "{% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}"
    prompt = prompt_with(source)
    assert prompt.render(HELLO) == "user=Hello;"
    clock = {"type": "function", "function": {"name": "clock"}}
    assert prompt.render(HELLO, toolbox=toolbox_of([clock], None)) == "[clock]user=Hello;"
