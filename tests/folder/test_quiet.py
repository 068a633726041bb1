"""Bursts of wakes, on a loop whose clock a test moves."""

import asyncio
import itertools

from janagent.folder.quiet import Quiet


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time stands still until it is moved."""

    def __init__(self) -> None:
        super().__init__()
        self.moment = 100.0

    def time(self) -> float:
        return self.moment

    def move(self, seconds: float) -> None:
        """Let time pass in steps of a millisecond and run what is due in each."""
        for _ in range(round(seconds * 1000)):
            self.moment += 0.001
            self.call_soon(self.stop)
            self.run_forever()


class Burst:
    """A `Quiet` with virtual time and what it said so far."""

    def __init__(self, *, many: int = 5) -> None:
        self.clock = Clock()
        self.wakes: list[tuple[float, set[str] | None, set[str]]] = []
        self.quiet = Quiet(self._wake, self.clock, calm_s=0.015, ceiling_s=0.150, many=many)

    def _wake(self, folders: set[str] | None, closed: set[str]) -> None:
        self.wakes.append((round(self.clock.moment - 100.0, 3), folders, closed))

    def __enter__(self) -> "Burst":
        return self

    def __exit__(self, *_: object) -> None:
        self.clock.close()


def test_one_event_wakes_after_the_calm() -> None:
    with Burst() as burst:
        burst.quiet.add({"a"})
        burst.clock.move(0.010)
        assert burst.wakes == []
        burst.clock.move(0.010)
        assert burst.wakes == [(0.015, {"a"}, set())]


def test_events_close_together_are_one_wake() -> None:
    with Burst() as burst:
        for name in ("a", "b", "a"):
            burst.quiet.add({name}, {f"{name}/x"})
            burst.clock.move(0.010)
        burst.clock.move(0.050)
        assert burst.wakes == [(0.035, {"a", "b"}, {"a/x", "b/x"})]


def test_a_steady_trickle_cannot_put_a_wake_off_beyond_the_ceiling() -> None:
    with Burst() as burst:
        for _ in range(100):
            burst.quiet.add({"a"})
            burst.clock.move(0.005)
        times = [time for time, _, _ in burst.wakes]
        assert times[0] == 0.150
        assert all(later - earlier <= 0.160 for earlier, later in itertools.pairwise(times))


def test_after_a_wake_it_starts_afresh() -> None:
    with Burst() as burst:
        burst.quiet.add({"a"}, {"a/x"})
        burst.clock.move(0.1)
        burst.quiet.add({"b"})
        burst.clock.move(0.1)
        assert [folders for _, folders, _ in burst.wakes] == [{"a"}, {"b"}]
        assert burst.wakes[1][2] == set()


def test_too_many_folders_mean_all_and_the_closed_files_are_kept() -> None:
    with Burst(many=3) as burst:
        burst.quiet.add({"a", "b", "c", "d"}, {"a/x"})
        burst.quiet.add({"e"})
        burst.clock.move(0.1)
        assert burst.wakes == [(0.015, None, {"a/x"})]


def test_none_means_all() -> None:
    with Burst() as burst:
        burst.quiet.add({"a"})
        burst.quiet.add(None)
        burst.clock.move(0.1)
        assert [folders for _, folders, _ in burst.wakes] == [None]


def test_after_cancel_nothing_comes() -> None:
    with Burst() as burst:
        burst.quiet.add({"a"})
        burst.quiet.cancel()
        burst.clock.move(1)
        assert burst.wakes == []
