from __future__ import annotations

from pathlib import Path

import trio

from tests.acceptance.client import Consumer
from tests.acceptance.database import FAST, IMMEDIATE, KILLED, own_database
from tests.acceptance.load import load_on
from tests.acceptance.receiver import ReceiverProcess
from tests.acceptance.service import service

NOTICED_S = 2.0
RESUMED_S = 2.0
OUTAGE_S = 6.0


async def test_restarts_of_the_database_break_no_promise(
    folder: Path, receiver: ReceiverProcess
) -> None:
    async with own_database(folder) as database, service(DATABASE_URL=database.url) as served:
        async with load_on(served.consumer, receiver.url()) as load:
            for how in (FAST, IMMEDIATE, KILLED):
                await receiver.wait_arrivals(len(receiver.arrivals) + 120)
                await database.end(how)
                await database.launch()
            await receiver.wait_arrivals(len(receiver.arrivals) + 120)
        await served.consumer.wait_ended()
        await served.stop()
    load.check(receiver)


async def test_outage_is_told_at_once_and_work_goes_on_after_it(
    folder: Path, receiver: ReceiverProcess
) -> None:
    async with own_database(folder) as database, service(DATABASE_URL=database.url) as served:
        consumer = served.consumer
        due_at = trio.current_time() + 1
        in_outage = await consumer.create_many(
            [due_at + i / 20 for i in range(int(20 * OUTAGE_S))], callback_url=receiver.url()
        )
        unsettled = await consumer.create(delay=0, callback_url=receiver.url("/wait/3"))
        await receiver.wait_fired([unsettled])
        await database.end(FAST)
        assert await served.wait_status("/health", 503) <= NOTICED_S
        await served.assert_degraded()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(assert_create_is_in_doubt, consumer)
            await trio.sleep_until(due_at + OUTAGE_S)
        await served.assert_degraded()
        await database.launch()
        with trio.fail_after(RESUMED_S):
            await receiver.wait_fired(in_outage)
            await served.wait_status("/health/ready", 200)
        await consumer.wait_ended()
        assert (await consumer.get(unsettled))["status"] == "completed"
        assert receiver.times_fired == dict.fromkeys([*in_outage, unsettled], 1)
        await served.stop()


async def assert_create_is_in_doubt(consumer: Consumer) -> None:
    body = {"delay": 3600, "callback_url": "http://127.0.0.1:1/"}
    answer = await consumer.ask("POST", "/timers", body)
    assert (answer.status, answer.body["code"], set(answer.data)) == (503, 1, {"id"})
    assert "retry-after" in answer.headers


async def test_service_waits_for_a_database_that_is_away_and_starts_when_it_comes(
    folder: Path, receiver: ReceiverProcess
) -> None:
    async with own_database(folder) as database:
        await database.end(FAST)
        async with service(DATABASE_URL=database.url, ready=False) as waiting:
            await waiting.wait_logged("waiting_for_database")
            await waiting.assert_degraded()
            await database.launch()
            await waiting.wait_logged("ready")
            timer_id = await waiting.consumer.create(delay=0, callback_url=receiver.url())
            await receiver.wait_fired([timer_id])
