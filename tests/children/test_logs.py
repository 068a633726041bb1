import asyncio
import time

from janagent.children.logs import LogLine, LogRing
from tests.children.conftest import within


def texts(ring: LogRing) -> list[str]:
    return [line.text for line in ring.lines()]


def test_lines_keep_their_order_number_and_time() -> None:
    ring = LogRing()
    before = time.time()
    ring.add("one")
    ring.add("two")
    first, second = ring.lines()
    assert (first.number, first.text, second.number, second.text) == (0, "one", 1, "two")
    assert before <= first.at <= second.at <= time.time()
    assert ring.text() == "one\ntwo\n"
    assert ring.text(last=1) == "two\n"


def test_only_the_newest_lines_are_kept() -> None:
    ring = LogRing(max_lines=3)
    for number in range(10):
        ring.add(str(number))
    assert texts(ring) == ["7", "8", "9"]


def test_long_lines_push_older_ones_out_but_the_newest_stays() -> None:
    ring = LogRing(max_chars=10)
    ring.add("12345")
    ring.add("67890")
    assert len(ring) == 2
    ring.add("x" * 50)
    assert texts(ring) == ["x" * 50]


def test_a_text_of_several_lines_becomes_several_lines() -> None:
    ring = LogRing()
    ring.add("first\nsecond")
    assert texts(ring) == ["first", "second"]


def test_what_steers_a_terminal_is_taken_out() -> None:
    ring = LogRing()
    ring.add("\x1b[31mred\x1b[0m \x1b]0;title\x07\ttab\x00nul\x9b")
    assert texts(ring) == ["red \ttab\N{REPLACEMENT CHARACTER}nul\N{REPLACEMENT CHARACTER}"]


def test_a_secret_is_redacted_before_it_is_kept() -> None:
    ring = LogRing(redact=lambda text: text.replace("hunter2", "***"))
    ring.add("password hunter2")
    assert texts(ring) == ["password ***"]


def test_what_a_ring_takes_over_keeps_its_time_and_is_redacted() -> None:
    early = LogRing()
    early.add("secret", at=12.5)
    ring = LogRing(redact=str.upper)
    ring.add("mine")
    ring.take_over(early)
    assert texts(ring) == ["MINE", "SECRET"]
    assert ring.lines()[1].at == 12.5
    assert len(early) == 0


async def collect(ring: LogRing, *, last: int | None = None) -> list[LogLine]:
    return [line async for line in ring.follow(last=last)]


async def test_follow_gives_what_is_kept_and_then_what_comes_until_the_ring_is_closed() -> None:
    ring = LogRing()
    ring.add("before")
    followers = asyncio.gather(collect(ring), collect(ring, last=0))
    await asyncio.sleep(0)
    ring.add("after")
    await asyncio.sleep(0)
    ring.add("last")
    ring.close()
    everything, new = await within(followers)
    assert [line.text for line in everything] == ["before", "after", "last"]
    assert [line.text for line in new] == ["after", "last"]


async def test_a_closed_ring_can_still_be_followed_to_its_end() -> None:
    ring = LogRing()
    ring.add("only")
    ring.close()
    assert len(await within(collect(ring))) == 1


async def test_a_reader_that_falls_behind_misses_lines_and_sees_the_gap() -> None:
    ring = LogRing(max_lines=5)
    ring.add("0")
    numbers = []
    async for line in ring.follow():
        numbers.append(line.number)
        if line.number == 0:
            for number in range(1, 21):
                ring.add(str(number))
            ring.close()
    assert numbers == [0, 16, 17, 18, 19, 20]


async def test_a_follower_that_goes_away_leaves_nothing_behind() -> None:
    ring = LogRing()
    follower = asyncio.gather(collect(ring))
    await asyncio.sleep(0)
    follower.cancel()
    await asyncio.gather(follower, return_exceptions=True)
    ring.add("nobody listens")
    assert ring._waiting == set()
