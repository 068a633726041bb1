"""Fixtures that every folder of tests may use."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import uvloop
from hypothesis import HealthCheck, settings

from tests.daemons import Daemon, starter_gguf

# A moment in which the machine does something else is no slow example.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests run on the loop that the program runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def starter() -> Path:
    """The real starter model's GGUF."""
    return starter_gguf()


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory, starter: Path) -> Iterator[Daemon]:
    """One real daemon for the whole run, with the real model `smol` in its folder, loaded on first request.

    Tests that change what it serves take a `Daemon` of their own.
    """
    with Daemon(tmp_path_factory.mktemp("daemon")) as running:
        running.drop("smol", {"parameters": {"init": {"ctx_len": 1024}}}, gguf=starter)
        running.wait_state("smol", "running")
        yield running
