"""Callbacks that fail and are tried again, by a service that is run as people run it."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import trio

from tests.acceptance.receiver import Arrival, ReceiverProcess
from tests.acceptance.service import Service, service

TIMERS = 300
QUICK = {"delays": [0.2], "max_attempts": 5, "jitter": 0}
CLOCK_S = 0.1
"""By so much the service may set its clock ahead meanwhile: a heartbeat that is answered sooner
than the first tells the time better."""


async def attempts(served: Service, timer_id: str) -> list[dict[str, Any]]:
    answer = await served.consumer.ask("GET", f"/timers/{timer_id}/attempts")
    assert answer.status == 200, answer
    listed: list[dict[str, Any]] = answer.data["attempts"]
    return listed


def gaps_s(arrivals: list[Arrival]) -> list[float]:
    return [later.at - earlier.at for earlier, later in pairwise(arrivals)]


def pauses(told: list[dict[str, Any]]) -> list[tuple[datetime, datetime]]:
    """Tell from when to when each pause lasted by the service's own clock, the last one first.

    What it tells of a callback's length is rounded to a millisecond.
    """
    began = [datetime.fromisoformat(each["started_at"]) for each in told]
    took = [timedelta(milliseconds=each["duration_ms"] - 0.5) for each in told]
    return [(began[n] + took[n], began[n - 1]) for n in range(1, len(told))]


async def test_receiver_that_asks_for_a_pause_gets_it(
    service_database: str, receiver: ReceiverProcess
) -> None:
    async with service(DATABASE_URL=service_database) as served:
        url = receiver.url("/fail/2/503/Retry-After/2")
        timer_id = await served.consumer.create(delay=0, callback_url=url, retry=QUICK)
        await served.consumer.wait_ended()
        timer = await served.consumer.get(timer_id)
        assert (timer["status"], timer["attempt"], timer["http_status"]) == ("completed", 3, 200)
        told = await attempts(served, timer_id)
        assert [each["outcome"] for each in told] == ["delivered", "rejected", "rejected"]
        assert all(begins - ends >= timedelta(seconds=2) for ends, begins in pauses(told))
        await served.stop()
    fired = list(receiver.arrivals)
    assert [each.attempt for each in fired] == [1, 2, 3]
    assert len({each.headers["webhook-id"] for each in fired}) == 1
    assert [gap_s for gap_s in gaps_s(fired) if not 2 - CLOCK_S <= gap_s < 3] == []


@pytest.mark.parametrize("path", ["/fail/9/410", "/fail/9/503/X-Timer-Retry/no"])
async def test_receiver_that_wants_no_more_gets_no_more(
    service_database: str, receiver: ReceiverProcess, path: str
) -> None:
    async with service(DATABASE_URL=service_database) as served:
        url = receiver.url(path)
        timer_id = await served.consumer.create(delay=0, callback_url=url, retry=QUICK)
        await served.consumer.wait_ended()
        timer = await served.consumer.get(timer_id)
        assert (timer["status"], timer["attempt"]) == ("failed", 1)
        (only,) = await attempts(served, timer_id)
        assert only["response"]["body"] == "sorry"
        await served.stop()


async def test_at_most_once_is_tried_again_only_if_nothing_was_sent(
    service_database: str, receiver: ReceiverProcess
) -> None:
    async with service(DATABASE_URL=service_database) as served:
        once = {"delay": 0, "delivery": "at_most_once", "retry": QUICK}
        reset = await served.consumer.create(callback_url=receiver.url("/reset"), **once)
        refused = await served.consumer.create(callback_url="http://127.0.0.1:1/", **once)
        await served.consumer.wait_ended()
        assert (await served.consumer.get(reset))["attempt"] == 1
        assert (await served.consumer.get(refused))["attempt"] == QUICK["max_attempts"]
        await served.stop()
    assert receiver.times_fired[reset] == 1


async def test_killed_amid_retries_it_keeps_their_budgets(
    service_database: str, receiver: ReceiverProcess
) -> None:
    async with service(DATABASE_URL=service_database) as first:
        due_at = trio.current_time() + 1
        timer_ids = await first.consumer.create_many(
            [due_at + i / TIMERS for i in range(TIMERS)],
            callback_url=receiver.url("/fail/3/503"),
            retry=QUICK,
        )
        await receiver.wait_arrivals(2 * TIMERS)
        await first.program.kill()
    async with service(DATABASE_URL=service_database) as second:
        await second.consumer.wait_ended()
        for timer_id in timer_ids:
            timer = await second.consumer.get(timer_id)
            listed = await attempts(second, timer_id)
            unknown = sum(each["outcome"] == "unknown" for each in listed)
            assert timer["status"] == "completed", timer
            assert timer["attempt"] <= QUICK["max_attempts"] + unknown
            assert [each["attempt"] for each in listed] == [*range(timer["attempt"], 0, -1)]
            assert receiver.times_fired[timer_id] <= timer["attempt"]
        await second.stop()
