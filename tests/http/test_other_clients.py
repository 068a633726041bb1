"""Programs that people put in front of OpenAI's API, unmodified, against a real daemon and a real model."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import pytest
import yaml
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from tests.daemons import Daemon

MODEL = "smol"
QUESTION = "Name a colour."


class Weather(pydantic.BaseModel):
    """The weather somewhere."""

    city: Literal["Bern", "Oslo"]
    days: int = pydantic.Field(ge=1, le=9)


@tool
def forecast(city: Literal["Bern", "Oslo"], days: Annotated[int, pydantic.Field(ge=1, le=9)]) -> str:
    """How the weather will be."""
    return f"{days} days of rain in {city}"


@pytest.fixture
def chat(daemon: Daemon) -> ChatOpenAI:
    return ChatOpenAI(
        base_url=f"{daemon.url}/v1",
        api_key="none",
        model=MODEL,
        temperature=0,
        max_tokens=200,
        max_retries=0,
        timeout=120,
    )


def test_langchain_chats(chat: ChatOpenAI) -> None:
    answer = chat.invoke([("system", "You are brief."), ("user", QUESTION)], max_tokens=12)
    assert answer.content
    assert answer.response_metadata["model_name"] == MODEL
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["input_tokens"] > 5


def test_langchain_streams_the_same(chat: ChatOpenAI) -> None:
    pieces = list(chat.stream(QUESTION, seed=1, max_tokens=12))
    assert len([piece for piece in pieces if piece.content]) > 1
    whole = chat.invoke(QUESTION, seed=1, max_tokens=12)
    assert "".join(str(piece.content) for piece in pieces) == whole.content


@pytest.mark.parametrize("choice", ["forecast", "any"])
def test_langchain_has_a_tool_called_and_hands_back_its_result(chat: ChatOpenAI, choice: str) -> None:
    bound = chat.bind_tools([forecast], tool_choice=choice, parallel_tool_calls=False)
    asked = HumanMessage("Will it rain in Oslo?")
    answer = bound.invoke([asked])
    assert isinstance(answer, AIMessage)
    (call,) = answer.tool_calls
    result = forecast.invoke(call)
    assert isinstance(result, ToolMessage)
    assert " days of rain in " in str(result.content)
    told = chat.bind_tools([forecast], tool_choice="none").invoke([asked, answer, result], max_tokens=12)
    assert told.content
    assert not told.tool_calls


def test_langchain_streams_the_arguments_of_a_tool(chat: ChatOpenAI) -> None:
    bound = chat.bind_tools([forecast], tool_choice="forecast", parallel_tool_calls=False)
    added: Any = None
    pieces = 0
    for piece in bound.stream("Will it rain in Oslo?"):
        pieces += bool(getattr(piece, "tool_call_chunks", None))
        added = piece if added is None else added + piece
    assert pieces > 1
    (call,) = added.tool_calls
    assert set(call["args"]) == {"city", "days"}


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_langchain_gets_structured_output(chat: ChatOpenAI, method: Any) -> None:
    answer = chat.with_structured_output(Weather, method=method).invoke("Will it rain in Oslo?")
    assert isinstance(answer, Weather)


def test_langchain_embeds(daemon: Daemon) -> None:
    embeddings = OpenAIEmbeddings(
        base_url=f"{daemon.url}/v1",
        api_key="none",
        model=MODEL,
        # Else it sends the tokens of OpenAI's own models, after it has fetched their vocabulary.
        check_embedding_ctx_length=False,
        max_retries=0,
    )
    cat, dog = embeddings.embed_documents(["a cat", "a dog"])
    assert len(cat) == len(dog) == len(embeddings.embed_query("a cat"))
    assert sum(x * x for x in cat) == pytest.approx(1, rel=1e-3)


@pytest.fixture
def llm_home(daemon: Daemon, tmp_path: Path) -> Path:
    """A user folder of `llm` that knows the daemon, by the file that its manual describes."""
    said = {
        "model_id": "local",
        "model_name": MODEL,
        "api_base": f"{daemon.url}/v1",
        "supports_schema": True,
        "supports_tools": True,
    }
    (tmp_path / "extra-openai-models.yaml").write_text(yaml.safe_dump([said]))
    return tmp_path


def run_llm(home: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "llm", *arguments],
        env={**os.environ, "LLM_USER_PATH": str(home), "LLM_LOAD_PLUGINS": ""},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("more", [(), ("--no-stream",)])
def test_llm_chats(llm_home: Path, more: tuple[str, ...]) -> None:
    options = ("-o", "temperature", "0", "-o", "max_tokens", "20", "-s", "You are brief.")
    assert run_llm(llm_home, "-m", "local", *options, *more, QUESTION).strip()
    logged = json.loads(run_llm(llm_home, "logs", "--json"))
    assert logged[0]["model"] == "local"
    assert logged[0]["input_tokens"] > 5


def test_llm_goes_on_with_a_conversation(llm_home: Path) -> None:
    options = ("-m", "local", "-o", "max_tokens", "20")
    run_llm(llm_home, *options, QUESTION)
    assert run_llm(llm_home, *options, "-c", "And another one.").strip()


def test_llm_gets_what_fits_a_schema(llm_home: Path) -> None:
    schema = json.dumps(Weather.model_json_schema())
    answer = run_llm(
        llm_home, "-m", "local", "-o", "max_tokens", "60", "--schema", schema, "Will it rain in Oslo?"
    )
    Weather.model_validate_json(answer)


def test_llm_offers_its_tools(llm_home: Path) -> None:
    functions = "def lucky_number() -> int:\n    'A number.'\n    return 7\n"
    options = ("-o", "max_tokens", "60", "--functions", functions, "--chain-limit", "3")
    run_llm(llm_home, "-m", "local", *options, "Which is my lucky number?")
    logged = json.loads(run_llm(llm_home, "logs", "--json"))
    assert logged[-1]["tools"][0]["name"] == "lucky_number"
