"""Callbacks of the real service, taken for genuine by the client, before and after a rotation."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest
import trio
from trio.testing import MockClock

from timer_trio.client import AsyncClient, VerificationError, verify
from timer_trio.testing import API_KEY, Callback, TimerService, start_timer_service

URL = "https://shop.example/hook"


async def fired(client: AsyncClient, service: TimerService, payload: object) -> Callback:
    """Have a callback made; answers with it."""
    await client.timers.create(URL, delay=60, callback_payload=payload)
    return (await service.wait_callbacks(len(service.callbacks) + 1))[-1]


async def test_callbacks_verify_before_during_and_after_a_rotation(
    autojump_clock: MockClock,
) -> None:
    assert autojump_clock.autojump_threshold == 0
    async with trio.open_nursery() as nursery:
        service = await start_timer_service(nursery)
        async with httpx.AsyncClient(transport=service.api) as http:
            client = AsyncClient("http://timer-trio", API_KEY, http=http)
            (old,) = await client.signing_secrets.list()
            before = await fired(client, service, {"greeting": "grüß"})
            new = await client.signing_secrets.rotate(overlap_seconds=3_600)
            await trio.sleep(10)
            during = await fired(client, service, 1)
            await trio.sleep(3_600)
            after = await fired(client, service, None)

            def genuine(callback: Callback, *secrets: str) -> object:
                verified = verify(callback.headers, callback.content, secrets, now=callback.sent_at)
                assert verified.id == callback.headers["X-Timer-Id"]
                assert verified.sent_at == callback.sent_at.replace(microsecond=0)
                return verified.payload

            assert genuine(before, old.secret) == {"greeting": "grüß"}
            assert during.headers["webhook-signature"].count("v1,") == 2
            assert genuine(during, old.secret) == genuine(during, new.secret) == 1
            assert genuine(after, new.secret, old.secret) is None
            for callback, secret in ((before, new.secret), (after, old.secret)):
                with pytest.raises(VerificationError, match="none of the secrets"):
                    genuine(callback, secret)
            with pytest.raises(VerificationError, match="none of the secrets"):
                verify(before.headers, before.content + b" ", old.secret, now=before.sent_at)
            late = before.sent_at + timedelta(minutes=6)
            with pytest.raises(VerificationError, match="too old"):
                verify(before.headers, before.content, old.secret, now=late)
        nursery.cancel_scope.cancel()


async def test_attempts_tell_what_the_receiver_answered(autojump_clock: MockClock) -> None:
    assert autojump_clock.autojump_threshold == 0
    async with trio.open_nursery() as nursery:
        service = await start_timer_service(
            nursery, answer=lambda _: httpx.Response(503, text="grüß", headers={"X-A": "1"})
        )
        async with httpx.AsyncClient(transport=service.api) as http:
            client = AsyncClient("http://timer-trio", API_KEY, http=http)
            created = await client.timers.create(
                URL, delay=60, retry={"max_attempts": 2, "delays": [60]}
            )
            await service.wait_callbacks(2)
            await trio.sleep(10)
            last, first = await client.timers.attempts(created.id)
            assert (last.attempt, first.attempt, last.http_status) == (2, 1, 503)
            assert first.response is not None
            assert first.response.body == "grüß"
            assert ("x-a", "1") in {(n.lower(), v) for n, v in first.response.headers}
            failed = await client.timers.get(created.id)
            assert (failed.status, failed.attempt) == ("failed", 2)
            assert failed.last_error is not None
            assert failed.last_error.startswith("HTTP 503 from")
        nursery.cancel_scope.cancel()
