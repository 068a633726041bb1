"""The specification's third case, one model of several binaries, as its users meet it: real files dropped
into a real daemon's folder, and the unmodified `openai` package asking about pictures."""

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.daemons import Daemon
from tests.engine.pictures import data_url, image, picture, shown
from tests.gguf_files import write_model, write_projector

EXAMPLE = Path(__file__).parent.parent / "data" / "model-llava-v1.5-ggml.json"
ID = EXAMPLE.stem


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """As the specification has it: `llava-ggml/`, a manifest, a `.proj` and a `ggml`. Nothing is fetched."""
    folder = tmp_path_factory.mktemp("llava")
    with Daemon(folder, spare_worker="false") as daemon:
        there = daemon.models / "llava-ggml"
        there.mkdir()
        write_model(there / "ggml", name="llava", layers=2)
        write_projector(there / ".proj")
        write_model(daemon.models / "blind" / "blind.gguf")
        shutil.copyfile(EXAMPLE, there / EXAMPLE.name)
        daemon.wait_state("blind", "downloaded", "starting", "running")
        daemon.wait_state(ID, "running", "failed")
        yield daemon


@pytest.fixture
def client(llava: Daemon) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{llava.url}/v1", api_key="none", max_retries=0, timeout=120) as client:
        yield client


def ask(client: openai.OpenAI, *parts: Any, model: str = ID, **more: Any) -> Any:
    asked = {"max_tokens": 8, "temperature": 0, "logprobs": True, **more}
    return client.chat.completions.create(model=model, messages=shown(*parts), **asked)  # type: ignore[arg-type]


def likelihoods(answer: Any) -> list[float]:
    return [token.logprob for token in answer.choices[0].logprobs.content]


def test_it_is_one_model_of_two_binaries_that_sees(llava: Daemon) -> None:
    model = llava.model(ID)
    assert model is not None
    assert model["state"] == "running", model.get("error")
    roles = [(Path(binary["path"]).name, binary["role"]) for binary in model["binaries"]]
    assert roles == [("ggml", "model"), (".proj", "projector")]
    assert model["input_modalities"] == ["text", "image"]
    assert "vision" in model["capabilities"]


def test_openai_asks_about_pictures(client: openai.OpenAI) -> None:
    one, other = (ask(client, "What is on this picture?", picture(seed)) for seed in (1, 2))
    assert one.choices[0].message.content != ""
    assert likelihoods(one) != pytest.approx(likelihoods(other), abs=1e-3)
    again = ask(client, "What is on this picture?", picture(1))
    assert likelihoods(again) == pytest.approx(likelihoods(one), abs=1e-3)
    assert again.usage.prompt_tokens_details.cached_tokens > 0
    pictures = picture(1), picture(2, form="JPEG"), picture(3, form="WEBP")
    several = ask(client, "What is on this picture?", *pictures)
    assert several.usage.prompt_tokens == one.usage.prompt_tokens + 2 * 16


def test_an_answer_about_a_picture_streams(client: openai.OpenAI) -> None:
    with ask(client, "What is it?", picture(1), stream=True) as stream:
        chunks = list(stream)
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")


def test_an_azure_client_asks_too(llava: Daemon) -> None:
    with openai.AzureOpenAI(
        azure_endpoint=llava.url, api_key="none", api_version="2024-02-01", max_retries=0, timeout=120
    ) as client:
        assert ask(client, "What is it?", picture(1)).usage.prompt_tokens > 16


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (b"no picture at all", "no picture"),
        (picture(1)[:200], "cannot be decoded"),
        (image("data:image/png;base64,&&&"), "base64"),
        (image("https://example.com/cat.png"), "picture_urls"),
        ({"type": "video_url", "video_url": {"url": "x"}}, "not video_url"),
    ],
)
def test_a_bad_picture_is_a_bad_request_and_nothing_else(
    client: openai.OpenAI, llava: Daemon, part: Any, words: str
) -> None:
    before = {process.pid for process in llava.engines()}
    with pytest.raises(openai.BadRequestError, match=words) as caught:
        ask(client, "What is it?", part)
    assert (caught.value.param or "").startswith("messages[0].content")
    assert ask(client, "And this?", picture(1))
    assert before <= {process.pid for process in llava.engines()}, "no engine died of it"


def test_a_model_without_a_projector_says_why_it_sees_nothing(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"no projector \(mmproj\) beside it"):
        ask(client, "What is it?", picture(1), model="blind")


class Album(BaseHTTPRequestHandler):
    """Serves one picture."""

    def do_GET(self) -> None:
        data = picture(7)
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def album() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Album)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/cat.png"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("is_private_fine", [True, False])
def test_addresses_are_fetched_as_the_settings_have_it(
    tmp_path: Path, album: str, *, is_private_fine: bool
) -> None:
    settings = {"picture_urls": "true", "picture_urls_private": str(is_private_fine).lower()}
    with Daemon(tmp_path, spare_worker="false", **settings) as daemon:
        # Before the model, which is complete without it.
        write_projector(daemon.models / "tiny" / "mmproj.gguf")
        write_model(daemon.models / "tiny" / "tiny.gguf")
        daemon.wait_state("tiny", "downloaded", "running")
        with openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="none", max_retries=0) as client:
            if is_private_fine:
                fetched = ask(client, "What is it?", image(album), model="tiny")
                given = ask(client, "What is it?", image(data_url(picture(7))), model="tiny")
                assert likelihoods(fetched) == pytest.approx(likelihoods(given), abs=1e-3)
            else:
                with pytest.raises(openai.BadRequestError, match="picture_urls_private"):
                    ask(client, "What is it?", image(album), model="tiny")
