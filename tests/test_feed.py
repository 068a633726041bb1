"""Only differences are told, and nobody who sleeps makes the daemon grow."""

from dataclasses import replace

from janagent.core.status import ModelStatus, State
from janagent.feed import QUEUE_LIMIT, Closed, Feed, MachineChanged, ModelChanged, ModelRemoved, Overflow
from tests.core.driver import entry


def status(name: str = "a", state: State = State.DOWNLOADED) -> ModelStatus:
    return ModelStatus(entry=entry(name), state=state)


async def test_only_differences_are_told() -> None:
    feed = Feed()
    with feed.subscribe() as heard:
        assert feed.publish("a", status())
        assert not feed.publish("a", status())
        assert feed.publish("a", status(state=State.RUNNING))
        assert [await heard.get(), await heard.get()] == [
            ModelChanged(status()),
            ModelChanged(status(state=State.RUNNING)),
        ]


async def test_a_model_that_is_gone_or_renamed_is_told_by_its_old_id() -> None:
    feed = Feed()
    with feed.subscribe() as heard:
        feed.publish("a", status())
        renamed = replace(status(), entry=replace(entry("a"), id="b"))
        feed.publish("a", renamed)
        feed.publish("a", None)
        await heard.get()
        assert [await heard.get() for _ in range(3)] == [
            ModelRemoved("a"),
            ModelChanged(renamed),
            ModelRemoved("b"),
        ]


async def test_a_listener_that_does_not_read_is_told_to_start_over() -> None:
    feed = Feed()
    with feed.subscribe() as heard:
        for number in range(QUEUE_LIMIT + 5):
            feed.tell(MachineChanged({"n": number}))
        assert isinstance(await heard.get(), Overflow)
        for _ in range(4):
            assert isinstance(await heard.get(), MachineChanged)


async def test_a_listener_that_left_hears_nothing_and_the_end_is_told() -> None:
    feed = Feed()
    with feed.subscribe() as left:
        pass
    with feed.subscribe() as heard:
        feed.close()
        assert isinstance(await heard.get(), Closed)
    assert left._queue.empty()


def test_what_was_told_last_is_remembered_sorted_by_id() -> None:
    feed = Feed()
    feed.publish("x", status("b"))
    feed.publish("y", status("a"))
    feed.publish("x", status("b", State.RUNNING))
    assert [(told.id, told.state) for told in feed.statuses()] == [
        ("a", State.DOWNLOADED),
        ("b", State.RUNNING),
    ]
    assert feed.counts() == {"downloaded": 1, "running": 1}
    feed.publish("x", None)
    assert [told.id for told in feed.statuses()] == ["a"]
