"""What an operator or a failover can do to a database while the service runs on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_network
from typing import Any, Final

import httpx
import psycopg
import pytest
import trio
from structlog.testing import capture_logs

from tests.replicas import api_client, replica_on, running
from tests.roles import documented_role
from timer_trio.config import Settings
from timer_trio.intake import intake
from timer_trio.storage.migrations.migrate import migrate_database
from timer_trio.storage.postgres import PostgresStorage
from timer_trio.testing.receiver import read_head
from timer_trio.transport import Answer, Permit, Request

ANYWHERE: Final = (ip_network("0.0.0.0/0"),)
PATIENCE_S: Final = 20


class Service:
    """A replica on a real database, its API, and a receiver that answers when it is told to."""

    def __init__(self, storage: PostgresStorage, url: str) -> None:
        self.times_fired: Counter[str] = Counter()
        self.may_answer = trio.Event()
        self.replica = replica_on(
            storage,
            Receiver(self),
            Settings(callback_allow=ANYWHERE, loader_interval_s=1),
            prepare=partial(migrate_database, url),
            trouble=storage.trouble,
        )
        self.client = api_client(self.replica)

    async def create(
        self, delay: float, metadata: Mapping[str, str] | None = None
    ) -> httpx.Response:
        timer = {
            "delay": delay,
            "callback_url": "http://192.0.2.1/",
            "timeout_seconds": 30,
            "metadata": metadata,
        }
        return await self.client.post("/timers", json=timer)

    async def created(self, delay: float) -> str:
        answer = await self.create(delay)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["data"]["id"])

    async def wait_fired(self, timer_id: str) -> None:
        with trio.fail_after(PATIENCE_S):
            while not self.times_fired[timer_id]:  # noqa: ASYNC110 - a probe
                await trio.sleep(0.02)

    async def wait_health(self, status: int) -> dict[str, Any]:
        with trio.fail_after(PATIENCE_S):
            while (  # noqa: ASYNC110 - a probe
                answer := await self.client.get("/health")
            ).status_code != status:
                await trio.sleep(0.02)
        data: dict[str, Any] = answer.json()["data"]
        return data

    async def wait_completed(self, timer_id: str) -> None:
        with trio.fail_after(PATIENCE_S):
            while True:
                answer = await self.client.get(f"/timers/{timer_id}")
                if answer.status_code == 200 and answer.json()["data"]["status"] == "completed":
                    return
                await trio.sleep(0.05)


class Receiver:
    def __init__(self, service: Service) -> None:
        self._service = service

    def begin(self, _request: Request, _permit: Permit) -> None:
        """Have no connection ready."""

    async def send(self, request: Request, permit: Permit) -> Answer:
        assert permit.may_send()
        self._service.times_fired[read_head(request)[2]["x-timer-id"]] += 1
        await self._service.may_answer.wait()
        return Answer(200, (), b"")


@asynccontextmanager
async def serving(url: str) -> AsyncIterator[Service]:
    async with PostgresStorage(url, pool_size=2) as storage:
        service = Service(storage, url)
        async with running(service.replica):
            yield service


@pytest.fixture
def owner(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def url(database_url: str) -> Iterator[str]:
    with documented_role(database_url, "timers_serve") as url:
        yield url


def raising(table: str, state: str) -> tuple[str, str]:
    """Let every write of a table fail with this SQLSTATE, and no longer."""
    spoil = (
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE 'no more of {table}' USING ERRCODE = '{state}'; END $$;"
        f"CREATE TRIGGER failing BEFORE INSERT OR UPDATE ON {table}"
        " FOR EACH STATEMENT EXECUTE FUNCTION fail()"
    )
    return spoil, "DROP FUNCTION fail CASCADE"


STATES: Final = {
    "rights on timers": (
        "REVOKE ALL ON timers FROM {role}",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON timers TO {role}",
        "permission denied for table timers",
    ),
    "rights on replicas": (
        "REVOKE ALL ON replicas FROM {role}",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON replicas TO {role}",
        "permission denied for table replicas",
    ),
    "no timers": (
        "ALTER TABLE timers RENAME TO elsewhere",
        "ALTER TABLE elsewhere RENAME TO timers",
        'relation "timers" does not exist',
    ),
    "no replicas": (
        "ALTER TABLE replicas RENAME TO elsewhere",
        "ALTER TABLE elsewhere RENAME TO replicas",
        'relation "replicas" does not exist',
    ),
    "no column": (
        "ALTER TABLE timers RENAME timeout_s TO patience",
        "ALTER TABLE timers RENAME patience TO timeout_s",
        "timeout_s",
    ),
    "row security": (
        "ALTER TABLE timers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        "ALTER TABLE timers DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
        "row-level security",
    ),
    **{
        f"{table} {state}": (*raising(table, state), f"no more of {table}")
        for table, state in [
            ("timers", "54000"),
            ("timers", "XX000"),
            ("timers", "0A000"),
            ("timers", "42601"),
            ("replicas", "54000"),
            ("replicas", "23514"),
        ]
    },
}


@pytest.mark.sampled(of=3)
@pytest.mark.parametrize("state", STATES)
async def test_state_of_the_database_is_waited_out(
    url: str, owner: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    spoil, mend, words = STATES[state]
    role = psycopg.conninfo.conninfo_to_dict(url)["user"]
    monkeypatch.setattr(intake, "CREATE_DEADLINE_S", 0.5)
    with capture_logs() as logs:
        async with serving(url) as service:
            sent = await service.created(0)
            await service.wait_fired(sent)
            falls_due = await service.created(1)
            owner.execute(spoil.format(role=role).encode())
            service.may_answer.set()
            if "replicas" not in state:
                answer = await service.create(3600)
                assert (answer.status_code, answer.json()["code"]) == (503, 1)
            data = await service.wait_health(503)
            assert data["status"] == "degraded"
            assert words in (await wait_reason(service))
            await trio.sleep(1.2)
            owner.execute(mend.format(role=role).encode())
            for timer_id in (sent, falls_due):
                await service.wait_completed(timer_id)
            assert "reason" not in await service.wait_health(200)
            await service.wait_completed(await service.created(0))
            assert service.times_fired[sent] == service.times_fired[falls_due] == 1
    failed = [line for line in logs if line["event"] == "statement_failed"]
    assert failed
    assert {line["log_level"] for line in failed} == {"error"}
    told = Counter((line["verb"], line["kind"]) for line in failed)
    assert set(told.values()) == {1}


BAD: Final = "the row that a trigger objects to"


def objecting(verb: str, state: str) -> str:
    """Let writes of one row fail with this SQLSTATE, in what `verb` does to it."""
    event, condition = {
        "create": ("INSERT", "true"),
        "claim": ("UPDATE", "NEW.status = 'executing'"),
        "settle": ("UPDATE", "OLD.status = 'executing'"),
    }[verb]
    return (
        "CREATE FUNCTION object() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE 'never' USING ERRCODE = '{state}'; END $$;"
        f"CREATE TRIGGER objecting BEFORE {event} ON timers FOR EACH ROW"
        f" WHEN (NEW.metadata->>'is' = '{BAD}' AND {condition}) EXECUTE FUNCTION object()"
    )


@pytest.mark.sampled(of=3)
@pytest.mark.parametrize("verb", ["create", "claim", "settle"])
@pytest.mark.parametrize("state", ["P0001", "XX001", "42883", "0A000", "23514"])
async def test_row_that_fails_alone_costs_no_other(
    url: str, owner: psycopg.Connection, verb: str, state: str
) -> None:
    owner.execute(objecting(verb, state).encode())
    async with serving(url) as service:
        service.may_answer.set()
        answers: list[httpx.Response] = []

        async def create(metadata: dict[str, str]) -> None:
            answers.append(await service.create(0.5, metadata))

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(create, {"is": BAD if number in {0, 1, 9} else "good"})
            # The bad ones are written again and again; where they are refused, as values, at once.
            with trio.fail_after(PATIENCE_S):
                while sum(answer.status_code == 201 for answer in answers) < 17:  # noqa: ASYNC110 - a probe
                    await trio.sleep(0.02)
            if verb == "create":
                nursery.cancel_scope.cancel()
        completed = 0
        with trio.fail_after(PATIENCE_S):
            while completed < 17:
                await trio.sleep(0.05)
                page = await service.client.get("/timers?status=completed")
                completed = page.json()["data"]["total"]
        await service.wait_health(200)
        owner.execute("DROP FUNCTION object CASCADE")
        assert max(service.times_fired.values()) == 1


async def wait_reason(service: Service) -> str:
    with trio.fail_after(PATIENCE_S):
        while "reason" not in (data := await service.wait_health(503)):  # noqa: ASYNC110 - a probe
            await trio.sleep(0.02)
    return str(data["reason"])
