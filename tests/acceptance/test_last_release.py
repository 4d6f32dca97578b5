from __future__ import annotations

from functools import partial
from pathlib import Path

import psycopg
import pytest
import trio

from tests.acceptance import last_release
from tests.acceptance.conftest import as_url
from tests.acceptance.processes import running
from tests.acceptance.receiver import ReceiverProcess
from tests.acceptance.service import API_KEY, Service, service
from timer_trio import __version__

LEAD_S = 1.0


@pytest.fixture
def old_source(tmp_path: Path) -> str:
    return last_release.unpack_last_release(tmp_path)


def version_of(served: Service) -> object:
    (started,) = served.logged("starting")
    return started["version"]


async def create(served: Service, receiver: ReceiverProcess) -> set[str]:
    due_at = trio.current_time() + LEAD_S
    instants = [due_at + i / 100 for i in range(100)]
    return await served.consumer.create_many(instants, callback_url=receiver.url())


def errors(served: Service) -> list[object]:
    return [line for line in served.log if line["level"] not in {"debug", "info", "warning"}]


async def test_replicas_of_the_last_release_go_on_beside_one_that_migrates(
    empty_database_url: str, old_source: str, receiver: ReceiverProcess
) -> None:
    # Each reads what the other has created long before it is due, so that both claim everything.
    replica = partial(service, DATABASE_URL=as_url(empty_database_url), LOADER_INTERVAL="0.2")
    old_replica = partial(replica, program=last_release.SERVE, PYTHONPATH=old_source)
    async with old_replica() as old:
        timer_ids = await create(old, receiver)
        async with replica() as new:
            assert (version_of(old), version_of(new)) == (last_release.VERSION, __version__)
            assert new.logged("migrated")
            for served in (old, new):
                timer_ids |= await create(served, receiver)
            retried = {"delay": 0, "callback_url": receiver.url(), "retry": {}}
            refused = await new.consumer.ask("POST", "/timers", retried)
            assert (refused.status, refused.headers["retry-after"]) == (503, "1")
            assert f"({last_release.VERSION} on " in refused.body["message"]
            await receiver.wait_fired(timer_ids)
            for served in (old, new):
                await served.consumer.wait_ended()
                assert await served.consumer.total("completed") == len(timer_ids)
                assert served.logged("fired")
            left_behind = await create(old, receiver)
            await old.stop()
            await receiver.wait_fired(left_behind)
            left_behind.add(await new.consumer.create(**retried))
            await receiver.wait_fired(left_behind)
            await new.consumer.wait_ended()
            await new.stop()
            assert errors(old) == errors(new) == []
    assert receiver.times_fired == dict.fromkeys(timer_ids | left_behind, 1)


async def test_replica_of_the_last_release_does_not_join_on_a_newer_schema(
    empty_database_url: str, old_source: str, receiver: ReceiverProcess
) -> None:
    url = as_url(empty_database_url)
    async with service(DATABASE_URL=url) as new:
        timer_ids = await create(new, receiver)
        environ = {"DATABASE_URL": url, "API_KEY": API_KEY, "PORT": "0", "PYTHONPATH": old_source}
        async with running(*last_release.SERVE, environ=environ) as old:
            assert await old.wait_ended() == 2
            assert "newer than this version of timer-trio" in "\n".join(old.err)
        await receiver.wait_fired(timer_ids)
        await new.consumer.wait_ended()
        await new.stop()
        assert errors(new) == []
    assert receiver.times_fired == dict.fromkeys(timer_ids, 1)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_service_does_not_start_where_a_newer_one_has_shut_it_out(
    database_url: str, workers: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO timer_trio_migrations (version, name, checksum, oldest_release)"
            " VALUES (9001, 'tidy', '', '999.0.0')"
        )
    environ = {"DATABASE_URL": as_url(database_url), "API_KEY": API_KEY, "PORT": "0"}
    program = ("-m", "timer_trio", "serve", "--workers", workers)
    async with running(*program, environ=environ) as refused:
        assert await refused.wait_ended() == 2
        words = "\n".join(refused.err)
    assert "step 9001 tidy, on which no release before 999.0.0 can work" in words
    assert "Traceback" not in words
