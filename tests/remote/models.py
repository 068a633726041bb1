"""Manifests of remote models, and requests to them."""

from typing import Any

from tests.daemons import Daemon
from tests.remote.upstream import Upstream


def manifest(origin: str, *, key: str | None = "${TEST_KEY}", **init: Any) -> dict[str, Any]:
    """Of an OpenAI-compatible API at `origin`."""
    keys = {} if key is None else {"API-KEY": key}
    return {"origin": origin, "import_format": "openai", "parameters": {"init": {**keys, **init}}}


def drop(daemon: Daemon, upstream: Upstream, name: str = "far", **init: Any) -> str:
    """Put a manifest for `upstream` into the folder, wait until it may be used; returns the model's id."""
    daemon.drop(name, manifest(upstream.url, **init))
    daemon.wait_state(name, "running")
    return name


def ask(daemon: Daemon, model: str, **more: Any) -> tuple[int, Any]:
    """A chat that does not stream."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **more}
    return daemon.call("POST", "/v1/chat/completions", body)
