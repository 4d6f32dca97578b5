from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import pytest

from tests.contract.timers import ALICE, BOB, NOW, SOON, seconds
from timer_trio.domain.destination import (
    NO_DURATIONS,
    SPAN,
    Counted,
    DestinationFacts,
    DestinationNow,
    DestinationPage,
    DestinationQuery,
    DestinationReport,
    Ends,
    class_of,
)
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.timer import Destination, Lane, ReplicaId
from timer_trio.storage import Storage

OTHER: Final = ProjectId(7)
A, B, C = (Destination(f"https://{letter}.example:443") for letter in "abc")
AN_HOUR_AGO: Final = NOW - 12 * SPAN
UNKNOWN: Final = ReplicaId(UUID(int=0xBAD))


def counted(
    destination: Destination = A,
    since: datetime = NOW,
    *,
    project: ProjectId = DEFAULT_PROJECT,
    took_s: Sequence[float] = (),
    **ends: int,
) -> Counted:
    durations = [*NO_DURATIONS]
    for duration_s in took_s:
        durations[class_of(duration_s)] += 1
    return Counted(Lane(destination, project), since, Ends(**ends), tuple(durations))


async def tell(
    storage: Storage,
    *counts: Counted,
    replica: ReplicaId = ALICE,
    counter: ReplicaId | None = None,
    now: Sequence[DestinationNow] = (),
    gone: Sequence[Lane] = (),
) -> None:
    report = DestinationReport(
        counter=counter or replica, replica=replica, at=NOW, counted=counts, now=now, gone=gone
    )
    await storage.note_destinations(report)


async def page(
    storage: Storage,
    *,
    project: ProjectId = DEFAULT_PROJECT,
    recent_at: datetime = AN_HOUR_AGO,
    destination: Destination | None = None,
    limit: int = 50,
    after: Destination | None = None,
) -> DestinationPage:
    return await storage.destinations(
        DestinationQuery(
            project=project,
            recent_at=recent_at,
            destination=destination,
            limit=limit,
            after=after,
        )
    )


async def known(storage: Storage, project: ProjectId = DEFAULT_PROJECT) -> list[DestinationFacts]:
    return [*(await page(storage, project=project)).destinations]


async def names(
    storage: Storage, destination: Destination | None = None, after: Destination | None = None
) -> list[Destination]:
    found = await page(storage, destination=destination, after=after)
    return [each.destination for each in found.destinations]


async def test_nothing_is_known_at_first(storage: Storage) -> None:
    assert await page(storage) == DestinationPage(destinations=[], next=None)
    await tell(storage)
    assert await known(storage) == []


async def test_counts_of_spans_and_replicas_are_added_up(storage: Storage) -> None:
    await tell(storage, counted(delivered=2, took_s=[0.01, 0.01]))
    await tell(storage, counted(since=NOW - SPAN, rejected=1, other=4, took_s=[3]))
    await tell(storage, counted(delivered=1, unreachable=5, timed_out=6, took_s=[3]), replica=BOB)
    (facts,) = await known(storage)
    assert facts.destination == A
    assert facts.ends == Ends(delivered=3, rejected=1, unreachable=5, timed_out=6, other=4)
    assert facts.durations == counted(took_s=[0.01, 0.01, 3, 3]).durations
    assert (facts.waiting, facts.in_flight, facts.breaker_open_until) == (0, 0, None)


async def test_numbers_told_again_take_the_place_of_those_before(storage: Storage) -> None:
    for delivered in (1, 1, 3):
        await tell(storage, counted(delivered=delivered, took_s=[0.01] * delivered))
    (facts,) = await known(storage)
    assert facts.ends == Ends(delivered=3)
    assert facts.durations == counted(took_s=[0.01] * 3).durations


async def test_counts_are_whose_they_were_whatever_id_the_replica_has_now(
    storage: Storage,
) -> None:
    await tell(storage, counted(delivered=1), replica=ALICE)
    await tell(storage, counted(delivered=2), replica=BOB, counter=ALICE)
    (facts,) = await known(storage)
    assert facts.ends == Ends(delivered=2)


async def test_spans_that_are_long_over_do_not_count(storage: Storage) -> None:
    await tell(storage, counted(since=AN_HOUR_AGO, delivered=1))
    await tell(storage, counted(since=AN_HOUR_AGO - SPAN, delivered=10, took_s=[1] * 10))
    await tell(storage, counted(B, since=AN_HOUR_AGO - SPAN, delivered=1))
    (facts,) = await known(storage)
    assert (facts.destination, facts.ends) == (A, Ends(delivered=1))
    assert facts.durations == NO_DURATIONS


async def test_what_living_replicas_have_in_hand_is_added_up(storage: Storage) -> None:
    for replica in (ALICE, BOB):
        await storage.join(replica, NOW)
    early, late = NOW + seconds(10), NOW + seconds(20)
    await tell(storage, now=[DestinationNow(Lane(A), 3, 1, late), DestinationNow(Lane(B), 1, 0)])
    await tell(storage, now=[DestinationNow(Lane(A), 4, 2, early)], replica=BOB)
    first, second = await known(storage)
    assert (first.waiting, first.in_flight, first.breaker_open_until) == (7, 3, late)
    assert second == DestinationFacts(destination=B, waiting=1)


async def test_what_is_in_hand_changes_and_goes(storage: Storage) -> None:
    await storage.join(ALICE, NOW)
    until = NOW + seconds(10)
    for _ in range(2):
        await tell(storage, now=[DestinationNow(Lane(A), 3, 1, until)])
        assert [each.waiting for each in await known(storage)] == [3]
    await tell(storage, now=[DestinationNow(Lane(A), 0, 2)])
    assert await known(storage) == [DestinationFacts(destination=A, in_flight=2)]
    await tell(storage, now=[DestinationNow(Lane(B), 1, 0)], gone=[Lane(A), Lane(C)])
    assert await names(storage) == [B]


async def test_nobody_takes_away_what_others_have_in_hand(storage: Storage) -> None:
    for replica in (ALICE, BOB):
        await storage.join(replica, NOW)
        await tell(storage, now=[DestinationNow(Lane(A), 1, 0)], replica=replica)
    await tell(storage, gone=[Lane(A), Lane(A, OTHER)], replica=BOB)
    assert [each.waiting for each in await known(storage)] == [1]


async def test_what_a_replica_had_in_hand_does_not_count_once_it_is_gone(
    storage: Storage,
) -> None:
    await storage.join(ALICE, NOW)
    await tell(storage, counted(delivered=1), now=[DestinationNow(Lane(A), 1, 1)])
    await tell(storage, now=[DestinationNow(Lane(B), 1, 1)], replica=UNKNOWN)
    await storage.sweep(ALICE, None, NOW)
    assert await known(storage) == [DestinationFacts(destination=A, ends=Ends(delivered=1))]


async def test_what_is_paused_is_known_as_long_as_it_is(storage: Storage) -> None:
    await tell(storage, counted(B, delivered=1))
    for project, destination in ((DEFAULT_PROJECT, A), (DEFAULT_PROJECT, B), (OTHER, C)):
        await storage.pause_destination(project, destination, NOW)
    first, second = await known(storage)
    assert first == DestinationFacts(destination=A, paused_at=NOW)
    assert (second.destination, second.paused_at) == (B, NOW)
    assert second.ends == Ends(delivered=1)
    assert [each.destination for each in await known(storage, project=OTHER)] == [C]
    await storage.resume_destination(DEFAULT_PROJECT, A, SOON)
    assert await names(storage) == [B]
    assert await names(storage, destination=A) == []


async def test_projects_know_nothing_of_each_other(storage: Storage) -> None:
    await storage.join(ALICE, NOW)
    await tell(
        storage,
        counted(A, delivered=1),
        counted(A, project=OTHER, delivered=2, took_s=[1, 1]),
        counted(B, project=OTHER, delivered=1),
        now=[DestinationNow(Lane(A, OTHER), 5, 5), DestinationNow(Lane(C, OTHER), 1, 1)],
    )
    assert await known(storage) == [DestinationFacts(destination=A, ends=Ends(delivered=1))]
    theirs = await known(storage, project=OTHER)
    assert [each.destination for each in theirs] == [A, B, C]
    assert (theirs[0].waiting, theirs[0].ends.delivered) == (5, 2)
    await tell(storage, gone=[Lane(A)])
    assert await known(storage, project=OTHER) == theirs


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_pages_follow_each_other_by_name(storage: Storage, limit: int) -> None:
    await storage.join(ALICE, NOW)
    hosts = [Destination(f"http://{name}:80") for name in ("B", "a", "ä", "a-b", "a.b", "_", "é")]
    await tell(
        storage,
        *(counted(each, delivered=1) for each in hosts[::2]),
        now=[DestinationNow(Lane(each), 1, 1) for each in hosts[1:]],
    )
    hosts += [Destination(f"http://{name}:80") for name in ("C", "aä", "ü")]
    for each in hosts[-4:]:
        await storage.pause_destination(DEFAULT_PROJECT, each, NOW)
    found: list[Destination] = []
    after: Destination | None = None
    while True:
        following = await page(storage, limit=limit, after=after)
        found += [each.destination for each in following.destinations]
        if following.next is None:
            break
        assert len(following.destinations) == limit
        after = following.next
    assert found == sorted(hosts)


async def test_one_is_found_by_its_name(storage: Storage) -> None:
    await storage.join(ALICE, NOW)
    await tell(
        storage,
        counted(A, delivered=1),
        counted(B, delivered=1, took_s=[1]),
        now=[DestinationNow(Lane(B), 1, 1), DestinationNow(Lane(C), 1, 1)],
    )
    (found,) = (await page(storage, destination=B)).destinations
    assert (found.destination, found.waiting, found.ends.delivered) == (B, 1, 1)
    assert await names(storage, destination=C) == [C]
    assert await names(storage, destination=Destination("https://d.example:443")) == []
    assert await names(storage, destination=B, after=B) == []


async def test_old_counts_are_deleted_page_by_page(storage: Storage) -> None:
    await tell(storage, *(counted(A, since=NOW - number * SPAN, other=1) for number in range(5)))
    cutoff = NOW - SPAN
    assert await storage.prune_destinations(cutoff, 2) == 2
    assert await storage.prune_destinations(cutoff, 2) == 1
    assert await storage.prune_destinations(cutoff, 2) == 0
    (facts,) = await known(storage)
    assert facts.ends.other == 2


async def test_the_oldest_counts_are_deleted_first(storage: Storage) -> None:
    await tell(storage, counted(A, since=NOW - SPAN, other=1))
    await tell(storage, counted(B, since=NOW - 2 * SPAN, other=1))
    assert await storage.prune_destinations(NOW, 1) == 1
    assert await names(storage) == [A]


async def test_what_replicas_had_in_hand_that_are_gone_is_deleted(storage: Storage) -> None:
    for replica in (ALICE, BOB):
        await storage.join(replica, NOW)
        lanes = (Lane(A), Lane(B))
        await tell(storage, now=[DestinationNow(lane, 1, 0) for lane in lanes], replica=replica)
    await tell(storage, counted(A, since=NOW - SPAN, other=1))
    await storage.sweep(ALICE, None, NOW)
    assert await storage.prune_destinations(NOW, 2) == 2
    assert await storage.prune_destinations(NOW, 2) == 1
    assert await storage.prune_destinations(NOW, 2) == 0
    await storage.join(ALICE, NOW)
    assert [each.waiting for each in await known(storage)] == [1, 1]
