"""How far a download is, for those who follow it: events, `ls` and `pull`, over real downloads."""

import subprocess
import sys
import time
from pathlib import Path

from tests.cli.terminal import CTRL_C, Terminal
from tests.daemons import Daemon
from tests.fetch.hosting import REPO, big
from tests.fetch.hub import TestHub


def test_progress_comes_in_events_and_at_most_ten_times_a_second(
    online: Daemon, hub: TestHub, tmp_path: Path
) -> None:
    path = big(hub, tmp_path, bytes_per_s=1_000_000)
    begun = time.monotonic()
    online.drop("big", {"origin": REPO})
    came: list[tuple[float, int]] = []
    for kind, data in online.events():
        model = data if kind == "model" else {}
        progress = model.get("progress") or {}
        if model.get("state") == "downloading" and "done_bytes" in progress:
            came.append((time.monotonic(), progress["done_bytes"]))
            assert progress.keys() >= {"done_bytes", "total_bytes", "bytes_per_s", "files"}
            assert progress["total_bytes"] == path.stat().st_size
        if model.get("state") in ("downloaded", "starting", "running"):
            break
    done = [count for _, count in came]
    assert len(set(done)) >= 5
    assert done == sorted(done)
    lasted_s = came[-1][0] - begun  # of all: what comes late comes together with the next
    assert len(came) <= 10 * lasted_s + 1


def test_ls_in_a_terminal_shows_how_far_a_download_is(online: Daemon, hub: TestHub, tmp_path: Path) -> None:
    big(hub, tmp_path, bytes_per_s=500_000)
    online.drop("big", {"origin": REPO})
    for kind, data in online.events():
        progress = data.get("progress") or {}
        if kind == "model" and progress.get("done_bytes") and progress.get("bytes_per_s"):
            break
    with Terminal("ls", env=online.environment) as terminal:
        assert terminal.wait() == 0
        shown = " ".join(terminal.seen.split())
    assert "downloading" in shown
    assert "% of 40.3 MB" in shown
    assert "/s" in shown


def test_pull_in_a_terminal_draws_a_bar_with_rate_and_time_left_and_ctrl_c_pauses(
    online: Daemon, hub: TestHub, tmp_path: Path
) -> None:
    big(hub, tmp_path, bytes_per_s=500_000)
    with Terminal("pull", REPO, env=online.environment) as terminal:
        terminal.expect("tiny-GGUF")
        terminal.expect("━")
        terminal.expect("% of 40.3 MB")
        terminal.expect("/s")
        terminal.expect(" left")
        terminal.type(CTRL_C)
        terminal.expect("paused; go on with: janagent start tiny-GGUF")
        assert terminal.wait() == 130
    assert online.wait_state("tiny-GGUF", "missing")["error"]["code"] == "paused"


def test_pull_goes_on_when_the_daemon_tries_a_failed_download_again(
    online: Daemon, hub: TestHub, starter: Path
) -> None:
    hub.add_repo(REPO, {"smol.Q4_1.gguf": starter})
    hub.api_fail_status, hub.api_fail_times = 503, 3
    done = subprocess.run(
        [sys.executable, "-m", "janagent", "pull", REPO],
        env=online.environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "503" in done.stderr
    assert "it is tried again in" in done.stderr
    assert done.stdout == "tiny-GGUF running\n"


def test_pull_ends_when_its_download_fails_for_good(online: Daemon, hub: TestHub) -> None:
    hub.add_repo(REPO, {"README.md": b"no model"})
    done = subprocess.run(
        [sys.executable, "-m", "janagent", "pull", REPO],
        env=online.environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 1
    assert "holds no GGUF file" in done.stderr
