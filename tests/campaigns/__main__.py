"""Runs the campaigns: what takes too long for every test run. The first wrong outcome is an error."""

import argparse
import random
import tempfile
import time
from pathlib import Path

from tests.campaigns.kills import Kills, kill_daemons, kill_fetchers
from tests.campaigns.soak import soak
from tests.daemons import starter_gguf


def main() -> None:
    """Kill fetchers, then daemons; or, with --soak, ask for a long time."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns")
    parser.add_argument("--kills", type=int, default=50, help="of each")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="mixed requests for so long instead")
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    if asked.soak:
        with tempfile.TemporaryDirectory(prefix="jan-campaign-") as folder:
            print(soak(Path(folder), dice=random.Random(asked.seed), minutes=asked.soak), flush=True)
        return
    for name, campaign in (("fetcher", kill_fetchers), ("daemon", _daemons)):
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="jan-campaign-") as folder:
            kills = campaign(Path(folder), dice=random.Random(asked.seed), kills=asked.kills)
        took_s = time.perf_counter() - begun
        print(
            f"kills of the {name}: {kills}; all downloads whole, nothing left over ({took_s:.0f} s)",
            flush=True,
        )


def _daemons(folder: Path, *, dice: random.Random, kills: int) -> Kills:
    return kill_daemons(folder, dice=dice, kills=kills, model=starter_gguf())


if __name__ == "__main__":
    main()
