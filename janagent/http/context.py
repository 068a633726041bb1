"""What every handler of the API needs, in one value that travels in the application. No behaviour."""

import secrets
from dataclasses import dataclass, field

from aiohttp import web

from janagent.http.guard import Guard
from janagent.http.metrics import Metrics
from janagent.http.objects import Renderer
from janagent.http.streams import OpenStreams
from janagent.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one HTTP server, in seconds and bytes."""

    max_body_bytes: int = 64 * 2**20
    head_s: float = 60.0
    """A connection whose next request head is not complete after this long is closed, idle ones too."""
    body_idle_s: float = 30.0
    """A request body of which no byte comes for this long is given up."""
    stall_s: float = 60.0
    """A client that takes no byte for this long is cut (contract 5)."""
    heartbeat_s: float = 15.0
    """A comment goes to each event stream this often (contract 3)."""
    shutdown_s: float = 5.0
    """What is left of answers when the server is taken down gets this long."""
    max_line_bytes: int = 64 * 2**10
    """Of the request line and of each header: a long id gets its 404 rather than a dropped connection."""


@dataclass(slots=True)
class Api:
    """The parts that handlers share."""

    runtime: Runtime
    guard: Guard
    """Another one takes its place when the settings are read again; all else stays."""
    limits: Limits
    renderer: Renderer = field(default_factory=Renderer)
    metrics: Metrics = field(default_factory=Metrics)
    streams: OpenStreams = field(default_factory=OpenStreams)
    via: str = field(default_factory=lambda: f"1.1 janagent-{secrets.token_hex(6)}")
    """This very daemon, in requests that it passes on to others: it would know one that comes back."""


API = web.AppKey("api", Api)
REQUEST_ID = web.RequestKey("request_id", str)
HAS_KEY = web.RequestKey("has_key", bool)
CORS_ORIGIN = web.RequestKey("cors_origin", str)
STARTED = web.RequestKey("started", web.StreamResponse)
"""The answer, once its head is on its way: from then on an error can only break it off."""
