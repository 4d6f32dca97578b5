"""POST /timers/bulk."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import trio
from structlog.testing import capture_logs

from tests.api_under_test import API_KEY, START, ApiUnderTest, running_api, served_api
from timer_trio.api.routes.bulk import MAX_BULKS
from timer_trio.domain import bulk as domain_bulk
from timer_trio.domain.bulk import BulkPage, BulkReply
from timer_trio.domain.errors import ContentionError, RowRefusedError, StorageUnavailableError
from timer_trio.domain.membership import Identity
from timer_trio.domain.timer import ReplicaId, rfc3339

NOW = rfc3339(START)


async def bulk(api: ApiUnderTest, action: str, filters: Any, **more: Any) -> list[Any]:
    """Do a bulk action; answers with the lines of its answer."""
    body = {"action": action, "filter": filters, **more}
    answer = await api.client.post("/timers/bulk", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


async def counts(api: ApiUnderTest, action: str, filters: Any, **more: Any) -> tuple[int, int, int]:
    """Do a bulk action; answers with how many matched, were done and were skipped."""
    last = (await bulk(api, action, filters, **more))[-1]
    assert (last["code"], last["message"]) == (0, "success")
    assert set(last["data"]) == {"matched", "done", "skipped"}
    return last["data"]["matched"], last["data"]["done"], last["data"]["skipped"]


async def made(api: ApiUnderTest, count: int, **fields: Any) -> list[str]:
    timers = [{"delay": 60, "callback_url": "https://example.com/hook", **fields}] * count
    answer = await api.client.post("/timers/batch", json={"timers": timers})
    return [timer["id"] for timer in answer.json()["data"]["timers"]]


async def statuses(api: ApiUnderTest, ids: Sequence[str]) -> list[str]:
    return [(await api.get(timer_id))["status"] for timer_id in ids]


async def test_cancel_tells_the_instant_first_and_the_counts_last() -> None:
    async with running_api() as api:
        ids = await made(api, 3)
        api.clock.advance(1)
        lines = await bulk(api, "cancel", {"status": "pending"})
        assert lines == [
            {"as_of": rfc3339(START + timedelta(seconds=1))},
            {
                "code": 0,
                "message": "success",
                "data": {"matched": 3, "done": 3, "skipped": 0},
            },
        ]
        assert await statuses(api, ids) == ["canceled"] * 3


async def test_each_action_does_what_it_says() -> None:
    async with running_api() as api:
        ids = await made(api, 2, metadata={"customer": "c-17", "vip": True, "n": 5})
        await made(api, 1)
        found = {"metadata.customer": "c-17"}
        assert await counts(api, "delete", found) == (2, 0, 2)
        assert await counts(api, "cancel", found) == (2, 2, 0)
        api.clock.advance(1)
        api.offered.clear()
        assert await counts(api, "redrive", found) == (2, 2, 0)
        assert {str(timer.id) for timer in api.offered} == set(ids)
        assert await statuses(api, ids) == ["pending"] * 2
        api.clock.advance(1)
        assert await counts(api, "cancel", {"metadata.vip": True, "metadata.n": 5}) == (2, 2, 0)
        api.clock.advance(1)
        assert await counts(api, "delete", {"status": "canceled"}) == (2, 2, 0)
        assert (await api.client.get("/timers")).json()["data"]["total"] == 1


async def test_filters_are_those_of_the_list() -> None:
    async with running_api() as api:
        near = await made(api, 1, delay=10)
        await made(api, 2, delay=1_000)
        before = rfc3339(START + timedelta(seconds=100))
        assert await counts(api, "cancel", {"execute_after": before}, dry_run=True) == (2, 2, 0)
        assert await counts(api, "cancel", {"execute_before": before}) == (1, 1, 0)
        assert await statuses(api, near) == ["canceled"]


async def test_rate_spaces_what_is_redriven() -> None:
    async with running_api() as api:
        ids = await made(api, 5)
        await counts(api, "cancel", {"status": "pending"})
        api.clock.advance(10)
        assert await counts(api, "redrive", {"status": "canceled"}, rate_per_second=4) == (5, 5, 0)
        instants = sorted([(await api.get(timer_id))["execute_at"] for timer_id in ids])
        assert instants == sorted(rfc3339(START + timedelta(seconds=10 + n / 4)) for n in range(5))


async def test_limit_is_kept_and_dry_run_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain_bulk, "PAGE_ROWS", 2)
    async with running_api() as api:
        ids = await made(api, 7)
        pending = {"status": "pending"}
        assert await counts(api, "cancel", pending, limit=5, dry_run=True) == (5, 5, 0)
        assert await statuses(api, ids) == ["pending"] * 7
        assert await counts(api, "cancel", pending, limit=5) == (5, 5, 0)
        assert sorted(await statuses(api, ids)) == ["canceled"] * 5 + ["pending"] * 2


async def test_repeated_as_of_goes_on_where_the_first_one_ended() -> None:
    async with running_api() as api:
        await made(api, 3)
        pending = {"status": "pending"}
        lines = await bulk(api, "cancel", pending, limit=2)
        api.clock.advance(5)
        late = await made(api, 1)
        again = await bulk(api, "cancel", pending, as_of=lines[0]["as_of"])
        assert again[0] == lines[0]
        assert again[-1]["data"] == {"matched": 1, "done": 1, "skipped": 0}
        assert await statuses(api, late) == ["pending"]


async def test_redriven_and_failed_again_is_not_redriven_by_the_same_action() -> None:
    async with running_api() as api:
        ids = await made(api, 1)
        await counts(api, "cancel", {"status": "pending"})
        api.clock.advance(1)
        lines = await bulk(api, "redrive", {"status": "canceled"})
        api.clock.advance(1)
        await api.client.delete(f"/timers/{ids[0]}")
        again = await bulk(api, "redrive", {"status": "canceled"}, as_of=lines[0]["as_of"])
        assert again[-1]["data"] == {"matched": 0, "done": 0, "skipped": 0}
        assert await statuses(api, ids) == ["canceled"]


class Slow:
    """Makes each page of the storage take its time, or fail."""

    def __init__(self, api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pages = 0
        self.seconds = 0.0
        self.error: Exception | None = None
        self._do: Callable[..., Awaitable[BulkReply]] = api.storage.bulk
        monkeypatch.setattr(domain_bulk, "PAGE_ROWS", 1)
        monkeypatch.setattr(api.storage, "bulk", self._bulk)

    async def _bulk(self, page: BulkPage, now: Any) -> BulkReply:
        self.pages += 1
        if self.error and self.pages > 1:
            raise self.error
        await trio.sleep(self.seconds)
        return await self._do(page, now)


async def test_progress_is_told_each_second_and_work_pauses_as_long_as_it_takes(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock
    async with running_api() as api:
        await made(api, 3)
        slow = Slow(api, monkeypatch)
        slow.seconds = 0.8
        began = trio.current_time()
        lines = await bulk(api, "cancel", {"status": "pending"})
        # Three full pages, and one that finds no more.
        assert trio.current_time() - began == pytest.approx(4 * 1.6, abs=1.0)
        assert lines[1] == {"as_of": NOW, "matched": 1, "done": 1, "skipped": 0}
        assert [line["done"] for line in lines[1:-1]] == [1, 1, 2, 2, 3, 3]
        assert lines[-1]["data"]["done"] == 3


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (StorageUnavailableError("gone"), 1, "the database cannot be reached: repeat it"),
        (ContentionError("held"), 1, "somebody locks the table: repeat it"),
        (RowRefusedError("no"), 2, "the database refuses a value of the filter"),
        (RuntimeError("bug"), 1, "internal error: repeat it"),
    ],
)
async def test_what_ends_it_is_told_with_what_is_done(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, words: str
) -> None:
    async with running_api() as api:
        ids = await made(api, 2)
        Slow(api, monkeypatch).error = error
        with capture_logs():
            last = (await bulk(api, "cancel", {"status": "pending"}))[-1]
        assert last["code"] == code
        assert last["message"].startswith(words)
        assert last["data"] == {"as_of": NOW, "matched": 1, "done": 1, "skipped": 0}
        assert sorted(await statuses(api, ids)) == ["canceled", "pending"]


async def test_stop_of_the_service_ends_it_in_words() -> None:
    async with running_api() as api:
        await made(api, 2)
        api.stopping.set()
        last = (await bulk(api, "cancel", {"status": "pending"}))[-1]
        assert last["message"] == "the service stops: repeat it with the same as_of to go on"
        assert last["data"]["done"] == 0


async def test_as_many_as_may_run_and_no_more(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock
    async with running_api() as api:
        await made(api, 1)
        Slow(api, monkeypatch).seconds = 5.0
        codes: list[int] = []

        async def run() -> None:
            codes.append((await bulk(api, "cancel", {"status": "pending"}))[-1]["code"])

        async with trio.open_nursery() as nursery:
            for _ in range(MAX_BULKS):
                nursery.start_soon(run)
            await trio.sleep(1)
            body = {"action": "cancel", "filter": {"status": "pending"}}
            refused = await api.client.post("/timers/bulk", json=body)
            assert refused.status_code == 503
            assert "4 bulk actions are under way" in refused.json()["message"]
        assert codes == [0] * MAX_BULKS
        await run()


async def test_who_leaves_stops_it_and_what_is_done_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served_api() as (api, url):
        ids = await made(api, 50)
        slow = Slow(api, monkeypatch)
        slow.seconds = 0.05
        body = b'{"action": "cancel", "filter": {"status": "pending"}}'
        head = (
            f"POST /timers/bulk HTTP/1.1\r\nHost: x\r\nX-API-Key: {API_KEY}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with capture_logs() as logs:
            port = int(url.rpartition(":")[2])
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(head.encode() + body)
                answer = b""
                while b'"done"' not in answer:
                    answer += await stream.receive_some()
            with trio.fail_after(5):
                while not [log for log in logs if log["event"] == "bulk_ended"]:  # noqa: ASYNC110
                    await trio.sleep(0.01)
        pages = slow.pages
        await trio.sleep(0.3)
        assert slow.pages == pages < 50
        canceled = (await statuses(api, ids)).count("canceled")
        (ended,) = [log for log in logs if log["event"] == "bulk_ended"]
        assert (ended["ending"], ended["done"]) == ("disconnected", canceled)


async def test_redrive_waits_until_no_older_replica_lives_and_cancel_does_not() -> None:
    async with running_api() as api:
        await made(api, 1)
        older = ReplicaId(UUID(int=9))
        await api.storage.join(older, START, Identity(host="a", pid=1, version="0.1.0"))
        assert await counts(api, "cancel", {"status": "pending"}) == (1, 1, 0)
        body = {"action": "redrive", "filter": {"status": "canceled"}}
        answer = await api.client.post("/timers/bulk", json=body)
        assert answer.status_code == 503
        assert "0.1.0 on a:1" in answer.json()["message"]


async def test_nothing_begins_while_the_database_is_away() -> None:
    async with running_api() as api:
        api.health.database_connected = False
        body = {"action": "cancel", "filter": {"status": "pending"}}
        assert (await api.client.post("/timers/bulk", json=body)).status_code == 503
