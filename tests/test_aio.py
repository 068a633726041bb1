import asyncio
import gc
import logging

import pytest

from janagent.aio import cancel_and_wait, create_task


async def fail() -> None:
    raise ValueError("broken")


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_task_has_its_name_and_result():
    async def answer() -> int:
        return 42

    task = create_task(answer(), name="answer")
    assert task.get_name() == "answer"
    assert await task == 42


async def test_a_task_that_fails_says_so_with_its_name(caplog: pytest.LogCaptureFixture):
    task = create_task(fail(), name="the scan")
    await asyncio.wait([task])
    await asyncio.sleep(0)  # the callback runs in the next turn of the loop
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, "task the scan ended unexpectedly")
    ]
    assert "broken" in caplog.text


async def test_a_task_that_nobody_holds_is_not_collected():
    done = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0)
        done.set()

    create_task(work(), name="held")
    gc.collect()
    async with asyncio.timeout(60):
        await done.wait()


async def test_cancelled_tasks_have_ended_when_waited_for_and_are_no_news(caplog: pytest.LogCaptureFixture):
    tasks = [create_task(forever(), name=str(number)) for number in range(3)]
    await asyncio.sleep(0)
    await cancel_and_wait(*tasks)
    assert all(task.cancelled() for task in tasks)
    assert caplog.records == []


async def test_waiting_for_a_cancelled_task_survives_its_failure():
    async def stubborn() -> None:
        try:
            await forever()
        finally:
            raise ValueError("at the end")

    task = create_task(stubborn(), name="stubborn")
    await asyncio.sleep(0)
    await cancel_and_wait(task)
    assert isinstance(task.exception(), ValueError)
