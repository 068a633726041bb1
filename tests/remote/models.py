"""Manifests of remote models, and requests to them."""

from typing import Any

from tests.daemons import Daemon, until
from tests.remote.upstream import Upstream


def manifest(origin: str, *, key: str | None = "${TEST_KEY}", **init: Any) -> dict[str, Any]:
    """Of an OpenAI-compatible API at `origin`."""
    keys = {} if key is None else {"API-KEY": key}
    return {"origin": origin, "import_format": "openai", "parameters": {"init": {**keys, **init}}}


def drop(daemon: Daemon, upstream: Upstream, name: str = "far", **init: Any) -> str:
    """Put a manifest for `upstream` into the folder, wait until it may be used; returns the model's id."""
    put(daemon, name, manifest(upstream.url, **init), origin=upstream.url)
    return name


def put(daemon: Daemon, name: str, text: dict[str, Any] | str, *, origin: str) -> None:
    """Put a manifest into the folder and wait until it may be used. One that lay there a moment ago may be
    seen for as long as the new one is not read: the origin tells them apart."""

    def is_there() -> bool:
        model = daemon.model(name) or {}
        return (model.get("origin"), model.get("state")) == (origin, "running")

    daemon.drop(name, text)
    until(is_there, what=f"{name} is running at {origin}")


def ask(daemon: Daemon, model: str, **more: Any) -> tuple[int, Any]:
    """A chat that does not stream."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **more}
    return daemon.call("POST", "/v1/chat/completions", body)
