"""Fixtures: a real worker for the whole run, and the real model in this process for what is below HTTP."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from janagent.engine.context import Context, ContextOptions, open_context
from janagent.engine.llama_log import EngineLog
from janagent.engine.model import Model, load_model
from tests.engine.engines import Client, Engine, client_of
from tests.gguf_files import CHATML, write_model

CTX_LEN = 512
N_PARALLEL = 4
QUEUE_LIMIT = 6


@pytest.fixture(scope="session")
def engine(starter: Path) -> Iterator[Engine]:
    """A worker with the real starter model.

    One thread: two wait for each other at every layer, which takes long while other tests use the cores.
    """
    with Engine() as engine:
        yield engine.start(
            starter,
            ctx_len=CTX_LEN,
            n_parallel=N_PARALLEL,
            queue_limit=QUEUE_LIMIT,
            reader_stall_s=1.0,
            n_threads=1,
        )


@pytest.fixture
async def client(engine: Engine) -> AsyncIterator[Client]:
    """A client of the worker."""
    async with client_of(engine) as client:
        yield client


@pytest.fixture(scope="session")
def engine_log() -> EngineLog:
    """llama.cpp's log in this process."""
    log = EngineLog()
    log.install()
    return log


@pytest.fixture(scope="session")
def model(starter: Path, engine_log: EngineLog) -> Model:
    """The starter model in this process."""
    return load_model(str(starter), n_gpu_layers=0, on_progress=lambda _fraction: None)


@pytest.fixture(scope="session")
def context(model: Model) -> Context:
    """A context of one thread, so that it gets on with whatever else this machine does."""
    return open_context(model, ContextOptions(n_ctx=512, n_batch=64, n_seq_max=2, n_threads=1))


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights that loads in no time and answers noise."""
    return write_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf", chat_template=CHATML)
