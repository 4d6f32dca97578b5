"""Headers, payloads and answers in the database: encrypted, with one key after another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from ipaddress import ip_network
from typing import Any, Final
from uuid import UUID

import httpx
import psycopg
import pytest
import trio
from psycopg.sql import SQL, Identifier

from tests.contract.timers import ALICE
from tests.receivers import Received, Stream, read_request, receiver
from tests.replicas import api_client, replica_on, running
from timer_trio.config import Settings
from timer_trio.domain.addresses import AddressGuard
from timer_trio.domain.sealed import is_sealed
from timer_trio.domain.timer import TimerId
from timer_trio.storage.cipher import Cipher
from timer_trio.storage.migrations.taken import Connection
from timer_trio.storage.postgres import PostgresStorage
from timer_trio.storage.postgres import reencrypt as reencryption
from timer_trio.storage.postgres.database import KEY_LACKING
from timer_trio.storage.postgres.reencrypt import Progress, reencrypt
from timer_trio.transport import CallbackTransport

OLD: Final = "b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQtb2xkLW9sZC0="
NEW: Final = "bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3LW5ldy0="
LOOPBACK: Final = (ip_network("127.0.0.0/8"),)
PATIENCE_S: Final = 20
REFUSAL: Final = (
    b"HTTP/1.1 410 Gone\r\nX-Secret: marker-answer-header\r\nContent-Length: 18\r\n\r\n"
    b"marker-answer-body"
)
MARKERS: Final = {
    *("marker-header", "marker-payload", "marker-completed", "marker-failed"),
    *("marker-answer-header", "marker-answer-body"),
}
FAR: Final[dict[str, Any]] = {"delay": 9_999}
DAILY: Final[dict[str, Any]] = {"cron": "0 9 * * *", "timezone": "UTC"}


def secrets_at(url: str) -> dict[str, Any]:
    """What a timer holds that nobody is to read, sent to a receiver at `url`."""
    return {
        "callback_url": url,
        "callback_headers": {"X-Secret": "marker-header"},
        "callback_payload": {"secret": "marker-payload"},
        "on_completed": {"url": url, "headers": {"X-Secret": "marker-completed"}},
        "on_failed": {"url": url, "headers": {"X-Secret": "marker-failed"}},
    }


class Service:
    """A replica on the database, with a client, and what its receiver got."""

    def __init__(self, storage: PostgresStorage, client: httpx.AsyncClient, url: str) -> None:
        self.storage = storage
        self.client = client
        self.url = url
        self.received: list[Received] = []

    async def post(self, path: str, body: object, key: str | None = None) -> Any:
        headers = {} if key is None else {"Idempotency-Key": key}
        answer = await self.client.post(path, json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        return answer.json()["data"]

    async def get(self, path: str, status: int = 200) -> Any:
        answer = await self.client.get(path)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def wait_received(self, count: int) -> None:
        with trio.fail_after(PATIENCE_S):
            while len(self.received) < count:  # noqa: ASYNC110 - a probe
                await trio.sleep(0.01)

    async def wait_status(self, timer_id: str, status: str) -> None:
        with trio.fail_after(PATIENCE_S):
            while (await self.listed(timer_id))["status"] != status:  # noqa: ASYNC110 - a probe
                await trio.sleep(0.02)

    async def listed(self, timer_id: str) -> Any:
        page = (await self.get("/timers?limit=200"))["data"]["timers"]
        (timer,) = [each for each in page if each["id"] == timer_id]
        return timer


@asynccontextmanager
async def service(database_url: str, *keys: str) -> AsyncIterator[Service]:
    """Run a replica with these keys."""
    cipher = Cipher(keys)
    settings = Settings(callback_allow=LOOPBACK, loader_interval_s=0.5)

    async def refuses(stream: Stream) -> None:
        while request := await read_request(stream):
            served.received.append(request)
            await stream.send_all(REFUSAL)

    async with (
        receiver(refuses) as receiving,
        CallbackTransport(guard=AddressGuard(LOOPBACK)) as transport,
        PostgresStorage(database_url, pool_size=2, cipher=cipher) as storage,
    ):
        replica = replica_on(
            storage,
            transport,
            settings,
            prepare=storage.look_for_sealed,
            warnings=storage.warnings,
            encrypts=cipher.seals,
        )
        served = Service(storage, api_client(replica), receiving.url())
        async with running(replica):
            yield served


def dump(database_url: str) -> str:
    """Return all that stands in the database, as a copy of it would show it."""
    found: list[str] = []
    with psycopg.connect(database_url) as connection:
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p')"
            " AND relnamespace = 'public'::regnamespace"
        ).fetchall()
        for (table,) in tables:
            statement = SQL("SELECT t::text FROM {} AS t").format(Identifier(table))
            found += [row[0] for row in connection.execute(statement)]
    text = "\n".join(found)
    bodies = [marker for marker in MARKERS if marker.encode().hex() in text]
    return "\n".join([text, *bodies])


def markers_in(database_url: str) -> set[str]:
    text = dump(database_url)
    return {marker for marker in MARKERS if marker in text}


async def fill(served: Service) -> dict[str, str]:
    """Write secrets in each way there is; answers with the ids of some of what has them."""
    secrets = secrets_at(served.url)
    due = await served.post("/timers", {"delay": 0, "store_response": "all", **secrets})
    far = await served.post("/timers", {**FAR, **secrets})
    await served.post("/timers", {**FAR, **secrets, "key": "name"})
    await served.post("/timers", {**FAR, **secrets}, "a")
    await served.post("/timers/batch", {"timers": [{**FAR, **secrets}]})
    changed = await served.post("/timers", {**FAR, "callback_url": served.url})
    answer = await served.client.put(f"/timers/{changed['id']}", json=secrets)
    assert answer.status_code == 200, answer.text
    schedule = await served.post("/schedules", {**DAILY, **secrets}, "b")
    assert (await served.client.post(f"/schedules/{schedule['id']}/trigger")).status_code == 201
    await served.wait_received(4)  # the timer, the occurrence, and the results of both
    await served.wait_status(due["id"], "failed")
    return {
        "due": due["id"],
        "far": far["id"],
        "changed": changed["id"],
        "schedule": schedule["id"],
    }


async def check_shown(served: Service, ids: dict[str, str]) -> None:
    """Claim that all of it is shown as it was asked for."""
    secrets = secrets_at("")
    for timer_id in (ids["due"], ids["far"], ids["changed"]):
        shown = (await served.get(f"/timers/{timer_id}"))["data"]
        assert shown["callback_headers"] == secrets["callback_headers"]
        assert shown["callback_payload"] == secrets["callback_payload"]
        for name in ("on_completed", "on_failed"):
            assert shown[name]["headers"] == secrets[name]["headers"]
    (attempt,) = (await served.get(f"/timers/{ids['due']}/attempts"))["data"]["attempts"]
    assert attempt["response"]["body"] == "marker-answer-body"
    assert ["X-Secret", "marker-answer-header"] in attempt["response"]["headers"]
    shown = (await served.get(f"/schedules/{ids['schedule']}"))["data"]
    assert shown["callback_headers"] == secrets["callback_headers"]
    named = (await served.get("/timers/by-key/name"))["data"]
    assert named["callback_payload"] == secrets["callback_payload"]
    body = {**DAILY, **secrets_at(shown["callback_url"])}
    again = await served.post("/schedules", body, "b")
    assert again["callback_headers"] == secrets["callback_headers"]
    now = (await served.storage.beat(ALICE)).now
    first = await served.storage.first_answer("b", now)
    assert first is not None
    assert "marker-payload" in first.data


@pytest.mark.parametrize("keys", [(NEW,), (NEW, OLD), ()])
async def test_a_copied_database_shows_nothing_without_the_keys(
    database_url: str, keys: tuple[str, ...]
) -> None:
    async with service(database_url, *keys) as served:
        ids = await fill(served)
        assert {request.header(b"x-secret")[0] for request in served.received} == {
            b"marker-header",
            b"marker-failed",
        }
        assert any(request.body == b'{"secret":"marker-payload"}' for request in served.received)
        await check_shown(served, ids)
        assert served.storage.warnings() == []
    # Without keys it shows all of it: so it is looked for in the right way.
    assert markers_in(database_url) == (set() if keys else MARKERS)


async def test_plain_and_encrypted_rows_stand_side_by_side(database_url: str) -> None:
    async with service(database_url) as served:
        plain = await fill(served)
    async with service(database_url, NEW) as served:
        await check_shown(served, plain)
        secrets = secrets_at(served.url)
        later = await served.post("/timers", {**FAR, **secrets})
        # Half of it changed: the other half stays as it is.
        change = {"callback_headers": {"X": "y"}}
        answer = await served.client.put(f"/timers/{plain['far']}", json=change)
        assert answer.status_code == 200
    async with service(database_url, "plain", NEW) as served:
        shown = (await served.get(f"/timers/{later['id']}"))["data"]
        assert shown["callback_payload"] == secrets["callback_payload"]
        shown = (await served.get(f"/timers/{plain['far']}"))["data"]
        assert shown["callback_headers"] == {"X": "y"}
        assert shown["callback_payload"] == secrets["callback_payload"]


@pytest.mark.parametrize("keys", [(), (OLD,), ("plain", OLD)])
async def test_what_no_key_opens_fails_alone_and_in_words(
    database_url: str, keys: tuple[str, ...]
) -> None:
    async with service(database_url, NEW) as served:
        ids = await fill(served)
        secrets = secrets_at(served.url)
        due = await served.post("/timers", {"delay": 3, **secrets})
    async with service(database_url, *keys) as served:
        assert served.storage.warnings() == [KEY_LACKING]
        health = (await served.get("/health"))["data"]
        assert health["warnings"] == [KEY_LACKING]
        beside = {"delay": 0, "callback_url": served.url, "callback_payload": "beside"}
        await served.post("/timers", beside)
        await served.wait_status(due["id"], "failed")
        assert not served.received  # nothing goes out unsigned, and nobody can read the secret
        rotation = {"overlap_seconds": 0}
        rotated = await served.client.post("/signing-secrets/rotate", json=rotation)
        assert rotated.status_code == 200
        await served.wait_received(1)
        assert [request.body for request in served.received] == [b'"beside"']
        failed = await served.listed(due["id"])
        assert "add that key to ENCRYPTION_KEYS" in failed["last_error"]
        for path in (
            f"/timers/{ids['far']}",
            "/timers/by-key/name",
            f"/schedules/{ids['schedule']}",
        ):
            refused = await served.get(path, status=503)
            assert "add that key to ENCRYPTION_KEYS" in refused["message"]
        (attempt,) = (await served.get(f"/timers/{ids['due']}/attempts"))["data"]["attempts"]
        assert "add that key to ENCRYPTION_KEYS" in attempt["response"]["unreadable"]
        assert (attempt["response"]["headers"], attempt["response"]["body"]) == ([], "")
        body = {**DAILY, **secrets}
        refused = await served.client.post(
            "/schedules", json=body, headers={"Idempotency-Key": "b"}
        )
        assert refused.status_code == 503
        # What needs none of it goes on.
        (schedule,) = (await served.get("/schedules"))["data"]["schedules"]
        assert schedule["status"] == "active"
        assert (await served.client.delete("/timers/by-key/name")).status_code == 200
        path = f"/timers/{ids['far']}"
        assert (await served.client.put(path, json=secrets_at(served.url))).status_code == 200
        assert (await served.get(path))["data"]["callback_payload"] == secrets["callback_payload"]
    with psycopg.connect(database_url) as connection:
        assert not connection.execute("SELECT FROM schedules WHERE last_error <> ''").fetchall()


async def test_occurrences_of_a_schedule_that_nobody_can_read_are_planned_and_fail_alone(
    database_url: str,
) -> None:
    async with service(database_url, NEW) as served:
        body = {"every": 1, **secrets_at(served.url)}
        schedule = await served.post("/schedules", body)
        await served.wait_received(1)
    with psycopg.connect(database_url, autocommit=True) as connection:
        # As if its occurrences had to be planned anew.
        connection.execute("DELETE FROM timers WHERE status = 'pending'")
        connection.execute("UPDATE schedules SET plan_at = now(), planned_to = now()")
    async with service(database_url) as served:
        path = f"/timers?status=failed&schedule_id={schedule['id']}&limit=1"
        with trio.fail_after(PATIENCE_S):
            while True:
                (failed,) = (await served.get(path))["data"]["timers"]
                if "ENCRYPTION_KEYS" in failed["last_error"]:
                    break
                await trio.sleep(0.05)
        assert not served.received
    assert "marker" not in dump(database_url)


async def test_nothing_is_encrypted_while_a_replica_lives_that_cannot_read_it(
    database_url: str,
) -> None:
    old = (
        "INSERT INTO replicas (id, started_at, host, pid, version)"
        " VALUES (%s, now(), 'node-2', 8, '0.1.0')"
    )
    async with service(database_url, NEW) as served:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(old, [UUID(int=2)])
            for path, body in (
                ("/timers", {**FAR, "callback_url": served.url}),
                ("/timers/batch", {"timers": [{**FAR, "callback_url": served.url}]}),
            ):
                answer = await served.client.post(path, json=body)
                assert answer.status_code == 503
                assert "0.1.0 on node-2:8" in answer.json()["message"]
            connection.execute("DELETE FROM replicas WHERE host = 'node-2'")
        await served.post("/timers", {**FAR, "callback_url": served.url})


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as connecting:
        yield connecting


def totals(pages: Iterator[Progress]) -> dict[str, Progress]:
    counts: dict[str, Progress] = {}
    for page in pages:
        counts[page.table] = counts.get(page.table, Progress(page.table)).plus(page)
    return counts


def rewritten(connection: Connection, *keys: str) -> int:
    counts = totals(reencrypt(connection, Cipher(keys)))
    assert sum(count.left + count.unreadable for count in counts.values()) == 0
    return sum(count.rewritten for count in counts.values())


async def test_keys_are_rotated_and_taken_away_without_a_loss(
    database_url: str, connection: Connection
) -> None:
    async with service(database_url) as served:
        ids = await fill(served)
    assert markers_in(database_url) == MARKERS
    rows = rewritten(connection, OLD)
    assert rows > 10
    assert markers_in(database_url) == set()
    before = connection.execute("SELECT id, updated_at FROM timers ORDER BY id").fetchall()
    assert rewritten(connection, OLD) == 0
    async with service(database_url, OLD) as served:
        await check_shown(served, ids)
    assert rewritten(connection, NEW, OLD) == rows
    assert rewritten(connection, NEW, OLD) == rewritten(connection, NEW) == 0
    async with service(database_url, NEW) as served:
        await check_shown(served, ids)
    assert rewritten(connection, "plain", NEW) == rows
    after = connection.execute("SELECT id, updated_at FROM timers ORDER BY id").fetchall()
    assert after == before
    async with service(database_url) as served:
        await check_shown(served, ids)
    assert markers_in(database_url) == MARKERS


async def test_reencryption_goes_page_by_page(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reencryption, "PAGE_ROWS", 3)
    monkeypatch.setattr(reencryption, "PAGE_BYTES", 40)
    async with service(database_url) as served:
        secrets = secrets_at(served.url)
        for _ in range(3):
            await served.post("/timers/batch", {"timers": [{**FAR, **secrets}] * 7})
        for number in range(5):
            await served.post("/schedules", {**DAILY, **secrets}, str(number))
    counts = totals(reencrypt(connection, Cipher([NEW])))
    timers = connection.execute("SELECT count(*) FROM timers").fetchall()[0][0]
    assert counts["timers"].looked == counts["timers"].rewritten == timers
    assert (counts["schedules"].rewritten, counts["timer_keys"].rewritten) == (5, 5)
    assert markers_in(database_url) == set()


async def test_reencryption_waits_for_nobody_and_returns_to_what_was_locked(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reencryption, "ROUND_PAUSE_S", 0.01)
    monkeypatch.setattr(reencryption, "ROUNDS", 2)
    async with service(database_url) as served:
        secrets = secrets_at(served.url)
        locked = (await served.post("/timers", {**FAR, **secrets}))["id"]
        free = (await served.post("/timers", {**FAR, **secrets}))["id"]
    with psycopg.connect(database_url) as stranger:
        stranger.execute("SELECT FROM timers WHERE id = %s FOR UPDATE", [locked])
        pages = reencrypt(connection, Cipher([NEW]))
        counts = totals(pages)
        assert (counts["timers"].rewritten, counts["timers"].left) == (1, 1)
        pages = reencrypt(connection, Cipher([NEW]))
        assert next(pages).rewritten == 0
        stranger.rollback()
        assert totals(pages)["timers"] == Progress("timers", rewritten=1)
    with closing(PostgresStorage(database_url, pool_size=1)) as storage:
        for timer_id in (locked, free):
            timer = await storage.get(TimerId(UUID(timer_id)))
            assert is_sealed(timer.spec)


async def test_reencryption_leaves_what_changed_meanwhile(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with service(database_url) as served:
        timer_id = (await served.post("/timers", {**FAR, **secrets_at(served.url)}))["id"]
    reseal = reencryption._timer

    def meanwhile(row: Any, cipher: Cipher) -> Any:
        with psycopg.connect(database_url, autocommit=True) as other:
            other.execute("UPDATE timers SET callback_payload = '\"changed\"'")
        return reseal(row, cipher)

    table = reencryption._TABLES[0]._replace(reseal=meanwhile)
    page = reencryption._rewrite_page(connection, table, table.start, Cipher([NEW]))
    assert (page.rewritten, page.left) == (0, 1)
    monkeypatch.undo()
    assert rewritten(connection, NEW) == 2  # the timer, and what signs it
    with closing(PostgresStorage(database_url, pool_size=1, cipher=Cipher([NEW]))) as storage:
        timer = await storage.get(TimerId(UUID(timer_id)))
        assert timer.spec.callback.payload == '"changed"'


async def test_reencryption_tells_of_what_no_key_opens(
    database_url: str, connection: Connection
) -> None:
    async with service(database_url, OLD) as served:
        await served.post("/timers", {**FAR, **secrets_at(served.url)})
    async with service(database_url) as served:
        await served.post("/timers", {**FAR, **secrets_at(served.url)})
    counts = totals(reencrypt(connection, Cipher([NEW])))
    assert counts["timers"] == Progress("timers", looked=2, rewritten=1, unreadable=1)
