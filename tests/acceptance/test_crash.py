from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import psycopg
import trio

from tests.acceptance.receiver import Arrival, ReceiverProcess
from tests.acceptance.service import service

TIMERS = 300
LEAD_S = 1.5
UNSETTLED_S = 1.0
"""An outcome is written within 100 ms and a commit; a busy machine may take its time."""


async def test_killed_service_loses_nothing_and_repeats_only_what_was_not_settled(
    service_database: str, receiver: ReceiverProcess
) -> None:
    async with service(DATABASE_URL=service_database) as first:
        due_at = trio.current_time() + LEAD_S
        create_many = first.consumer.create_many
        repeated = await create_many(
            [due_at + i / 300 for i in range(0, TIMERS, 2)], callback_url=receiver.url("/wait/0.1")
        )
        once = await create_many(
            [due_at + i / 300 for i in range(1, TIMERS, 2)],
            callback_url=receiver.url("/wait/0.1"),
            delivery="at_most_once",
        )
        await receiver.wait_arrivals(TIMERS // 2)
        await first.program.kill()
    settled = ids_with_status(service_database, "completed")
    assert settled, "the kill came before the first outcome was written"
    in_doubt = ids_with_status(service_database, "executing")
    assert in_doubt, "the kill came when nothing was in flight"
    async with service(DATABASE_URL=service_database) as second:
        await second.consumer.wait_ended()
        statuses = {timer_id: await second.consumer.get(timer_id) for timer_id in repeated | once}
    fired = by_timer(receiver)
    assert {timer_id for timer_id in fired if len(fired[timer_id]) > 1} <= in_doubt & repeated
    assert all(len(fired[timer_id]) == 1 for timer_id in settled)
    assert all(statuses[timer_id]["status"] == "completed" for timer_id in repeated)
    assert fired.keys() >= repeated
    assert all(is_one_firing(arrivals) for arrivals in fired.values())
    for timer_id in once:
        completed = statuses[timer_id]["status"] == "completed"
        assert completed or statuses[timer_id]["last_error"].startswith("outcome unknown")
        assert len(fired[timer_id]) == 1 or (timer_id in in_doubt and not fired[timer_id])
        assert completed or timer_id in in_doubt


async def test_killed_service_goes_on_from_its_data_dir_at_once(
    folder: Path, receiver: ReceiverProcess
) -> None:
    async with service(DATA_DIR=str(folder / "data")) as first:
        held = await first.consumer.create(delay=0, callback_url=receiver.url("/wait/0.5"))
        later = await first.consumer.create(delay=0.5, callback_url=receiver.url())
        await receiver.wait_fired([held])
        await first.program.kill()
    async with service(DATA_DIR=str(folder / "data")) as second:
        await receiver.wait_arrivals(3)
        await second.consumer.wait_ended()
        await second.stop()
    fired = by_timer(receiver)
    assert (len(fired[held]), len(fired[later])) == (2, 1)
    assert [arrival.headers["x-timer-attempt"] for arrival in fired[held]] == ["1", "2"]


def by_timer(receiver: ReceiverProcess) -> dict[str, list[Arrival]]:
    fired = defaultdict(list)
    for arrival in receiver.arrivals:
        fired[arrival.timer_id].append(arrival)
    return fired


def is_one_firing(arrivals: list[Arrival]) -> bool:
    return len({arrival.headers["webhook-id"] for arrival in arrivals}) == 1


def ids_with_status(database_url: str, status: str) -> set[str]:
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT id FROM timers WHERE status = %s", [status]).fetchall()
    return {str(timer_id) for (timer_id,) in rows}
