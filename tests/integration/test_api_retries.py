# ruff: noqa: ARG001 - pytest-trio finds the clock of a test among its arguments
"""A failed callback is tried again as its policy says, and each attempt can be read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from timer_trio.testing import Callback, Reply, TimerService, start_timer_service

POLICY = {"delays": [2, 5], "max_attempts": 4, "jitter": 0}
ENDED = {"completed", "failed", "canceled"}


def replying(*replies: Reply | Exception) -> Callable[[Callback], Reply]:
    """Answer with one reply after another, and the last one again and again."""
    left = list(replies)

    def answer(_: Callback) -> Reply:
        reply = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(reply, Exception):
            raise reply
        return reply

    return answer


async def create(timers: TimerService, **fields: Any) -> str:
    wanted = {"delay": 60, "callback_url": "https://shop.example/hook", "retry": POLICY, **fields}
    answer = await timers.client.post("/timers", json=wanted)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["data"]["id"])


async def get(timers: TimerService, timer_id: str) -> Any:
    answer = await timers.client.get(f"/timers/{timer_id}")
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def wait_status(timers: TimerService, timer_id: str, *statuses: str) -> Any:
    while True:
        data = await get(timers, timer_id)
        if data["status"] in statuses:
            return data
        await trio.sleep(0.2)


async def attempts(timers: TimerService, timer_id: str) -> list[dict[str, Any]]:
    answer = await timers.client.get(f"/timers/{timer_id}/attempts")
    assert answer.status_code == 200, answer.text
    listed: list[dict[str, Any]] = answer.json()["data"]["attempts"]
    return listed


def offsets(timers: TimerService) -> list[float]:
    """When the callbacks were sent, in seconds from the instant of the timer."""
    start = timers.start + timedelta(seconds=60)
    return [round((each.sent_at - start).total_seconds(), 1) for each in timers.callbacks]


async def test_failed_callback_is_tried_again_until_it_is_delivered(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    timers = await start_timer_service(nursery, answer=replying(503, 500, 200))
    timer_id = await create(timers)
    waiting = await wait_status(timers, timer_id, "retrying")
    assert waiting["next_attempt_at"] is not None
    assert (waiting["http_status"], waiting["attempt"]) == (503, 1)
    assert waiting["last_error"] == "HTTP 503 from https://shop.example"
    data = await wait_status(timers, timer_id, *ENDED)
    assert (data["status"], data["attempt"], data["http_status"]) == ("completed", 3, 200)
    assert (data["next_attempt_at"], data["last_error"]) == (None, None)
    assert offsets(timers) == [0, 2, 7]
    assert [each.headers["x-timer-attempt"] for each in timers.callbacks] == ["1", "2", "3"]
    assert {each.headers["webhook-id"] for each in timers.callbacks} == {timer_id}
    listed = await attempts(timers, timer_id)
    assert [(each["attempt"], each["outcome"]) for each in listed] == [
        (3, "delivered"),
        (2, "rejected"),
        (1, "rejected"),
    ]


async def test_it_fails_when_its_budget_is_used_up(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    timers = await start_timer_service(nursery, answer=replying(503))
    timer_id = await create(timers)
    data = await wait_status(timers, timer_id, *ENDED)
    assert (data["status"], data["attempt"]) == ("failed", 4)
    assert offsets(timers) == [0, 2, 7, 12]


@pytest.mark.parametrize(
    "refusal", [410, httpx.Response(503, headers={"X-Timer-Retry": "no"})], ids=["410", "header"]
)
async def test_receiver_may_end_it(
    nursery: trio.Nursery, autojump_clock: MockClock, refusal: Reply
) -> None:
    timers = await start_timer_service(nursery, answer=replying(503, refusal))
    data = await wait_status(timers, await create(timers), *ENDED)
    assert (data["status"], data["attempt"]) == ("failed", 2)


async def test_receiver_may_ask_for_a_pause(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    busy = httpx.Response(503, headers={"Retry-After": "30"})
    timers = await start_timer_service(nursery, answer=replying(busy, 200))
    await wait_status(timers, await create(timers), *ENDED)
    assert offsets(timers) == [0, 30]


async def test_canceled_between_two_attempts_it_is_not_tried_again(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    timers = await start_timer_service(nursery, answer=replying(503))
    timer_id = await create(timers)
    await wait_status(timers, timer_id, "retrying")
    answer = await timers.client.delete(f"/timers/{timer_id}")
    assert (answer.status_code, answer.json()["data"]["status"]) == (200, "canceled")
    await trio.sleep(3600)
    assert len(timers.callbacks) == 1
    data = await get(timers, timer_id)
    assert (data["status"], data["next_attempt_at"]) == ("canceled", None)


@pytest.mark.parametrize(
    ("change", "sent"),
    [
        ({"callback_url": "https://other.example/"}, [0, 2]),
        ({"delay": 600, "callback_url": "https://other.example/"}, [0, 600]),
    ],
)
async def test_changed_between_two_attempts_the_next_one_sends_the_new_values(
    nursery: trio.Nursery, autojump_clock: MockClock, change: dict[str, Any], sent: list[float]
) -> None:
    timers = await start_timer_service(nursery, answer=replying(503, 200))
    timer_id = await create(timers)
    await wait_status(timers, timer_id, "retrying")
    answer = await timers.client.put(f"/timers/{timer_id}", json=change)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"]["status"] == "retrying"
    await wait_status(timers, timer_id, *ENDED)
    assert offsets(timers) == pytest.approx(sent, abs=0.5)
    assert timers.callbacks[-1].url == "https://other.example/"


async def test_without_a_policy_an_answer_is_final(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    timers = await start_timer_service(nursery, answer=replying(503))
    timer_id = await create(timers, retry=None)
    data = await wait_status(timers, timer_id, *ENDED)
    assert (data["status"], data["attempt"], data["retry"]) == ("failed", 1, None)


@pytest.mark.parametrize(
    ("store", "kept"),
    [("failures", [False, True]), ("all", [True, True]), ("none", [False, False])],
)
async def test_answers_are_kept_as_the_timer_asks(
    nursery: trio.Nursery, autojump_clock: MockClock, store: str, kept: list[bool]
) -> None:
    bad = httpx.Response(503, headers={"X-Reason": "busy"}, content=b"\xff\0")
    good = httpx.Response(200, content="grüße".encode())
    timers = await start_timer_service(nursery, answer=replying(bad, good))
    timer_id = await create(timers, store_response=store)
    data = await wait_status(timers, timer_id, *ENDED)
    assert data["store_response"] == store
    listed = await attempts(timers, timer_id)
    assert [each["response"] is not None for each in listed] == kept
    if kept[1]:
        response = listed[1]["response"]
        assert ["x-reason", "busy"] in [[n.lower(), v] for n, v in response["headers"]]
        assert (response["body"], response["body_encoding"]) == ("/wA=", "base64")
    if kept[0]:
        assert (listed[0]["response"]["body"], listed[0]["response"]["body_encoding"]) == (
            "grüße",
            "utf-8",
        )


async def test_delivered_first_attempt_is_listed(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    timers = await start_timer_service(nursery)
    timer_id = await create(timers)
    assert await attempts(timers, timer_id) == []
    await wait_status(timers, timer_id, "completed")
    (listed,) = await attempts(timers, timer_id)
    assert (listed["attempt"], listed["outcome"], listed["http_status"]) == (1, "delivered", 200)
    assert (listed["error"], listed["response"]) == (None, None)


async def test_attempts_of_nothing_are_not_found(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    timers = await start_timer_service(nursery)
    for timer_id in ("019bd3c0-0000-7000-8000-000000000000", "nonsense"):
        answer = await timers.client.get(f"/timers/{timer_id}/attempts")
        assert (answer.status_code, answer.json()["code"]) == (404, 3)


async def test_policy_is_told_whole_and_can_be_taken_away(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    timers = await start_timer_service(nursery)
    timer_id = await create(timers, retry={})
    data = await get(timers, timer_id)
    assert data["retry"] == {
        "max_attempts": 5,
        "initial_delay_seconds": 10,
        "factor": 2,
        "max_delay_seconds": 3600,
        "jitter": 0.2,
        "give_up_after_seconds": None,
    }
    await timers.client.put(f"/timers/{timer_id}", json={"retry": None})
    assert (await get(timers, timer_id))["retry"] is None
