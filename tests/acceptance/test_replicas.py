from __future__ import annotations

from functools import partial

import trio

from tests.acceptance.receiver import ReceiverProcess
from tests.acceptance.service import service

TAKEOVER_S = 6.0
LEAD_S = 1.0


async def test_replicas_that_both_know_all_timers_fire_each_once(
    service_database: str, receiver: ReceiverProcess
) -> None:
    # Each reads what the other has created long before it is due, so that both claim everything.
    replica = partial(service, DATABASE_URL=service_database, LOADER_INTERVAL="0.2")
    async with replica() as first, replica() as second:
        due_at = trio.current_time() + LEAD_S
        instants = [due_at + i / 100 for i in range(150)]
        timer_ids = await first.consumer.create_many(instants, callback_url=receiver.url())
        timer_ids |= await second.consumer.create_many(instants, callback_url=receiver.url())
        await receiver.wait_fired(timer_ids)
        await first.consumer.wait_ended()
        await first.stop()
        await second.stop()
        assert first.logged("fired")
        assert second.logged("fired")
    assert receiver.times_fired == dict.fromkeys(timer_ids, 1)


async def test_replica_takes_over_what_a_killed_one_should_have_fired(
    service_database: str, receiver: ReceiverProcess
) -> None:
    async with (
        service(DATABASE_URL=service_database) as first,
        service(DATABASE_URL=service_database) as second,
    ):
        due_at = trio.current_time() + LEAD_S
        timer_ids = await first.consumer.create_many(
            [due_at + i / 50 for i in range(50)], callback_url=receiver.url("/wait/0.2")
        )
        await receiver.wait_arrivals(10)
        await first.program.kill()
        await receiver.wait_fired(timer_ids)
        await second.consumer.wait_ended()
        assert await second.consumer.total("completed") == len(timer_ids)
    late_ms = {arrival.timer_id: arrival.late_ms for arrival in reversed(receiver.arrivals)}
    assert min(late_ms.values()) >= 0
    assert max(late_ms.values()) <= TAKEOVER_S * 1000
