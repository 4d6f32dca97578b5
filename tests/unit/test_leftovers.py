"""What the database says a replica holds: what it knows nothing of is freed, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from tests.contract.timers import new_timer
from tests.simulation.standby import copied, restore
from tests.unit.parts import SOON_S, Parts
from tests.unit.test_claims import claim
from tests.unit.test_firer import POLICY
from timer_trio.delivery import leftovers
from timer_trio.delivery.leftovers import AGAIN_S, INTERVAL_S, QUIET_LOOKS
from timer_trio.domain.errors import StorageUnavailableError
from timer_trio.domain.lately import GAP_S, KEPT_S
from timer_trio.domain.project import ProjectId
from timer_trio.domain.settlement import given_back
from timer_trio.domain.timer import Claim, DueTimer, Status, TimerId, due_timer
from timer_trio.storage import HeldClaim
from timer_trio.storage.group_commit import RETRY_PAUSE_S

LONG_S: Final = 10.0


async def watch(parts: Parts) -> None:
    """Let the stage run, up to its first pause."""
    parts.nursery.start_soon(parts.leftovers.run)
    await wait_all_tasks_blocked()


async def look(parts: Parts) -> None:
    """Have it look once."""
    await watch(parts)
    parts.leftovers.look()
    await trio.sleep(SOON_S)


async def left_over(parts: Parts) -> DueTimer:
    """Make a timer that the replica has claimed and knows nothing of."""
    due = await parts.create()
    await parts.claim(due)
    return due


async def is_held(parts: Parts, timer_id: TimerId) -> bool:
    held = await parts.database.held_claims(parts.heartbeat.replica, None, 100)
    return timer_id in {one.timer_id for one in held}


def has_in_hand(parts: Parts, timer_id: TimerId) -> bool:
    claim = parts.database._rows[timer_id].claim
    return claim is not None and parts.agenda.has_in_hand(timer_id, Claim(claim))


async def test_what_nothing_is_known_of_is_due_at_once_and_offered(parts: Parts) -> None:
    due = await left_over(parts)
    await trio.sleep(LONG_S)
    with capture_logs() as logs:
        await look(parts)
    assert not await is_held(parts, due.id)
    (offered,) = parts.offered
    assert offered == due._replace(due_at=offered.due_at)
    assert (parts.clock.now() - offered.due_at).total_seconds() < 2 * SOON_S
    assert (await parts.claim(offered)).unknown_attempts == 1
    assert [entry["event"] for entry in logs] == ["freed_leftovers"]


async def test_what_is_in_hand_is_left_alone(parts: Parts) -> None:
    firing = await parts.prepare()
    await look(parts)
    assert await is_held(parts, firing.timer.id)
    assert parts.offered == []


async def test_what_waits_for_its_outcome_to_be_written_is_left_alone(parts: Parts) -> None:
    firing = await parts.prepare()
    settlement, due = await parts.failure()
    parts.database.delay_s["settle"] = LONG_S
    await parts.fire(firing)
    parts.firer.refuse(settlement, due)
    await look(parts)
    assert await is_held(parts, firing.timer.id)
    assert await is_held(parts, due.id)
    await parts.settler.wait_empty()
    parts.leftovers.look()
    await trio.sleep(AGAIN_S + SOON_S)
    assert parts.offered == []
    assert not await is_held(parts, due.id)


async def test_what_was_refused_is_let_go_once_that_is_written(parts: Parts) -> None:
    settlement, due = await parts.failure()
    parts.firer.refuse(settlement, due)
    assert has_in_hand(parts, due.id)
    await parts.settler.wait_empty()
    assert not has_in_hand(parts, due.id)


async def test_what_was_claimed_and_nobody_has_heard_of_yet_is_left_alone(parts: Parts) -> None:
    due = await parts.create(LONG_S / 10)
    parts.database.lost_replies["claim"] = 1
    parts.nursery.start_soon(claim, parts, due)
    await wait_all_tasks_blocked()
    assert await is_held(parts, due.id)
    await look(parts)
    assert parts.offered == []
    await trio.sleep(RETRY_PAUSE_S)
    assert has_in_hand(parts, due.id)


async def test_what_waits_for_its_signature_is_left_alone(parts: Parts) -> None:
    timer = replace(new_timer(execute_at=parts.clock.now()), project=ProjectId(7))
    await parts.database.create([timer], parts.clock.now())
    parts.database.delay_s["signing_secrets"] = LONG_S
    parts.nursery.start_soon(claim, parts, due_timer(timer))
    await wait_all_tasks_blocked()
    assert not has_in_hand(parts, timer.id)
    await look(parts)
    assert await is_held(parts, timer.id)
    assert parts.offered == []


async def test_what_was_claimed_and_then_locked_is_left_to_who_waits_for_it(parts: Parts) -> None:
    due = await parts.create(LONG_S / 10)
    parts.database.lost_replies["claim"] = 1
    parts.nursery.start_soon(claim, parts, due)
    await wait_all_tasks_blocked()
    parts.database.locked = {due.id}
    await trio.sleep(2 * RETRY_PAUSE_S)
    parts.database.locked = set()
    await look(parts)
    assert await is_held(parts, due.id)
    parts.nursery.start_soon(parts.claims.watch_locked)
    await trio.sleep(LONG_S / 10)
    assert has_in_hand(parts, due.id)
    assert not parts.claims.know(next(iter(parts.database.asked)).claim)


@pytest.mark.parametrize("is_recalled", [False, True])
async def test_what_is_settled_between_two_statements_is_not_freed(
    parts: Parts,
    monkeypatch: pytest.MonkeyPatch,
    is_recalled: bool,  # noqa: FBT001 - a case
) -> None:
    firing = await parts.prepare()
    read = parts.database.held_claims

    async def read_slowly(*asked: Any) -> Sequence[HeldClaim]:
        page = await read(*asked)
        await trio.sleep(SOON_S)
        return page

    monkeypatch.setattr(parts.database, "held_claims", read_slowly)
    await watch(parts)
    await claim(parts, parts.due())
    if is_recalled:
        parts.leftovers.look()
    else:
        await trio.sleep(INTERVAL_S - SOON_S / 2)
        await trio.sleep(SOON_S)
    await wait_all_tasks_blocked()
    release = given_back(firing.timer)
    parts.settler.settle_nowait(
        release, partial(parts.agenda.let_go, release.timer_id, release.claim)
    )
    parts.settler.hurry()
    await wait_all_tasks_blocked()
    before = parts.database._rows[release.timer_id]
    await trio.sleep(LONG_S)
    assert parts.database.tries["free"] == (0 if is_recalled else 1)
    assert parts.database._rows[release.timer_id].due_at == before.due_at == release.due_at
    assert parts.offered == []
    assert len(parts.settler) == 0


async def test_an_outcome_that_is_known_is_written_again(parts: Parts) -> None:
    firings = [await parts.prepare(retry=POLICY), await parts.prepare(retry=POLICY)]
    standby = copied(parts.database)
    parts.receivers.replies = {firings[1].timer.id: 503}
    for firing in firings:
        await parts.fire(firing)
    await parts.settler.wait_empty()
    restore(parts.database, standby)
    parts.agenda.refill.take()
    await look(parts)
    await parts.settler.wait_empty()
    statuses = [await parts.status(firing.timer.id) for firing in firings]
    assert statuses == [Status.COMPLETED, Status.RETRYING]
    assert parts.database.tries["free"] == 0
    assert parts.agenda.refill.take().near
    assert len(parts.receivers.called) == 2


async def test_what_was_written_long_ago_is_not_known_any_more(parts: Parts) -> None:
    firing = await parts.prepare()
    standby = copied(parts.database)
    await parts.fire(firing)
    await parts.settler.wait_empty()
    for _ in range(2 * int(KEPT_S)):
        await trio.sleep(GAP_S)
        await parts.fire(await parts.prepare())
        await parts.settler.wait_empty()
    restore(parts.database, standby)
    await look(parts)
    assert [offered.id for offered in parts.offered] == [firing.timer.id]


async def test_what_was_claimed_anew_is_in_hand_when_its_first_claim_is_let_go(
    parts: Parts,
) -> None:
    due = await parts.create()
    standby = copied(parts.database)
    first = await parts.claim(due)
    parts.firer.prepare(first, due, parts.heartbeat.replica)
    restore(parts.database, standby)
    anew = await parts.claim(due)
    parts.firer.prepare(anew, due, parts.heartbeat.replica)
    parts.agenda.let_go(due.id, first.claim)
    await look(parts)
    assert await is_held(parts, due.id)


async def test_it_reads_all_pages(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "PAGE_ROWS", 2)
    firings = [await parts.prepare() for _ in range(3)]
    lost = [await left_over(parts) for _ in range(3)]
    await look(parts)
    assert sorted(each.id for each in parts.offered) == sorted(each.id for each in lost)
    assert all([await is_held(parts, firing.timer.id) for firing in firings])


async def test_it_looks_once_a_minute_while_there_are_claims(parts: Parts) -> None:
    parts.leftovers.look()  # who has just joined holds nothing
    await watch(parts)
    await trio.sleep(10 * INTERVAL_S)
    assert parts.database.tries["held_claims"] == 0
    for _ in range(10):
        await claim(parts, parts.due())
        await trio.sleep(INTERVAL_S)
    looks = parts.database.tries["held_claims"]
    assert 9 <= looks <= 10
    await trio.sleep(10 * INTERVAL_S)
    assert looks < parts.database.tries["held_claims"] <= looks + QUIET_LOOKS


async def test_it_looks_soon_when_it_is_asked_to(parts: Parts) -> None:
    await watch(parts)
    for _ in range(100):
        parts.leftovers.look()
        await trio.sleep(AGAIN_S / 10)
    assert 9 < parts.database.tries["held_claims"] < 13


async def test_what_cannot_be_freed_costs_no_other(parts: Parts) -> None:
    bad, *good = [await left_over(parts) for _ in range(4)]
    parts.database.failing = {bad.id}
    await look(parts)
    assert sorted(each.id for each in parts.offered) == sorted(each.id for each in good)
    assert await is_held(parts, bad.id)
    looks = parts.database.tries["held_claims"]
    await trio.sleep(LONG_S)
    assert parts.database.tries["held_claims"] == looks


async def test_an_outage_puts_it_off(parts: Parts) -> None:
    due = await left_over(parts)
    parts.database.errors["free"] = [StorageUnavailableError("away")]
    await look(parts)
    assert await is_held(parts, due.id)
    await trio.sleep(RETRY_PAUSE_S)
    assert not await is_held(parts, due.id)
