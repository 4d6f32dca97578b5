from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
import trio

from tests.acceptance.client import instant
from tests.acceptance.receiver import Arrival, ReceiverProcess, now
from tests.acceptance.service import Service

pytestmark = pytest.mark.timed

TIMERS = 250
LEAD_S = 1.2
APART_S = 0.006
EARLIEST_S, LATEST_S = -0.2, 0.06
"""When the change is asked for, counted from the timer's instant."""


@dataclass(slots=True)
class Changed:
    """What was acknowledged of one timer, and the statuses that its changes were answered with."""

    timer_id: str
    payload: int
    execute_at: str
    answers: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Race:
    """Creates a timer, and changes it around its instant."""

    served: Service
    url: str
    chance: random.Random
    changed: list[Changed] = field(default_factory=list)

    async def run(self, how: str) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(TIMERS):
                nursery.start_soon(getattr(self, how), number)

    async def cancel(self, number: int) -> None:
        changed, due_at = await self._create(number)
        await trio.sleep_until(due_at + self.chance.uniform(EARLIEST_S, LATEST_S))
        answer = await self.served.consumer.ask("DELETE", f"/timers/{changed.timer_id}")
        changed.answers.append(answer.status)

    async def update(self, number: int) -> None:
        changed, due_at = await self._create(number)
        for attempt in (1, 2):
            await trio.sleep_until(due_at + self.chance.uniform(EARLIEST_S, LATEST_S))
            payload = number + attempt * TIMERS
            body: dict[str, Any] = {
                "callback_payload": payload,
                "callback_url": f"{self.url}{payload}",
            }
            if self.chance.random() < 0.5:
                body["execute_at"] = instant(due_at + attempt * 0.1 - trio.current_time())
            answer = await self.served.consumer.ask("PUT", f"/timers/{changed.timer_id}", body)
            changed.answers.append(answer.status)
            if answer.status == 200:
                changed.payload, changed.execute_at = payload, answer.data["execute_at"]

    async def _create(self, number: int) -> tuple[Changed, float]:
        """Create a timer, and tell when it is due by trio's clock."""
        body = {
            "delay": LEAD_S + number * APART_S,
            "callback_url": f"{self.url}{number}",
            "callback_payload": number,
        }
        answer = await self.served.consumer.ask("POST", "/timers", body)
        assert answer.status == 201, answer
        changed = Changed(answer.data["id"], number, answer.data["execute_at"])
        self.changed.append(changed)
        return changed, trio.current_time() + (at(changed.execute_at) - now()).total_seconds()


async def test_canceled_timer_never_fires_and_the_others_once(
    served: Service, receiver: ReceiverProcess
) -> None:
    race = Race(served, receiver.url(), random.Random())
    await race.run("cancel")
    await served.consumer.wait_ended()
    await served.stop()
    answers = {changed.timer_id: changed.answers for changed in race.changed}
    fired = {timer_id: receiver.times_fired[timer_id] for timer_id in answers}
    assert set(map(tuple, answers.values())) == {(200,), (400,)}
    assert fired == {timer_id: int(answers[timer_id] == [400]) for timer_id in answers}


async def test_what_fires_is_the_last_acknowledged_update(
    served: Service, receiver: ReceiverProcess
) -> None:
    race = Race(served, receiver.url(), random.Random())
    await race.run("update")
    await served.consumer.wait_ended()
    await served.stop()
    fired = {arrival.timer_id: facts(arrival) for arrival in receiver.arrivals}
    assert len(receiver.arrivals) == TIMERS
    assert {status for changed in race.changed for status in changed.answers} == {200, 400}
    assert fired == {
        changed.timer_id: (f"/{changed.payload}", str(changed.payload), at(changed.execute_at))
        for changed in race.changed
    }
    assert min(arrival.late_ms for arrival in receiver.arrivals) >= 0


def facts(arrival: Arrival) -> tuple[str, str, datetime]:
    return arrival.path, arrival.body, at(arrival.headers["x-timer-scheduled-at"])


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)
