from __future__ import annotations

import trio

from tests.acceptance.receiver import ReceiverProcess
from tests.acceptance.service import service

TAKEOVER_S = 6.0
LEAD_S = 1.0


async def test_two_replicas_fire_each_timer_once_and_one_takes_over_from_the_other(
    service_database: str, receiver: ReceiverProcess
) -> None:
    async with (
        service(DATABASE_URL=service_database) as first,
        service(DATABASE_URL=service_database) as second,
    ):
        due_at = trio.current_time() + LEAD_S
        due_ats = [due_at + i / 100 for i in range(150)]
        of_first = await first.consumer.create_many(due_ats, callback_url=receiver.url())
        of_second = await second.consumer.create_many(due_ats, callback_url=receiver.url())
        await receiver.wait_fired(of_first | of_second)
        await first.consumer.wait_ended()
        assert receiver.times_fired == dict.fromkeys(of_first | of_second, 1)
        assert first.logged("fired")
        assert second.logged("fired")

        due_at = trio.current_time() + LEAD_S
        orphans = await first.consumer.create_many(
            [due_at + i / 50 for i in range(50)], callback_url=receiver.url("/wait/0.2")
        )
        await receiver.wait_arrivals(len(of_first | of_second) + 10)
        await first.program.kill()
        await receiver.wait_fired(orphans)
        await second.consumer.wait_ended()
        assert await second.consumer.total("completed") == len(of_first | of_second | orphans)
    first_arrivals = {a.timer_id: a.late_ms for a in reversed(receiver.arrivals)}
    assert max(first_arrivals[timer_id] for timer_id in orphans) <= TAKEOVER_S * 1000
