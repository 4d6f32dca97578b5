"""Schedules, by services that are run as people run them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.acceptance.client import Consumer
from tests.acceptance.database import FAST, own_database
from tests.acceptance.receiver import Arrival, ReceiverProcess
from tests.acceptance.service import Service, service
from tests.chaos.faketime import NoFaketimeError, environ, fetch_library

TAKEOVER_S = 6.0
EVERY_SECOND = {"every": 1, "catch_up": "all", "misfire_grace_seconds": 60}


async def create(consumer: Consumer, **fields: Any) -> str:
    answer = await consumer.ask("POST", "/schedules", fields)
    assert answer.status == 201, answer
    return str(answer.data["id"])


async def change(consumer: Consumer, schedule_id: str, **fields: Any) -> None:
    answer = await consumer.ask("PUT", f"/schedules/{schedule_id}", fields)
    assert answer.status == 200, answer


async def act(consumer: Consumer, schedule_id: str, verb: str) -> None:
    answer = await consumer.ask("POST", f"/schedules/{schedule_id}/{verb}")
    assert answer.status in {200, 201}, answer


async def timers_of(consumer: Consumer, schedule_id: str, status: str) -> list[dict[str, Any]]:
    # The first ones: hundreds more may be planned.
    path = f"/timers?schedule_id={schedule_id}&status={status}&limit=200&sort=execute_at&order=asc"
    answer = await consumer.ask("GET", path)
    assert answer.status == 200, answer
    timers: list[dict[str, Any]] = answer.data["timers"]
    return timers


def instants_of(arrivals: Sequence[Arrival]) -> list[str]:
    return [arrival.headers["x-schedule-instant"] for arrival in arrivals]


def assert_each_second_once(arrivals: Sequence[Arrival]) -> None:
    """Claim that no instant between the first and the last is missing, doubled or early."""
    assert Counter(instants_of(arrivals)) == Counter(set(instants_of(arrivals)))
    scheduled = sorted(arrival.scheduled_s for arrival in arrivals)
    gaps = {round(later - earlier, 3) for earlier, later in zip(scheduled, scheduled[1:])}  # noqa: B905, RUF007
    assert gaps == {1.0}
    assert min(arrival.late_ms for arrival in arrivals) >= 0


@pytest.mark.soak
async def test_each_second_fires_once_over_a_rolling_restart(
    service_database: str, receiver: ReceiverProcess
) -> None:
    replica = partial(service, DATABASE_URL=service_database)
    async with replica() as first:
        await create(first.consumer, callback_url=receiver.url(), **EVERY_SECOND)
        async with replica() as second, replica() as third:
            await receiver.wait_arrivals(2)
            await first.stop()
            async with replica() as fourth:
                await second.stop()
                await receiver.wait_arrivals(len(receiver.arrivals) + 2)
                await third.stop()
                await receiver.wait_arrivals(len(receiver.arrivals) + 3)
                await fourth.stop()
    assert_each_second_once(receiver.arrivals)


async def test_killed_planner_loses_and_doubles_no_occurrence(
    service_database: str, receiver: ReceiverProcess
) -> None:
    replica = partial(service, DATABASE_URL=service_database)
    async with replica() as first:
        await create(first.consumer, callback_url=receiver.url(), **EVERY_SECOND)
        await receiver.wait_arrivals(2)
        async with replica() as second:
            await first.program.kill()
            await receiver.wait_arrivals(len(receiver.arrivals) + 9)
            await second.stop()
    # Of what was under way when it was killed nobody knows the outcome: that may come again.
    once = {arrival.headers["webhook-id"]: arrival for arrival in reversed(receiver.arrivals)}
    assert len(receiver.arrivals) - len(once) <= 1
    assert_each_second_once([*once.values()])
    assert max(arrival.late_ms for arrival in once.values()) <= TAKEOVER_S * 1000


@pytest.mark.soak
async def test_restarted_database_loses_no_occurrence(
    folder: Path, receiver: ReceiverProcess
) -> None:
    async with own_database(folder) as database, service(DATABASE_URL=database.url) as served:
        await create(served.consumer, callback_url=receiver.url(), **EVERY_SECOND)
        await receiver.wait_arrivals(2)
        await database.end(FAST)
        await trio.sleep(2)
        await database.launch()
        await receiver.wait_arrivals(len(receiver.arrivals) + 4)
        await served.stop()
    assert_each_second_once(receiver.arrivals)


@pytest.mark.soak
async def test_wrong_clocks_of_machines_move_no_occurrence(
    folder: Path, service_database: str, receiver: ReceiverProcess
) -> None:
    try:
        library = await fetch_library(folder)
    except NoFaketimeError as error:
        pytest.skip(str(error))
    ahead, behind = (environ(library, shift) for shift in ("+1h", "-1h"))
    async with (
        service(DATABASE_URL=service_database, ready=True, **ahead) as first,
        service(DATABASE_URL=service_database, ready=True, **behind) as second,
    ):
        for consumer in (first.consumer, second.consumer):
            rule = {"cron": "* * * * * *", "timezone": "Asia/Kathmandu", "catch_up": "all"}
            await create(consumer, callback_url=receiver.url(), **rule)
        await receiver.wait_arrivals(8)
        await first.stop()
        await second.stop()
    of_each = Counter(arrival.headers["x-schedule-id"] for arrival in receiver.arrivals)
    assert len(of_each) == 2
    for schedule_id in of_each:
        own = [one for one in receiver.arrivals if one.headers["x-schedule-id"] == schedule_id]
        assert_each_second_once(own)
        assert max(arrival.late_ms for arrival in own) < 1_000


@pytest.mark.soak
async def test_nothing_of_the_old_rule_fires_after_a_change_is_answered(
    service_database: str, receiver: ReceiverProcess
) -> None:
    async with (
        service(DATABASE_URL=service_database) as served,
        service(DATABASE_URL=service_database) as other,
    ):
        schedule_id = await create(served.consumer, callback_url=receiver.url("/"), **EVERY_SECOND)
        await receiver.wait_arrivals(2)
        for place, consumer in enumerate((other.consumer, served.consumer, other.consumer)):
            before = {timer["id"] for timer in await executing(served, schedule_id)}
            path = f"/wait/0.00{place}"
            await change(
                consumer, schedule_id, every=1 + place / 8, callback_url=receiver.url(path)
            )
            seen = len(receiver.arrivals)
            await receiver.wait_arrivals(seen + 2)
            late_ones = [one for one in receiver.arrivals[seen:] if one.path != path]
            assert {one.timer_id for one in late_ones} <= before
        await act(other.consumer, schedule_id, "pause")
        await trio.sleep(0.3)  # what was executing then
        seen = len(receiver.arrivals)
        await trio.sleep(2.5)
        assert len(receiver.arrivals) == seen
        await act(served.consumer, schedule_id, "resume")
        await receiver.wait_arrivals(seen + 2)
        await served.stop()
        await other.stop()


async def executing(served: Service, schedule_id: str) -> list[dict[str, Any]]:
    return await timers_of(served.consumer, schedule_id, "executing")


@pytest.mark.soak
async def test_occurrences_that_must_not_overlap_never_do(
    service_database: str, receiver: ReceiverProcess
) -> None:
    async with (
        service(DATABASE_URL=service_database) as first,
        service(DATABASE_URL=service_database) as second,
    ):
        url = receiver.url("/tell/1.5")
        fields = EVERY_SECOND | {"overlap": "skip", "callback_url": url}
        schedule_id = await create(first.consumer, **fields)
        await receiver.wait_arrivals(3)
        await first.consumer.ask("DELETE", f"/schedules/{schedule_id}")
        await first.consumer.wait_ended()
        skipped = [
            timer["last_error"]
            for timer in await timers_of(second.consumer, schedule_id, "canceled")
            if timer["last_error"]
        ]
        await first.stop()
        await second.stop()
    sent = sorted(arrival.at for arrival in receiver.arrivals)
    assert all(later - earlier >= 1.5 for earlier, later in zip(sent, sent[1:]))  # noqa: B905, RUF007
    assert skipped
    assert set(skipped) == {"skipped: an earlier occurrence was still under way"}


async def test_trigger_and_backfill_fire_beside_the_rule(
    service_database: str, receiver: ReceiverProcess
) -> None:
    async with service(DATABASE_URL=service_database) as served:
        rule = {"cron": "0 9 * * *", "timezone": "Europe/Berlin"}
        start = {"start_at": "2026-01-01T00:00:00Z"}
        schedule_id = await create(served.consumer, callback_url=receiver.url(), **rule, **start)
        await act(served.consumer, schedule_id, "trigger")
        body = {"from": "2026-03-28T00:00:00Z", "to": "2026-03-31T00:00:00Z", "limit": 10}
        answer = await served.consumer.ask("POST", f"/schedules/{schedule_id}/backfill", body)
        assert (answer.status, answer.data["created"]) == (201, 3)
        await receiver.wait_arrivals(4)
        await served.stop()
    # Summer time begins on the 29th.
    assert {
        "2026-03-28T08:00:00Z",
        "2026-03-29T07:00:00Z",
        "2026-03-30T07:00:00Z",
    } <= set(instants_of(receiver.arrivals))
    assert {one.headers["x-schedule-id"] for one in receiver.arrivals} == {schedule_id}
