from __future__ import annotations

import psycopg

from tests.acceptance.receiver import ReceiverProcess
from tests.acceptance.service import service

ADMITTED_ONCE = """
    UPDATE timers SET callback_url = %s, destination = %s, execute_at = now(), due_at = now()
    WHERE id = %s
"""


async def test_nothing_reaches_this_machine_unless_it_is_allowed(
    database_url: str, service_database: str, receiver: ReceiverProcess
) -> None:
    url = receiver.url()
    async with service(
        DATABASE_URL=service_database, CALLBACK_ALLOW="", LOADER_INTERVAL="0.2"
    ) as served:
        wanted = {"delay": 1, "callback_url": url}
        refused = await served.consumer.ask("POST", "/timers", wanted)
        assert refused.status == 400
        assert refused.body["message"] == (
            "callback_url: must not lead to 127.0.0.1, a loopback address: to admit it, the "
            "operator adds 127.0.0.1 to CALLBACK_ALLOW"
        )
        name = await served.consumer.create(
            delay=0, callback_url=url.replace("127.0.0.1", "localhost")
        )
        row = await served.consumer.create(delay=3600, callback_url="https://example.com/")
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(ADMITTED_ONCE, [url, url.rstrip("/"), row])
        await served.consumer.wait_ended()
        for timer_id, words in (
            (name, "localhost leads to a loopback address"),
            (row, "127.0.0.1 refused: a loopback address"),
        ):
            timer = await served.consumer.get(timer_id)
            assert timer["status"] == "failed"
            assert timer["last_error"] == f"{words}; CALLBACK_ALLOW can admit it"
        told = served.logged("addresses_refused")
        assert [line["host"] for line in told].count("localhost") == 1
        assert all("127.0.0.1" in line["addresses"] for line in told)
        assert not receiver.arrivals
        await served.stop()


async def test_development_profile_reaches_this_machine_unless_told_otherwise(
    service_database: str, receiver: ReceiverProcess
) -> None:
    wanted = {"delay": 0, "callback_url": receiver.url()}
    async with service("--dev", DATABASE_URL=service_database, CALLBACK_ALLOW="") as served:
        timer_id = await served.consumer.create(**wanted)
        await receiver.wait_fired({timer_id})
        assert served.logged("starting")[0]["callback_allow"] == ["127.0.0.0/8", "::1/128"]
        await served.stop()
    async with service(
        "--dev", DATABASE_URL=service_database, CALLBACK_ALLOW="10.0.0.0/8"
    ) as served:
        assert (await served.consumer.ask("POST", "/timers", wanted)).status == 400
        await served.stop()
