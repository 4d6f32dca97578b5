"""Occurrences are claimed as timers, and skipped as their schedules have it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import pytest
import trio

from tests.contract.timers import (
    ALICE,
    BOB,
    FIRST,
    LATER,
    NOW,
    SECOND,
    completed,
    created,
    given_back,
    retrying,
)
from tests.schedules import CALENDAR, EVERY_MINUTE, FIRST_ID, SECOND_ID, schedule_of, schedule_spec
from timer_trio.domain.errors import ReplicaGoneError
from timer_trio.domain.planning import ended, plan
from timer_trio.domain.schedule import CatchUp, Overlap, ScheduleId
from timer_trio.domain.settlement import OVERLAPPED, SUPERSEDED
from timer_trio.domain.timer import Claim, ClaimedOccurrence, DueTimer, ReplicaId, Status, TimerId
from timer_trio.storage import OccurrenceClaimReply, Storage

MINUTE = timedelta(minutes=1)


async def planned(
    storage: Storage,
    *,
    overlap: Overlap = Overlap.SKIP,
    catch_up: CatchUp = CatchUp.ALL,
    jitter_s: float = 0.0,
    schedule_id: ScheduleId = FIRST_ID,
) -> list[TimerId]:
    """Write a schedule of every minute; answers with the ids of its first ten."""
    wanted = schedule_spec(
        EVERY_MINUTE,
        overlap=overlap,
        catch_up=catch_up,
        jitter_s=jitter_s,
        misfire_grace_s=None,
    )
    made = plan(schedule_of(wanted, schedule_id), CALENDAR, NOW)
    await storage.create_schedule(made.schedule, made.occurrences, NOW)
    await storage.join(ALICE, NOW)
    await storage.join(BOB, NOW)
    return [each.timer.id for each in made.occurrences]


async def exclusive(
    storage: Storage,
    timer_ids: Iterable[TimerId],
    now: datetime,
    *,
    claim: Claim = FIRST,
    replica: ReplicaId = ALICE,
    skip_locked: bool = False,
) -> OccurrenceClaimReply:
    return await storage.claim_exclusive(
        replica, claim, [*timer_ids], now, now, skip_locked=skip_locked
    )


def ids(timers: Iterable[object]) -> list[TimerId]:
    return sorted(timer.id for timer in timers)  # type: ignore[attr-defined]


async def told(storage: Storage, timer_id: TimerId) -> tuple[Status, str | None]:
    timer = await storage.get(timer_id)
    return timer.status, timer.last_error


# --- that may overlap -------------------------------------------------------------------------


async def test_a_claim_tells_what_it_is_an_occurrence_of(storage: Storage) -> None:
    first, second, *_ = await planned(storage, overlap=Overlap.ALLOW)
    now = NOW + MINUTE
    reply = await storage.claim_occurrences(ALICE, FIRST, [first, second], now, now)
    (timer,) = reply.claimed
    assert timer.occurrence == ClaimedOccurrence(FIRST_ID, now, is_superseded=False)
    assert [due.due_at for due in reply.moved] == [NOW + 2 * MINUTE]
    again = await storage.claim_occurrences(ALICE, FIRST, [first], now, now)
    assert again.claimed == reply.claimed


@pytest.mark.parametrize(
    ("catch_up", "late", "is_superseded"),
    [
        (CatchUp.LATEST, 0.999, False),
        (CatchUp.LATEST, 1.0, True),
        (CatchUp.ALL, 2.0, False),
    ],
)
async def test_an_occurrence_is_superseded_when_the_next_one_is_due(
    storage: Storage,
    catch_up: CatchUp,
    late: float,
    is_superseded: bool,  # noqa: FBT001 - a parameter
) -> None:
    first, *_ = await planned(storage, overlap=Overlap.ALLOW, catch_up=catch_up)
    now = NOW + (1 + late) * MINUTE
    reply = await storage.claim_occurrences(ALICE, FIRST, [first], now, now)
    (timer,) = reply.claimed
    assert timer.occurrence is not None
    assert timer.occurrence.is_superseded == is_superseded
    again = await storage.claim_occurrences(ALICE, FIRST, [first], now, now)
    assert again.claimed == reply.claimed


async def test_it_is_not_superseded_by_one_that_somebody_has_canceled(storage: Storage) -> None:
    first, second, *_ = await planned(storage, overlap=Overlap.ALLOW, catch_up=CatchUp.LATEST)
    await storage.cancel(second, NOW)
    now = NOW + 2.5 * MINUTE
    reply = await storage.claim_occurrences(ALICE, FIRST, [first], now, now)
    assert [timer.occurrence and timer.occurrence.is_superseded for timer in reply.claimed] == [
        False
    ]


async def test_jitter_moves_when_it_is_superseded(storage: Storage) -> None:
    first, *_ = await planned(
        storage, overlap=Overlap.ALLOW, catch_up=CatchUp.LATEST, jitter_s=600.0
    )
    due_at = (await storage.get(first)).spec.execute_at
    assert due_at > NOW + 2 * MINUTE
    reply = await storage.claim_occurrences(ALICE, FIRST, [first], due_at, due_at)
    (timer,) = reply.claimed
    assert timer.occurrence is not None
    assert not timer.occurrence.is_superseded


async def test_only_a_first_attempt_is_superseded(storage: Storage) -> None:
    first, second, *_ = await planned(storage, overlap=Overlap.ALLOW, catch_up=CatchUp.LATEST)
    now = NOW + MINUTE
    await storage.claim_occurrences(ALICE, FIRST, [first], now, now)
    await storage.settle([retrying(first, due_at=LATER)], now)
    await storage.cancel(second, now)
    await storage.redrive(second, now, now)
    reply = await storage.claim_occurrences(ALICE, SECOND, [first, second], LATER, LATER)
    assert [timer.occurrence and timer.occurrence.is_superseded for timer in reply.claimed] == [
        False,
        False,
    ]


async def test_a_given_back_occurrence_is_judged_again(storage: Storage) -> None:
    first, *_ = await planned(storage, overlap=Overlap.ALLOW, catch_up=CatchUp.LATEST)
    now = NOW + MINUTE
    await storage.claim_occurrences(ALICE, FIRST, [first], now, now)
    await storage.settle([given_back(first)], now)
    reply = await storage.claim_occurrences(ALICE, SECOND, [first], LATER, LATER)
    (timer,) = reply.claimed
    assert timer.occurrence is not None
    assert timer.occurrence.is_superseded


async def test_plain_timers_are_claimed_by_any_claim(storage: Storage) -> None:
    timer_id, other = await created(storage), await created(storage)
    await storage.join(ALICE, NOW)
    reply = await storage.claim_occurrences(ALICE, FIRST, [timer_id], LATER, LATER)
    assert [timer.occurrence for timer in reply.claimed] == [None]
    reply = await exclusive(storage, [other], LATER)
    assert [timer.occurrence for timer in reply.claimed] == [None]


# --- that must not overlap --------------------------------------------------------------------


async def test_of_one_batch_one_is_claimed_and_the_others_wait(storage: Storage) -> None:
    first, second, third, *_ = await planned(storage)
    now = NOW + 3 * MINUTE
    reply = await exclusive(storage, [third, first, second], now)
    assert ids(reply.claimed) == [first]
    assert sorted(reply.moved) == [
        DueTimer(NOW + 2 * MINUTE, second, reply.moved[0].lane),
        DueTimer(NOW + 3 * MINUTE, third, reply.moved[0].lane),
    ]
    assert not reply.skipped
    assert await told(storage, second) == (Status.PENDING, None)


async def test_one_is_skipped_while_another_is_under_way(storage: Storage) -> None:
    first, second, third, *_ = await planned(storage)
    await exclusive(storage, [first], NOW + MINUTE)
    reply = await exclusive(storage, [second], NOW + 2 * MINUTE, claim=SECOND, replica=BOB)
    assert (reply.claimed, reply.moved, [*reply.skipped]) == ([], [], [second])
    assert await told(storage, second) == (Status.CANCELED, OVERLAPPED)
    await storage.settle([retrying(first, due_at=LATER)], NOW + 2 * MINUTE)
    reply = await exclusive(storage, [third], NOW + 3 * MINUTE, claim=SECOND)
    assert [*reply.skipped] == [third]


async def test_the_next_one_is_claimed_once_that_has_ended(storage: Storage) -> None:
    first, second, *_ = await planned(storage)
    await exclusive(storage, [first], NOW + MINUTE)
    await storage.settle([completed(first)], NOW + MINUTE)
    reply = await exclusive(storage, [second], NOW + 2 * MINUTE, claim=SECOND)
    assert ids(reply.claimed) == [second]
    assert reply.claimed[0].occurrence == ClaimedOccurrence(
        FIRST_ID, NOW + 2 * MINUTE, is_superseded=False
    )


async def test_schedules_are_not_in_each_others_way(storage: Storage) -> None:
    first, second, *_ = await planned(storage)
    other, *_ = await planned(storage, schedule_id=SECOND_ID)
    reply = await exclusive(storage, [first, second, other], NOW + 2 * MINUTE)
    assert ids(reply.claimed) == sorted([first, other])


async def test_after_an_outage_only_the_newest_is_claimed(storage: Storage) -> None:
    ten = await planned(storage, catch_up=CatchUp.LATEST)
    now = NOW + 10 * MINUTE
    reply = await exclusive(storage, ten, now)
    assert ids(reply.claimed) == [ten[-1]]
    assert sorted(reply.skipped) == sorted(ten[:-1])
    assert await told(storage, ten[0]) == (Status.CANCELED, SUPERSEDED)


async def test_a_later_attempt_is_claimed_whatever_is_under_way(storage: Storage) -> None:
    first, second, third, *_ = await planned(storage)
    await exclusive(storage, [first], NOW + MINUTE)
    await storage.settle([retrying(first, due_at=NOW + 2 * MINUTE)], NOW + MINUTE)
    await storage.cancel(second, NOW)
    await storage.redrive(second, NOW + 2 * MINUTE, NOW)
    now = NOW + 3 * MINUTE
    reply = await exclusive(storage, [first, second, third], now, claim=SECOND)
    assert ids(reply.claimed) == sorted([first, second])
    assert [*reply.skipped] == [third]


async def test_a_redriven_one_keeps_a_fresh_one_waiting(storage: Storage) -> None:
    first, second, *_ = await planned(storage)
    await storage.cancel(second, NOW)
    await storage.redrive(second, NOW + MINUTE, NOW)
    reply = await exclusive(storage, [first, second], NOW + MINUTE)
    assert ids(reply.claimed) == [second]
    assert ids(reply.moved) == [first]


async def test_the_same_claim_again_finds_what_it_holds(storage: Storage) -> None:
    first, second, *_ = await planned(storage)
    reply = await exclusive(storage, [first], NOW + MINUTE)
    again = await exclusive(storage, [first], NOW + MINUTE)
    assert again.claimed == reply.claimed
    await storage.settle([given_back(first)], NOW + MINUTE)
    late = await exclusive(storage, [first], NOW + MINUTE)
    assert not late.claimed
    assert ids((await exclusive(storage, [second], NOW + 2 * MINUTE)).claimed) == [second]


async def test_an_occurrence_whose_schedule_is_gone_is_claimed(storage: Storage) -> None:
    first, *_ = await planned(storage)
    await storage.change_schedule(FIRST_ID, lambda s, _: ended(s, NOW), NOW)
    assert await storage.prune_schedules(LATER, 1) == 1
    await storage.redrive(first, NOW, NOW)
    assert ids((await exclusive(storage, [first], NOW + MINUTE)).claimed) == [first]


async def test_a_replica_that_is_gone_claims_nothing(storage: Storage) -> None:
    first, *_ = await planned(storage)
    await storage.sweep(ALICE, None, NOW)
    with pytest.raises(ReplicaGoneError):
        await exclusive(storage, [first], NOW + MINUTE)
    assert await told(storage, first) == (Status.PENDING, None)


@pytest.mark.parametrize("place", range(5))
async def test_many_claims_at_once_let_one_pass(storage: Storage, place: int) -> None:
    ten = await planned(storage)
    now = NOW + 10 * MINUTE
    claimed: list[TimerId] = []

    async def ask(first: int, replica: ReplicaId) -> None:
        for timer_id in ten[first::4]:
            claim = Claim(1 + first + 10 * place)
            is_locked = True
            while is_locked:  # who claims one of the others holds their schedule
                reply = await exclusive(
                    storage, [timer_id], now, claim=claim, replica=replica, skip_locked=True
                )
                is_locked = bool(reply.locked)
            claimed.extend(timer.id for timer in reply.claimed)

    async with trio.open_nursery() as nursery:
        for first, replica in enumerate((ALICE, BOB, ALICE, BOB)):
            nursery.start_soon(ask, first, replica)
    assert len(claimed) == 1
    statuses = [(await told(storage, each))[0] for each in ten]
    assert statuses.count(Status.CANCELED) == 9
