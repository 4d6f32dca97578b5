from __future__ import annotations

from pathlib import Path

from tests.acceptance.processes import running
from tests.acceptance.receiver import ReceiverProcess
from tests.acceptance.service import API_KEY, SERVE, service


async def test_second_service_on_a_data_dir_says_who_holds_it(
    folder: Path, receiver: ReceiverProcess
) -> None:
    data_dir = str(folder / "data")
    async with service(DATA_DIR=data_dir) as first:
        async with running(*SERVE, environ={"DATA_DIR": data_dir, "PORT": "0"}) as second:
            assert await second.wait_ended() == 2
            words = "\n".join(second.err)
            assert str(first.program.pid) in words
            assert data_dir in words
            assert "Traceback" not in words
        timer_id = await first.consumer.create(delay=0, callback_url=receiver.url())
        await receiver.wait_fired([timer_id])
        await first.stop()


async def test_port_in_use_is_refused_in_words(service_database: str) -> None:
    async with service(DATABASE_URL=service_database) as first:
        port = str(first.consumer.port)
        environ = {"DATABASE_URL": service_database, "PORT": port, "API_KEY": API_KEY}
        async with running(*SERVE, environ=environ) as second:
            assert await second.wait_ended() == 2
            assert port in "\n".join(second.err)


async def test_wrong_settings_are_refused_all_at_once() -> None:
    wrong = {"PORT": "http", "CLAIM_AHEAD": "-1", "API_KEY": "short", "DATABASE_URL": "mysql://x"}
    async with running(*SERVE, environ=wrong) as refused:
        assert await refused.wait_ended() == 2
        assert {line.split()[0] for line in refused.err} == wrong.keys()
