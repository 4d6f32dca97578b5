"""Pauses and breakers, by services that are run as people run them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import datetime
from functools import partial
from itertools import pairwise
from typing import Any, Final

import trio

from tests import receivers
from tests.acceptance.client import Consumer
from tests.acceptance.processes import PATIENCE_S
from tests.acceptance.receiver import ReceiverProcess, now, receiver_process
from tests.acceptance.service import API_KEY, Service, service
from tests.acceptance.spans import Span, most_at_once

HOLDS_S: Final = 5.0
"""After its answer a pause holds on all replicas."""
WATCHED_S: Final = 1.5
LEAD_S: Final = 0.5
GRACE: Final = {"misfire_grace_seconds": 1}
SPREAD_S: Final = 9.0
"""Until some time after the pauses hold."""
PER_SECOND: Final = 20


async def do(consumer: Consumer, method: str, path: str, body: object = None) -> Any:
    answer = await consumer.ask(method, path, body)
    assert answer.status in {200, 201}, answer
    return answer.data


async def create_spread(consumer: Consumer, url: str, **fields: Any) -> set[str]:
    """Create timers of little grace, due all the time that a test takes."""
    due_at = trio.current_time() + LEAD_S
    instants = [due_at + number / PER_SECOND for number in range(int(SPREAD_S * PER_SECOND))]
    return await consumer.create_batch(instants, callback_url=url, **GRACE, **fields)


def begun(receiver: ReceiverProcess, path: str, since_s: float) -> int:
    return sum(one.path == path and one.at >= since_s for one in receiver.arrivals)


async def test_pauses_hold_on_all_replicas_and_what_waited_is_not_missed(
    service_database: str, receiver: ReceiverProcess
) -> None:
    replica = partial(service, DATABASE_URL=service_database)
    async with receiver_process() as other, replica() as first, replica() as second:
        here, there = first.consumer, second.consumer
        await do(here, "POST", "/projects", {"name": "shop"})
        shop_here, shop_there = (Consumer(API_KEY, each.port, "shop") for each in (here, there))
        flow = await create_spread(here, receiver.url("/flow"), flow_key="held")
        free = await create_spread(here, receiver.url("/free"), flow_key="free")
        destination = await create_spread(here, other.url("/destination"))
        project = await create_spread(shop_there, receiver.url("/project"))
        await receiver.wait_arrivals(30)
        await other.wait_arrivals(10)
        place = {"destination": other.url("")}
        await do(here, "PUT", "/flows/held", {"paused": True})
        await do(there, "POST", "/destinations/pause", place)
        await do(shop_here, "POST", "/pause")
        held_s = now().timestamp() + HOLDS_S
        await trio.sleep(HOLDS_S + WATCHED_S)
        assert begun(receiver, "/free", held_s) > 0
        assert begun(receiver, "/flow", held_s) == 0
        assert begun(other, "/destination", held_s) == 0
        assert begun(receiver, "/project", held_s) == 0
        assert (await do(there, "GET", "/flows/held"))["paused"]
        told = await seen(there, place["destination"], lambda told: told["waiting"] > 0)
        assert told["paused"]
        await do(there, "PUT", "/flows/held", {"paused": False})
        await do(here, "POST", "/destinations/resume", place)
        await do(shop_there, "POST", "/resume")
        await receiver.wait_fired(flow | free | project)
        await other.wait_fired(destination)
        for consumer, created in ((here, flow | free | destination), (shop_here, project)):
            await consumer.wait_ended()
            assert await consumer.total("completed") == len(created)
            consumer.close()
        shop_there.close()


async def test_start_paused_sends_nothing_until_it_is_resumed(
    service_database: str, receiver: ReceiverProcess
) -> None:
    async with service(DATABASE_URL=service_database, START_PAUSED="true") as served:
        fields = {"callback_url": receiver.url(), **GRACE}
        timer_ids = await served.consumer.create_batch([trio.current_time()] * 20, **fields)
        await trio.sleep(2)
        assert not receiver.arrivals
        assert await served.consumer.total("pending") == len(timer_ids)
        await do(served.consumer, "POST", "/resume")
        await receiver.wait_fired(timer_ids)
        await served.consumer.wait_ended()
        assert await served.consumer.total("completed") == len(timer_ids)


FAILURES: Final = 3
OPEN_S: Final = 2.0
ANSWER_S: Final = 0.3


async def test_breaker_probes_a_destination_that_is_away_and_closes_when_it_is_back(
    served: Service,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    consumer = served.consumer
    breaker = {"failures": FAILURES, "open_seconds": OPEN_S}
    await do(consumer, "PUT", "/projects/default", {"breaker": breaker})
    due_at = trio.current_time() + LEAD_S
    url = f"http://127.0.0.1:{port}/"
    # Further apart than claims begin ahead: what is claimed when the breaker opens goes out still.
    instants = [*(due_at + number / 3 for number in range(FAILURES)), *[due_at + 2] * 30]
    timer_ids = await consumer.create_batch(instants, callback_url=url)
    place = url.rstrip("/")
    await seen(consumer, place, lambda told: told["breaker"]["state"] != "closed")
    spans: list[Span] = []

    async def answers_slowly(stream: receivers.Stream) -> None:
        while await receivers.read_request(stream):
            begin_s = trio.current_time()
            await trio.sleep(ANSWER_S)
            spans.append(Span(begin_s, trio.current_time()))
            await stream.send_all(receivers.OK)

    async with receivers.receiver(answers_slowly, port=port):
        await consumer.wait_ended()
        failed = await consumer.total("failed")
        assert await consumer.total("completed") == len(timer_ids) - failed
        counts = {"unreachable": failed, "delivered": len(timer_ids) - failed}
        told = await seen(consumer, place, lambda told: counts.items() <= told["last_hour"].items())
        assert (told["breaker"]["state"], told["waiting"], told["in_flight"]) == ("closed", 0, 0)
    probe, *others = sorted(spans)
    assert min(one.begin_s for one in others) >= probe.end_s
    assert most_at_once(others) > 1
    probes_s = sent_s(served)[FAILURES - 1 : failed]
    assert min(later - earlier for earlier, later in pairwise(probes_s)) >= OPEN_S


async def seen(
    consumer: Consumer, destination: str, is_wanted: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Ask until a destination is told of as it should be."""
    with trio.fail_after(PATIENCE_S):
        while True:
            told = (await do(consumer, "GET", "/destinations"))["destinations"]
            found: dict[str, dict[str, Any]] = {each["destination"]: each for each in told}
            if destination in found and is_wanted(found[destination]):
                return found[destination]
            await trio.sleep(0.1)


def sent_s(served: Service) -> list[float]:
    """Tell when each callback was sent, in the order of their ends."""
    return [
        datetime.fromisoformat(line["scheduled"]).timestamp() + line["late_ms"] / 1000
        for line in served.logged("fired")
    ]
