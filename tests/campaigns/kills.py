"""`kill -9` at random moments of a download: it always ends with the right bytes and nothing beside them.

    python -m tests.campaigns                 # 50 kills of the fetcher, 50 of the daemon
    python -m tests.campaigns --kills 5 --seed 7

The moments come from a seed, which is printed; how far a process is at such a moment the machine decides. So
only a process that was alive counts, most moments are of a transfer, and a campaign that missed too many of
those has proved nothing.
"""

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from janagent.children.wire import ExitCode
from tests.daemons import Daemon, assert_all_gone, until
from tests.fetch.fetchers import REPO, finished, start
from tests.fetch.hub import TestHub

LOST_BYTES = 16 << 20
"""The most that one kill may cost."""
MOST_KILLS_OF_ONE = 6
CONNECTIONS = 6
SIDE_FILES = {"README.md": b"# some", "doc/more.txt": b"more", "empty.txt": b""}


@dataclass(slots=True)
class Kills:
    """Each of a process that was alive; `mid_transfer`: bytes had come to it, and more were to come."""

    done: int = 0
    mid_transfer: int = 0

    def add(self, other: "Kills") -> None:
        self.done += other.done
        self.mid_transfer += other.mid_transfer

    def __str__(self) -> str:
        return f"{self.done}, {self.mid_transfer} of them in the middle of a transfer"


def kill_fetchers(folder: Path, *, dice: random.Random, kills: int) -> Kills:
    """Download after download with a fetcher that is killed again and again."""
    return _killed(folder, _kill_one, dice=dice, kills=kills)


def kill_daemons(folder: Path, *, dice: random.Random, kills: int, model: Path) -> Kills:
    """The same with a daemon that is killed; the model in the end runs."""

    def kill_one(place: Path, *, dice: random.Random, kills: int) -> Kills:
        return _kill_daemon(place, dice=dice, kills=kills, model=model)

    return _killed(folder, kill_one, dice=dice, kills=kills)


def _killed(folder: Path, kill_one: Callable[..., Kills], *, dice: random.Random, kills: int) -> Kills:
    all_kills, number = Kills(), 0
    while all_kills.done < kills:
        number += 1
        place = folder / f"download-{number}"
        place.mkdir()
        some = min(dice.randint(1, MOST_KILLS_OF_ONE), kills - all_kills.done)
        all_kills.add(kill_one(place, dice=dice, kills=some))
    assert all_kills.mid_transfer * 2 >= all_kills.done, f"too few in the middle of a transfer: {all_kills}"
    return all_kills


def _kill_one(folder: Path, *, dice: random.Random, kills: int) -> Kills:
    contents = {"model.gguf": b"GGUF" + dice.randbytes(dice.randint(0, 24 << 20)), **SIDE_FILES}
    killed = Kills()
    with TestHub() as hub:
        hub.add_repo(REPO, contents)
        _slow_down(hub, len(contents["model.gguf"]), dice=dice, kills=kills)
        while killed.done < kills:
            before = hub.bytes_sent("model.gguf")
            process, reading = start(hub, folder, files=())
            _await_moment(hub, before, dice=dice, is_over=lambda one=process: one.poll() is not None)
            process.kill()
            if finished(process, reading)[0] != -signal.SIGKILL:
                break  # it was through; the next kill is one of another download
            killed.add(Kills(1, _is_mid_transfer(hub, folder / "model.gguf", folder, before)))
        hub.file(REPO, "model.gguf").slow_bytes_per_s = None
        code, lines = finished(*start(hub, folder, files=()))
        sent = hub.bytes_sent("model.gguf")
    assert code == ExitCode.OK, lines
    assert _files(folder) == {"m.json": b"{}", **contents}
    assert sent <= len(contents["model.gguf"]) + killed.done * LOST_BYTES
    return killed


def _kill_daemon(folder: Path, *, dice: random.Random, kills: int, model: Path) -> Kills:
    contents = {"model.gguf": model.read_bytes(), **SIDE_FILES}
    killed = Kills()
    with TestHub() as hub:
        hub.add_repo(REPO, contents)
        _slow_down(hub, len(contents["model.gguf"]), dice=dice, kills=kills)
        settings = {"offline": "false", "hub_endpoint": hub.url, "spare_worker": "false"}
        with Daemon(folder, **settings) as daemon:
            manifest = daemon.drop("m", {"origin": REPO, "import_format": "default"}) / "m.json"
            written, target = manifest.read_bytes(), manifest.with_name("model.gguf")
            while killed.done < kills and not target.exists():
                before = hub.bytes_sent("model.gguf")
                _await_moment(hub, before, dice=dice, is_over=target.exists)
                children = daemon.kill()  # it has to be alive
                assert_all_gone(children)
                killed.add(Kills(1, _is_mid_transfer(hub, target, daemon.models, before)))
                daemon.start()
            hub.file(REPO, "model.gguf").slow_bytes_per_s = None
            daemon.wait_state("m", "running", "failed")
            assert daemon.state("m") == "running", daemon.model("m")
            until(lambda: not list((daemon.models / ".janagent").glob("fetch/*")), what="no record is left")
            assert _files(manifest.parent) == {"m.json": written, **contents}
            assert daemon.call("DELETE", "/v1/models/m")[0] == 200
            until(lambda: not _files(daemon.models), what="a removal takes all of it along")
    return killed


def _slow_down(hub: TestHub, size_bytes: int, *, dice: random.Random, kills: int) -> None:
    """So that most kills find it under way, and the last ones of some downloads its end."""
    lasts_s = dice.choice([1.0, 2.0, 3.0]) * (kills + 1)
    connections = min(CONNECTIONS, 1 + (size_bytes >> 21))  # one for each range that is asked for
    hub.file(REPO, "model.gguf").slow_bytes_per_s = max(1000, size_bytes / lasts_s / connections)


def _await_moment(hub: TestHub, before: int, *, dice: random.Random, is_over: Callable[[], bool]) -> None:
    """Until a random moment: seldom one of the start, mostly one after the first byte of this start."""
    if dice.random() < 0.2:
        time.sleep(dice.uniform(0.0, 1.0))
        return
    until(lambda: hub.bytes_sent("model.gguf") > before or is_over(), what="it brings something")
    time.sleep(dice.uniform(0.0, 2.0))


def _is_mid_transfer(hub: TestHub, target: Path, models: Path, before: int) -> bool:
    has_record = any(models.glob(".janagent/fetch/*.json"))
    return has_record and not target.exists() and hub.bytes_sent("model.gguf") > before


def _files(folder: Path) -> dict[str, bytes]:
    """Every file below it, but for what janagent remembers."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[:2] != (".janagent", "fetched")
    }
