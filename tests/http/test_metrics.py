"""`janagent.http.metrics`: what Prometheus scrapes."""

import re

from janagent.http.metrics import Histogram, gpu_lines
from tests.http.conftest import Served

SAMPLE = re.compile(r'[a-z_]+(\{[a-z]+="(?:[^"\\\n]|\\.)*"(,[a-z]+="(?:[^"\\\n]|\\.)*")*\})? [0-9.eE+-]+')


async def page(served: Served) -> str:
    async with served.client.get("/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return await response.text()


async def test_every_line_is_a_comment_or_a_sample(served: Served) -> None:
    async with await served.chat() as response:
        await response.read()
    lines = (await page(served)).splitlines()
    assert lines
    for line in lines:
        assert line.startswith("# ") or SAMPLE.fullmatch(line), line


async def test_requests_are_counted_by_route_and_status_never_by_path(served: Served) -> None:
    for path in ("/v1/models/tiny", "/v1/models/none", "/made/up/path"):
        async with served.client.get(path) as response:
            await response.read()
    text = await page(served)
    assert re.search(r'requests_total\{route="/v1/models/\{tail\}",method="GET",status="200"\} 1\b', text)
    assert re.search(r'requests_total\{route="/v1/models/\{tail\}",method="GET",status="404"\} 1\b', text)
    assert 'route="other",method="GET",status="404"} 1' in text
    assert "made" not in text


async def test_models_memory_loads_tokens_and_crashes_are_there(served: Served) -> None:
    async with await served.chat() as response:
        await response.read()
    async with await served.chat("die_first") as response:
        await response.read()
    text = await page(served)
    assert 'janagent_models{state="running"} ' in text
    assert "janagent_engine_loads_total 1" in text
    assert "janagent_engine_crashes_total 1" in text
    assert "janagent_prompt_tokens_total 11" in text
    assert "janagent_completion_tokens_total 5" in text
    assert "janagent_time_to_first_byte_seconds_count 1" in text
    assert re.search(r"janagent_memory_budget_bytes [1-9]", text)


def test_each_gpu_has_its_lines() -> None:
    h200 = {"name": "NVIDIA H200", "total_bytes": 150_109_880_320, "free_bytes": 121_301_762_048}
    lines = [line for line in gpu_lines([h200, h200]) if not line.startswith("#")]
    assert lines[0] == 'janagent_gpu_memory_total_bytes{gpu="0",name="NVIDIA H200"} 150109880320'
    assert lines[3] == 'janagent_gpu_memory_free_bytes{gpu="1",name="NVIDIA H200"} 121301762048'
    assert all(SAMPLE.fullmatch(line) for line in lines)
    assert list(gpu_lines([])) == []


def test_a_histogram_counts_each_observation_once() -> None:
    histogram = Histogram()
    for seconds in (0.001, 0.3, 1e9):
        histogram.observe(seconds)
    assert sum(histogram.counts) == 3
    assert histogram.counts[0] == 1
    assert histogram.counts[-1] == 1
