"""POST /timers/{id}/redrive."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.api_under_test import START, ApiUnderTest, running_api, served_api
from timer_trio.domain.membership import Identity
from timer_trio.domain.timer import ReplicaId, Status, rfc3339

ENDS = pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.CANCELED])


async def ended(api: ApiUnderTest, status: Status) -> str:
    timer_id: str = (await api.create())["id"]
    if status is Status.CANCELED:
        await api.client.delete(f"/timers/{timer_id}")
        return timer_id
    await api.begin(timer_id)
    await api.end(timer_id, status, "HTTP 503 from https://example.com")
    return timer_id


async def redriven(api: ApiUnderTest, timer_id: str, **body: Any) -> Any:
    answer = await api.client.post(f"/timers/{timer_id}/redrive", **body)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


@ENDS
async def test_ended_timer_is_pending_again_and_due_now(status: Status) -> None:
    async with running_api() as api:
        timer_id = await ended(api, status)
        api.clock.advance(3_600)
        api.offered.clear()
        summary = await redriven(api, timer_id)
        now = START + timedelta(hours=1)
        assert (summary["id"], summary["status"]) == (timer_id, "pending")
        assert summary["execute_at"] == rfc3339(now)
        assert await api.get(timer_id) | summary == await api.get(timer_id)
        # It is fired at once, and not by the loader's next look.
        (offered,) = api.offered
        assert (str(offered.id), offered.due_at) == (timer_id, now)
        assert offered.lane.destination == "https://example.com:443"


@pytest.mark.parametrize(
    ("body", "after_s"),
    [
        ({"json": {}}, 0),
        ({"json": {"delay": 90}}, 90),
        ({"json": {"delay": "PT1H"}}, 3_600),
        ({"json": {"delay": 0}}, 0),
        ({"json": {"execute_at": "2030-01-02T00:00:00Z"}}, 86_400),
        ({"content": b""}, 0),
        ({"content": b"", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 0),
        ({"content": b"", "headers": {"Content-Type": "application/json"}}, 0),
    ],
)
async def test_body_says_when_it_is_due(body: Any, after_s: float) -> None:
    async with running_api() as api:
        timer_id = await ended(api, Status.FAILED)
        summary = await redriven(api, timer_id, **body)
        assert summary["execute_at"] == rfc3339(START + timedelta(seconds=after_s))


async def test_attempts_go_on_and_the_first_one_stays_in_sight() -> None:
    async with running_api() as api:
        timer_id = await ended(api, Status.COMPLETED)
        before = (await api.client.get(f"/timers/{timer_id}/attempts")).json()["data"]
        await redriven(api, timer_id)
        assert (await api.client.get(f"/timers/{timer_id}/attempts")).json()["data"] == before
        await api.begin(timer_id, claim=2)
        assert (await api.get(timer_id))["attempt"] == 2


async def test_last_error_stays_until_the_next_end() -> None:
    async with running_api() as api:
        timer_id = await ended(api, Status.FAILED)
        await redriven(api, timer_id)
        assert (await api.get(timer_id))["last_error"] == "HTTP 503 from https://example.com"


async def test_timer_that_has_not_ended_is_a_conflict_in_words() -> None:
    async with running_api() as api:
        timer_id = (await api.create())["id"]
        for status in ("pending", "executing"):
            answer = await api.client.post(f"/timers/{timer_id}/redrive")
            assert answer.status_code == 409
            words = f"cannot redrive timer with status '{status}'"
            assert answer.json() == {"code": 5, "message": words, "data": None}
            if status == "pending":
                await api.begin(timer_id)


async def test_nothing_is_redriven_as_long_as_an_older_replica_lives() -> None:
    async with running_api() as api:
        timer_id = await ended(api, Status.FAILED)
        older = ReplicaId(UUID(int=9))
        await api.storage.join(older, START, Identity(host="a", pid=1, version="0.1.0"))
        answer = await api.client.post(f"/timers/{timer_id}/redrive")
        assert answer.status_code == 503
        assert "0.1.0 on a:1" in answer.json()["message"]
        assert (await api.get(timer_id))["status"] == "failed"
        await api.storage.sweep(older, None, START)
        await redriven(api, timer_id)


async def test_a_bare_post_over_a_real_socket_redrives() -> None:
    async with served_api() as (api, url), httpx.AsyncClient() as client:
        timer_id = await ended(api, Status.FAILED)
        answer = await client.post(
            f"{url}/timers/{timer_id}/redrive", headers={"X-API-Key": "k" * 32}
        )
        assert (answer.status_code, answer.json()["data"]["status"]) == (200, "pending")
