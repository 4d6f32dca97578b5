"""Limits of flows, by services that are run as people run them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from tests.acceptance.client import Consumer
from tests.acceptance.database import FAST, KILLED, own_database
from tests.acceptance.receiver import Arrival, ReceiverProcess, now
from tests.acceptance.service import Service, service
from tests.acceptance.spans import Span, longest_gap, most_at_once, most_within

TAKEOVER_S: Final = 8.0
UNSETTLED_S: Final = 1.0
"""An outcome is written within 100 ms and a commit; a busy machine may take its time."""
LEAD_S: Final = 1.0
MANY: Final = 3_000
GOES_ON_S: Final = 3.0
"""Claimed one by one, what was canceled would take three times as long."""
EACH: Final = 3
"""Flows of each kind: replicas share them by their keys."""
FIVE: Final = 5
COUNT: Final = 20
PER_SECONDS: Final = 5
RULES: Final[Mapping[str, Mapping[str, Any]]] = {
    "order": {"max_in_flight": 1},
    "five": {"max_in_flight": FIVE},
    "rate": {"rate": {"count": COUNT, "per_seconds": PER_SECONDS}},
}
TIMERS: Final = {"order": 80, "five": 130, "rate": 45}
"""Of each flow, due at 30 a second: more than any of them lets through."""
ANSWER_S: Final = {"order": 0.1, "five": 0.3, "rate": 0.1}


@dataclass(slots=True)
class Fleet:
    """Services that come and go on one database; at most one of them is killed."""

    stack: AsyncExitStack
    database_url: str
    killed_s: float = inf

    async def join(self) -> Service:
        return await self.stack.enter_async_context(service(DATABASE_URL=self.database_url))

    async def kill(self, one: Service) -> None:
        await one.program.kill()
        self.killed_s = now().timestamp()


@asynccontextmanager
async def fleet(database_url: str) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        yield Fleet(stack, database_url)


async def put_flow(consumer: Consumer, key: str, **fields: Any) -> None:
    answer = await consumer.ask("PUT", f"/flows/{key}", fields)
    assert answer.status == 200, answer


async def create_flows(consumer: Consumer, receiver: ReceiverProcess, each: int) -> set[str]:
    """Limit so many flows of each kind, and create their timers."""
    timer_ids: set[str] = set()
    for kind, rules in RULES.items():
        for key in (f"{kind}-{place}" for place in range(each)):
            await put_flow(consumer, key, **rules)
            due_at = trio.current_time() + LEAD_S
            instants = [due_at + number / 30 for number in range(TIMERS[kind])]
            url = receiver.url(f"/tell/{ANSWER_S[kind]}/{key}")
            timer_ids |= await consumer.create_batch(instants, callback_url=url, flow_key=key)
    return timer_ids


async def test_limits_hold_while_replicas_come_and_go_and_one_is_killed(
    service_database: str, receiver: ReceiverProcess
) -> None:
    async with fleet(service_database) as replicas:
        first, second = await replicas.join(), await replicas.join()
        timer_ids = await create_flows(first.consumer, receiver, EACH)
        await receiver.wait_arrivals(60)
        third = await replicas.join()
        await receiver.wait_arrivals(200)
        await first.stop()
        fourth = await replicas.join()
        await receiver.wait_arrivals(350)
        await replicas.kill(second)
        await receiver.wait_fired(timer_ids)
        await third.consumer.wait_ended()
        assert await third.consumer.total("completed") == len(timer_ids)
        await third.stop()
        await fourth.stop()
    assert_limits_held(receiver, replicas.killed_s)


@pytest.mark.soak
async def test_limits_hold_over_restarts_of_the_database(
    folder: Path, receiver: ReceiverProcess
) -> None:
    async with own_database(folder) as database, fleet(database.url) as replicas:
        first, second = await replicas.join(), await replicas.join()
        timer_ids = await create_flows(first.consumer, receiver, 1)
        for how in (FAST, KILLED):
            await receiver.wait_arrivals(len(receiver.arrivals) + 60)
            await database.end(how)
            await database.launch()
        await receiver.wait_fired(timer_ids)
        await second.consumer.wait_ended()
        assert await second.consumer.total("completed") == len(timer_ids)
        await first.stop()
        await second.stop()
    assert_limits_held(receiver)


async def test_what_waits_for_a_limit_for_longer_than_its_grace_is_delivered(
    service_database: str, receiver: ReceiverProcess
) -> None:
    async with fleet(service_database) as replicas:
        first, second = await replicas.join(), await replicas.join()
        await put_flow(first.consumer, "order", max_in_flight=1)
        url = receiver.url("/tell/0.4/order")
        grace = {"misfire_grace_seconds": 1}
        fields = {"callback_url": url, "flow_key": "order", **grace}
        timer_ids = await second.consumer.create_batch([trio.current_time()] * 8, **fields)
        await first.consumer.wait_ended()
        assert await first.consumer.total("completed") == len(timer_ids)
        state = (await second.consumer.ask("GET", "/flows/order")).data
        assert (state["in_flight"], state["waiting"]) == (0, 0)
    assert most_at_once(spans_of(receiver, receiver.arrivals)) == 1


async def test_flow_of_which_thousands_were_canceled_goes_on_at_once(
    service_database: str, receiver: ReceiverProcess
) -> None:
    async with fleet(service_database) as replicas:
        one = await replicas.join()
        await put_flow(one.consumer, "order", max_in_flight=1)
        fields = {"callback_url": receiver.url("/tell/0.2/order"), "flow_key": "order"}
        for _ in range(MANY // 1_000):
            await one.consumer.create_batch([trio.current_time() + LEAD_S] * 1_000, **fields)
        await receiver.wait_arrivals(2)
        await cancel_flow(one, "order")
        last = await one.consumer.create(delay=0, **fields)
        with trio.fail_after(GOES_ON_S):
            await receiver.wait_fired([last])


async def cancel_flow(one: Service, key: str) -> None:
    body = {"action": "cancel", "filter": {"flow_key": key}}
    async with await one.connect() as stream:
        await stream.send_all(one.consumer._request("POST", "/timers/bulk", body))
        answer = b""
        while b'"done"' not in answer:
            answer += await stream.receive_some()


def assert_limits_held(receiver: ReceiverProcess, killed_s: float = inf) -> None:
    """Claim that each flow kept its limit; what a killed one had under way then ended with it."""
    in_doubt = {
        arrival.timer_id
        for arrival in receiver.arrivals
        if arrival.at <= killed_s < receiver.answered_at(arrival) + UNSETTLED_S
    }
    again = {timer_id for timer_id, times in receiver.times_fired.items() if times > 1}
    assert again <= in_doubt
    for key, arrivals in by_flow(receiver.arrivals).items():
        kind = key.partition("-")[0]
        at = [one.at for one in arrivals if one.timer_id not in again]
        if kind == "rate":
            assert most_within(at, PER_SECONDS) == COUNT, key
            continue
        spans = spans_of(receiver, arrivals, again, killed_s)
        assert most_at_once(spans) == RULES[kind]["max_in_flight"], key
        assert longest_gap([one.at for one in arrivals]) <= TAKEOVER_S, key
        if kind == "order":
            firsts = {one.timer_id: one.scheduled_s for one in reversed(arrivals)}
            assert [*firsts.values()] == sorted(firsts.values(), reverse=True), key


def spans_of(
    receiver: ReceiverProcess,
    arrivals: Iterable[Arrival],
    lost: Collection[str] = (),
    killed_s: float = inf,
) -> list[Span]:
    """Tell from when until when the receiver had callbacks, the lost ones up to the kill."""
    return [
        Span(
            arrival.at,
            min(receiver.answered_at(arrival), killed_s)
            if arrival.timer_id in lost and arrival.at <= killed_s
            else receiver.answered_at(arrival),
        )
        for arrival in arrivals
    ]


def by_flow(arrivals: Iterable[Arrival]) -> Mapping[str, Sequence[Arrival]]:
    """Divide callbacks by the last part of their paths, which names their flow."""
    flows: dict[str, list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        flows[arrival.path.rpartition("/")[2]].append(arrival)
    return flows
