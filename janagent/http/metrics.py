"""Counters of the API and of the engines, as Prometheus text (exposition format 0.0.4).

Owns the HTTP counters; everything else is read from the runtime at the moment somebody asks, so that
looking never wakes a model. Neighbours: `app` counts requests, `proxy` first bytes.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from janagent import __version__
from janagent.core.status import State
from janagent.runtime import Runtime

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


@dataclass(slots=True)
class Histogram:
    """Observations in seconds, counted into `BUCKETS_S`."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    total_s: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self.total_s += seconds
        for index, bound in enumerate(BUCKETS_S):
            if seconds <= bound:
                self.counts[index] += 1
                return
        self.counts[-1] += 1


@dataclass(slots=True)
class Metrics:
    """What the HTTP side counts from its start on."""

    requests: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    """By route, method and status."""
    in_flight: int = 0
    first_byte: Histogram = field(default_factory=Histogram)
    """From a request's arrival to the first byte of its model's answer, a load included."""

    def text(self, runtime: Runtime) -> str:
        """The page that Prometheus scrapes."""
        return "\n".join([*self._http(), *_models(runtime), *_engines(runtime), ""])

    def _http(self) -> Iterable[str]:
        yield from _family(
            "janagent_http_requests_total",
            "counter",
            "HTTP requests answered",
            (
                ({"route": route, "method": method, "status": str(status)}, count)
                for (route, method, status), count in sorted(self.requests.items())
            ),
        )
        yield from _family(
            "janagent_http_requests_in_flight",
            "gauge",
            "HTTP requests being answered",
            [({}, self.in_flight)],
        )
        name, seen = "janagent_time_to_first_byte_seconds", 0
        yield f"# HELP {name} Time to the first byte of a model's answer"
        yield f"# TYPE {name} histogram"
        for bound, count in zip((*BUCKETS_S, "+Inf"), self.first_byte.counts, strict=True):
            seen += count
            yield f'{name}_bucket{{le="{bound}"}} {seen}'
        yield f"{name}_sum {self.first_byte.total_s:.6f}"
        yield f"{name}_count {seen}"


def _models(runtime: Runtime) -> Iterable[str]:
    counts = runtime.counts()
    machine = runtime.machine()
    yield from _family("janagent_info", "gauge", "The version", [({"version": __version__}, 1)])
    yield from _family(
        "janagent_models",
        "gauge",
        "Models by state",
        [({"state": state.value}, counts.get(state.value, 0)) for state in State],
    )
    for name, told in (
        ("memory_used_bytes", "Memory that engines hold"),
        ("memory_budget_bytes", "Memory that engines may use"),
    ):
        yield from _family(f"janagent_{name}", "gauge", told, [({}, machine[name])])
    yield from gpu_lines(machine.get("gpus", ()))


def gpu_lines(gpus: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """Total and free memory of each GPU, by its number and name; nothing without any."""
    for name, told in (("total_bytes", "Memory of the GPU"), ("free_bytes", "What nobody holds of it")):
        samples = [({"gpu": str(at), "name": gpu["name"]}, gpu[name]) for at, gpu in enumerate(gpus)]
        if samples:
            yield from _family(f"janagent_gpu_memory_{name}", "gauge", told, samples)


def _engines(runtime: Runtime) -> Iterable[str]:
    totals = runtime.totals()
    for name, told, value in (
        ("engine_loads_total", "Engines that became ready", totals.loads),
        ("engine_crashes_total", "Engines that ended unasked", totals.crashes),
        ("prompt_tokens_total", "Prompt tokens that engines computed", totals.prompt_tokens),
        ("completion_tokens_total", "Tokens that engines produced", totals.completion_tokens),
    ):
        yield from _family(f"janagent_{name}", "counter", told, [({}, value)])
    running = [r for r in runtime.engines() if r.stats is not None]
    for name, told in (("live", "Requests in slots"), ("queued", "Requests waiting for a slot")):
        yield from _family(
            f"janagent_engine_requests_{name}",
            "gauge",
            told,
            [
                ({"model": r.action.entry.id, "engine": str(r.action.engine)}, getattr(r.stats, name))
                for r in running
            ],
        )


def _family(
    name: str, kind: str, told: str, samples: Iterable[tuple[Mapping[str, str], float]]
) -> Iterable[str]:
    yield f"# HELP {name} {told}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        shown = ",".join(f'{label}="{_escape(text)}"' for label, text in labels.items())
        yield f"{name}{{{shown}}} {value}" if shown else f"{name} {value}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
