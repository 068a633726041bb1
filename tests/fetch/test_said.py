"""What a fetch says before its first byte: how many files and bytes, and why these."""

from pathlib import Path

from janagent.children.wire import Fetching, Planned
from tests.daemons import Daemon
from tests.fetch.fetchers import REPO, finished, start
from tests.fetch.hub import TestHub
from tests.gguf_files import write_model


def test_the_fetcher_states_count_and_bytes_before_it_begins(hub: TestHub, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    content = b"GGUF" + bytes(300_000)
    hub.add_repo(REPO, {"m.gguf": content, "README.md": b"# of 18 characters", "config.json": b"{}"})
    code, lines = finished(*start(hub, folder, files=()))
    assert code == 0
    planned = lines[0]
    assert isinstance(planned, Planned)
    assert (planned.files, planned.total_bytes) == (2, len(content) + 18)
    assert planned.note == f"the whole of {REPO}, without its JSON files"
    told = [line for line in lines if isinstance(line, Fetching)]
    assert {(line.files, line.total_bytes) for line in told} == {(2, len(content) + 18)}
    assert told[-1].done_bytes == len(content) + 18


def test_the_log_of_a_model_states_count_bytes_and_the_choice(
    online: Daemon, hub: TestHub, tmp_path: Path
) -> None:
    small, large = (write_model(tmp_path / tag, quantization=tag) for tag in ("Q4_0", "F16"))
    hub.add_repo(REPO, {"tiny.Q4_0.gguf": small, "tiny.F16.gguf": large})
    online.drop("tiny", {"origin": REPO})
    online.wait_state("tiny", "downloaded", "running")
    status, logs = online.call("GET", "/v1/models/tiny/logs")
    assert status == 200
    assert f"fetching 1 files, {small.stat().st_size:,} bytes. Q4_0" in logs
    assert "was chosen among 2" in logs
