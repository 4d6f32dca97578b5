from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
import trio
from structlog.testing import capture_logs

from tests.unit.parts import Parts, open_cache
from timer_trio.delivery.signing import AGAIN, FORGET_S, FRESH_S, PATIENCE_S, RENEW_S
from timer_trio.domain.arming import Armed
from timer_trio.domain.errors import StorageUnavailableError
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.signing import SecretText, Signer, Signing, SigningSecret, new_secret
from timer_trio.domain.timer import DueTimer, Status
from timer_trio.intake.signing import SigningSecrets

OTHER = ProjectId(7)
HOUR = timedelta(hours=1)
BITS = random.Random(7).getrandbits
HOLDS_S = 5.0
"""Within this a rotation holds."""


def managed(parts: Parts) -> SigningSecrets:
    return SigningSecrets(storage=parts.database, clock=parts.clock, random_bits=BITS)


async def rotate(parts: Parts, overlap: timedelta = HOUR) -> SigningSecret:
    return await managed(parts).rotate(DEFAULT_PROJECT, overlap)


async def create_in(parts: Parts, project: ProjectId, in_s: float = 0.0) -> DueTimer:
    due = await parts.create(in_s)
    rows = parts.database._rows
    rows[due.id] = replace(rows[due.id], project=project)
    return due


def read(lines: bytes) -> dict[str, str]:
    assert lines.endswith(b"\r\n\r\n")
    return dict(line.split(": ", 1) for line in lines.decode("ascii").split("\r\n") if line)


def count(lines: bytes) -> int:
    return len(read(lines)["webhook-signature"].split(" "))


async def sign_of(parts: Parts) -> Callable[[bytes], bytes]:
    sign = (await parts.prepare()).request.sign  # type: ignore[union-attr]
    assert sign is not None
    return sign


def reads(parts: Parts) -> int:
    return parts.database.tries["signing_secrets"]


def arm(parts: Parts, *timers: DueTimer) -> list[Armed]:
    open_cache(parts.agenda)
    parts.agenda.add(timers)
    for timer in timers:
        parts.agenda.slots.hold(timer.lane)
    return [Armed(parts.agenda.cache.take(), waited=False) for _ in timers]


async def claim(parts: Parts, *timers: DueTimer) -> None:
    await parts.claims.claim(arm(parts, *timers))


async def test_callback_is_signed_as_of_its_sending(parts: Parts) -> None:
    firing = await parts.prepare()
    assert firing.request is not None
    await trio.sleep(2.75)
    lines = read(firing.request.head_now().partition(b"webhook-id: ")[2].partition(b"\r\n")[2])
    timestamp = int(parts.clock.now().timestamp())
    assert lines["webhook-timestamp"] == str(timestamp)
    (secret,) = await managed(parts).valid(DEFAULT_PROJECT)
    head = f"{firing.timer.id}.{timestamp}.".encode()
    expected = Signer(secret.secret).sign(head, firing.request.body)
    assert lines["webhook-signature"] == expected.decode()


async def test_unsigned_callback_has_neither_header(parts: Parts) -> None:
    firing = await parts.prepare(signing=Signing.NONE)
    assert firing.request is not None
    assert firing.request.sign is None
    assert firing.request.head_now() == firing.request.head
    assert b"webhook-signature" not in firing.request.head
    assert b"webhook-timestamp" not in firing.request.head


async def test_rotation_holds_soon_for_what_is_in_hand(parts: Parts) -> None:
    sign = await sign_of(parts)
    await trio.sleep(60)
    await rotate(parts)
    await trio.sleep(HOLDS_S)
    assert count(sign(b"")) == 2
    await rotate(parts, timedelta(seconds=30))
    await trio.sleep(HOLDS_S)
    assert count(sign(b"")) == 3
    await trio.sleep(25)
    assert count(sign(b"")) == 2


async def test_whoever_has_nothing_in_hand_reads_nothing(parts: Parts) -> None:
    await trio.sleep(2 * RENEW_S)
    before = reads(parts)
    await trio.sleep(3600)
    assert reads(parts) == before


async def test_after_a_rest_nothing_is_signed_with_what_may_be_stale(parts: Parts) -> None:
    await trio.sleep(3600)
    await rotate(parts)
    timer = await parts.create(1)
    await claim(parts, timer)
    ((_, _, firing),) = parts.launcher._waiting
    assert firing.request is not None
    assert b"," in firing.request.head_now()
    assert count(firing.request.sign(b"")) == 2  # type: ignore[misc]


async def test_what_is_known_is_used_while_the_database_is_away(parts: Parts) -> None:
    sign = await sign_of(parts)
    await trio.sleep(60)
    parts.database.is_away = True
    await trio.sleep(3600)
    assert count(sign(b"")) == 1
    parts.database.is_away = False
    await rotate(parts)
    await trio.sleep(HOLDS_S)
    assert count(sign(b"")) == 2


async def test_stale_secrets_hold_a_callback_up_for_a_moment_alone(parts: Parts) -> None:
    await trio.sleep(3600)
    parts.database.delay_s["signing_secrets"] = 3600
    timer = await parts.create(2)
    began_s = trio.current_time()
    await claim(parts, timer)
    assert trio.current_time() - began_s == pytest.approx(PATIENCE_S)
    ((_, _, firing),) = parts.launcher._waiting
    assert firing.request is not None
    assert firing.request.sign is not None


async def test_project_without_known_secrets_waits_and_keeps_nobody_waiting(parts: Parts) -> None:
    parts.database.delay_s["signing_secrets"] = 3
    parts.nursery.start_soon(parts.launcher.run, parts.nursery)
    other, own = await create_in(parts, OTHER), await parts.create()
    parts.nursery.start_soon(claim, parts, other, own)
    await trio.sleep(2)
    assert parts.receivers.called == [own.id]
    assert await parts.status(other.id, OTHER) is Status.EXECUTING
    await trio.sleep(30)
    assert parts.receivers.called == [own.id, other.id]


async def test_project_whose_secrets_cannot_be_read_is_late_and_not_unsigned(parts: Parts) -> None:
    parts.nursery.start_soon(parts.launcher.run, parts.nursery)
    other = await create_in(parts, OTHER)
    parts.database.errors["signing_secrets"] = [StorageUnavailableError("away")] * 6
    parts.nursery.start_soon(claim, parts, other)
    await trio.sleep(AGAIN.longest_s)
    assert parts.receivers.called == []
    await trio.sleep(HOLDS_S)
    assert parts.receivers.called == [other.id]
    assert len(await managed(parts).valid(OTHER)) == 1


async def test_who_is_stopped_while_he_waits_for_secrets_gives_back(parts: Parts) -> None:
    parts.database.delay_s["signing_secrets"] = 60
    other = await create_in(parts, OTHER)
    with trio.move_on_after(5):
        await claim(parts, other)
    await parts.settler.wait_empty()
    assert await parts.status(other.id, OTHER) is Status.PENDING
    assert parts.agenda.slots.in_use == 0
    assert parts.receivers.called == []


async def test_secrets_of_a_project_that_has_nothing_left_are_forgotten(parts: Parts) -> None:
    await parts.keys.wait_ready(OTHER)
    await trio.sleep(FORGET_S + 1)
    firing = await parts.prepare()  # in hand from now on, so that all is renewed
    parts.keys.are_ready(firing.timer)
    parts.keys.expect()
    await trio.sleep(2 * RENEW_S)
    assert [*parts.keys._known] == [DEFAULT_PROJECT]
    assert [*parts.keys._in_use] == [DEFAULT_PROJECT]


async def test_row_that_holds_no_secret_is_told_of_once_and_not_used(parts: Parts) -> None:
    broken = replace(new_secret(OTHER, parts.clock.now(), BITS), secret=SecretText("whsec_hidden!"))
    await parts.database.add_signing_secrets([broken])
    before = reads(parts)
    with capture_logs() as logs, trio.move_on_after(60):
        await parts.keys.wait_ready(OTHER)
    assert [log["event"] for log in logs if log["log_level"] == "warning"] == ["secret_unreadable"]
    assert "hidden" not in str(logs)
    assert reads(parts) - before <= 60 / AGAIN.longest_s + 8
    await managed(parts).rotate(OTHER, HOUR)
    with trio.fail_after(HOLDS_S):
        await parts.keys.wait_ready(OTHER)


async def test_broken_secret_of_a_project_keeps_no_other_waiting(parts: Parts) -> None:
    broken = replace(new_secret(OTHER, parts.clock.now(), BITS), secret=SecretText("whsec_"))
    await parts.database.add_signing_secrets([broken])
    parts.nursery.start_soon(parts.launcher.run, parts.nursery)
    held, other = await create_in(parts, OTHER), await create_in(parts, ProjectId(8))
    own = await parts.create()
    parts.nursery.start_soon(claim, parts, held, other, own)
    await trio.sleep(HOLDS_S)
    assert set(parts.receivers.called) == {other.id, own.id}
    assert await parts.status(held.id, OTHER) is Status.EXECUTING


async def test_busy_replica_reads_so_often_that_a_rotation_holds(parts: Parts) -> None:
    await sign_of(parts)
    before = reads(parts)
    await trio.sleep(60)
    assert 60 / HOLDS_S < reads(parts) - before <= 60 / RENEW_S + 1
    assert RENEW_S < FRESH_S < HOLDS_S
