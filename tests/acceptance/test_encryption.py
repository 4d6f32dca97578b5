"""Keys that change under a service at work, by the steps that docs/security.md names."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import pytest
import trio

from tests.acceptance.load import Load, load_on
from tests.acceptance.processes import running
from tests.acceptance.receiver import ReceiverProcess
from tests.acceptance.service import API_KEY, service

OLD: Final = "b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQtb2xkLW9sZC0="
NEW: Final = "bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3LW5ldy0="
RESTING: Final = 1_000
REENCRYPT: Final = ("-m", "timer_trio", "db", "reencrypt")


async def reencrypted(database_url: str, keys: str) -> dict[str, int]:
    """Run the command to its end; answers how many rows of each table it has rewritten."""
    environ = {"DATABASE_URL": database_url, "API_KEY": API_KEY, "ENCRYPTION_KEYS": keys}
    async with running(*REENCRYPT, environ=environ) as command:
        assert await command.wait_ended() == 0, command.err
        lines = [line.split() for line in command.out]
    return {table.removesuffix(":"): int(count) for table, count, _ in lines}


async def wait_fired(receiver: ReceiverProcess, *loads: Load) -> None:
    """Wait until all that was promised has been sent."""
    expected = [
        timer_id
        for load in loads
        for timer_id, promise in load.promises.items()
        if not (promise.canceled or promise.cancel_in_doubt)
    ]
    await receiver.wait_fired(expected)


@pytest.mark.soak
async def test_keys_are_rotated_under_load_without_a_loss(
    service_database: str, receiver: ReceiverProcess
) -> None:
    replica = partial(service, DATABASE_URL=service_database, LOADER_INTERVAL="0.2")
    secret: dict[str, Any] = {
        "callback_url": receiver.url(),
        "callback_headers": {"Authorization": "Bearer s3cret"},
        "callback_payload": {"secret": "s3cret" * 100},
    }
    far = [trio.current_time() + 9_999] * RESTING
    url = receiver.url()
    async with replica(ENCRYPTION_KEYS=f"{NEW},{OLD}") as new:
        async with replica(ENCRYPTION_KEYS=f"{OLD},{NEW}") as old:
            resting = await old.consumer.create_batch(far, **secret)
            async with load_on(old.consumer, url) as before, load_on(new.consumer, url) as beside:
                first = await reencrypted(service_database, f"{NEW},{OLD}")
                await trio.sleep(1)
            await old.stop()
        await reencrypted(service_database, f"{NEW},{OLD}")
        async with replica(ENCRYPTION_KEYS=NEW) as last:
            async with load_on(last.consumer, url) as after:
                await trio.sleep(1)
                await new.stop()
            shown = [await last.consumer.get(timer_id) for timer_id in resting]
            await wait_fired(receiver, before, beside, after)
    assert first["timers"] >= RESTING
    assert all(each["callback_headers"] == secret["callback_headers"] for each in shown)
    assert all(each["callback_payload"] == secret["callback_payload"] for each in shown)
    for load in (before, beside, after):
        load.check(receiver)
    assert set((await reencrypted(service_database, NEW)).values()) == {0}
