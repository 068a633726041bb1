"""`kill -9` at random moments of a download: it always ends with the right bytes and nothing beside them.

    python -m tests.campaigns                 # 50 kills of the fetcher, 50 of the daemon
    python -m tests.campaigns --kills 5 --seed 7

The moments come from a seed, which is printed; how far a process is at such a moment the machine decides.
"""

import random
import time
from pathlib import Path

from janagent.children.wire import ExitCode
from tests.daemons import Daemon, assert_all_gone, until
from tests.fetch.fetchers import REPO, finished, start
from tests.fetch.hub import TestHub

LOST_BYTES = 16 << 20
"""The most that one kill may cost."""
MOST_KILLS_OF_ONE = 6
SIDE_FILES = {"README.md": b"# some", "doc/more.txt": b"more", "empty.txt": b""}


def kill_fetchers(folder: Path, *, dice: random.Random, kills: int) -> int:
    """Download after download with a fetcher that is killed again and again; returns how often it was."""
    done = number = 0
    while done < kills:
        number += 1
        place = folder / f"fetch-{number}"
        place.mkdir()
        done += _kill_one(place, dice=dice, kills=min(dice.randint(1, MOST_KILLS_OF_ONE), kills - done))
    return done


def _kill_one(folder: Path, *, dice: random.Random, kills: int) -> int:
    contents = {"model.gguf": b"GGUF" + dice.randbytes(dice.randint(0, 24 << 20)), **SIDE_FILES}
    with TestHub() as hub:
        hub.add_repo(REPO, contents)
        hub.file(REPO, "model.gguf").slow_bytes_per_s = dice.choice([1_000_000, 3_000_000, 10_000_000])
        for _ in range(kills):
            process, reading = start(hub, folder, files=())
            time.sleep(dice.uniform(0.0, 2.5))
            process.kill()
            finished(process, reading)
        hub.file(REPO, "model.gguf").slow_bytes_per_s = None
        code, lines = finished(*start(hub, folder, files=()))
        sent = hub.bytes_sent("model.gguf")
    assert code == ExitCode.OK, lines
    assert _files(folder) == {"m.json": b"{}", **contents}
    assert sent <= len(contents["model.gguf"]) + kills * LOST_BYTES
    return kills


def kill_daemons(folder: Path, *, dice: random.Random, kills: int, model: Path) -> int:
    """The same with a daemon that is killed; the model in the end runs."""
    done = number = 0
    while done < kills:
        number += 1
        place = folder / f"daemon-{number}"
        place.mkdir()
        some = min(dice.randint(1, MOST_KILLS_OF_ONE), kills - done)
        _kill_daemon(place, dice=dice, kills=some, model=model)
        done += some
    return done


def _kill_daemon(folder: Path, *, dice: random.Random, kills: int, model: Path) -> None:
    contents = {"model.gguf": model.read_bytes(), **SIDE_FILES}
    with TestHub() as hub:
        hub.add_repo(REPO, contents)
        hub.file(REPO, "model.gguf").slow_bytes_per_s = dice.choice([1_000_000, 4_000_000])
        settings = {"offline": "false", "hub_endpoint": hub.url, "spare_worker": "false"}
        with Daemon(folder, **settings) as daemon:
            manifest = daemon.drop("m", {"origin": REPO, "import_format": "default"}) / "m.json"
            written = manifest.read_bytes()
            for _ in range(kills):
                time.sleep(dice.uniform(0.0, 3.0))
                children = daemon.kill()
                assert_all_gone(children)
                daemon.start()
            hub.file(REPO, "model.gguf").slow_bytes_per_s = None
            daemon.wait_state("m", "running", "failed")
            assert daemon.state("m") == "running", daemon.model("m")
            until(lambda: not list((daemon.models / ".janagent").glob("fetch/*")), what="no record is left")
            assert _files(manifest.parent) == {"m.json": written, **contents}
            assert daemon.call("DELETE", "/v1/models/m")[0] == 200
            until(lambda: not _files(daemon.models), what="a removal takes all of it along")


def _files(folder: Path) -> dict[str, bytes]:
    """Every file below it, but for what janagent remembers."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[:2] != (".janagent", "fetched")
    }
