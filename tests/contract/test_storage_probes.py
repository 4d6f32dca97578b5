"""Who may probe a destination, and how others learn how that went."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from tests.contract.timers import ALICE, BOB, LATER, NOW, SOON, seconds
from timer_trio.domain.probes import (
    HELD_FOR,
    Answered,
    Granted,
    ProbeEnd,
    ProbeVerdict,
    ProbeWish,
    Refused,
)
from timer_trio.domain.project import ProjectId
from timer_trio.domain.timer import Destination, Lane, ReplicaId
from timer_trio.storage import Storage

LANE: Final = Lane(Destination("https://a.example:443"))
OTHER: Final = Lane(Destination("https://b.example:443"))
FOREIGN: Final = LANE._replace(project=ProjectId(7))
OPENED: Final = NOW - seconds(60)
RIGHT: Final = Granted(NOW + HELD_FOR)


async def joined(storage: Storage) -> None:
    for replica in (ALICE, BOB):
        await storage.join(replica, NOW)


async def ask(
    storage: Storage,
    replica: ReplicaId = ALICE,
    now: datetime = NOW,
    opened_at: datetime = OPENED,
) -> ProbeVerdict:
    return (await storage.ask_probes(replica, [ProbeWish(LANE, opened_at)], now))[LANE]


async def test_one_replica_probes_a_lane_at_a_time(storage: Storage) -> None:
    await joined(storage)
    assert await ask(storage) == RIGHT
    assert await ask(storage, BOB) == Refused(None)
    wishes = [ProbeWish(lane, OPENED) for lane in (OTHER, LANE, FOREIGN)]
    verdicts = await storage.ask_probes(BOB, wishes, NOW)
    assert verdicts == {OTHER: RIGHT, FOREIGN: RIGHT, LANE: Refused(None)}


async def test_right_that_is_asked_for_again_is_granted_anew(storage: Storage) -> None:
    await joined(storage)
    await ask(storage)
    assert await ask(storage, now=SOON) == Granted(SOON + HELD_FOR)
    assert await ask(storage, BOB, SOON) == Refused(None)
    await storage.end_probes(ALICE, [ProbeEnd(LANE, RIGHT.until)], SOON)  # that of the first one
    assert await ask(storage, BOB, SOON) == Refused(None)


async def test_right_ends_with_the_row_of_its_replica_and_by_itself(storage: Storage) -> None:
    await joined(storage)
    await ask(storage)
    await storage.sweep(ALICE, None, SOON)
    assert await ask(storage, BOB, SOON) == Granted(SOON + HELD_FOR)
    await storage.join(ALICE, SOON)
    ends_at = SOON + HELD_FOR
    assert await ask(storage, ALICE, ends_at - seconds(0.001)) == Refused(None)
    assert await ask(storage, ALICE, ends_at) == Granted(ends_at + HELD_FOR)


async def test_who_has_no_row_is_granted_nothing(storage: Storage) -> None:
    await storage.join(BOB, NOW)
    assert await ask(storage) == Refused(None)
    assert await ask(storage, BOB) == RIGHT


async def test_failed_probe_has_all_wait_for_as_long(storage: Storage) -> None:
    await joined(storage)
    await ask(storage)
    end = ProbeEnd(LANE, RIGHT.until, SOON + seconds(30))
    for _ in range(2):
        await storage.end_probes(ALICE, [end], SOON)
    for replica in (ALICE, BOB):
        assert await ask(storage, replica, SOON) == Refused(end.until)
    assert await ask(storage, BOB, SOON + seconds(30)) == Granted(SOON + seconds(30) + HELD_FOR)


async def test_answered_probe_closes_what_opened_before(storage: Storage) -> None:
    await joined(storage)
    await ask(storage)
    await storage.end_probes(ALICE, [ProbeEnd(LANE, RIGHT.until, SOON, is_answered=True)], LATER)
    assert await ask(storage, BOB, LATER) == Answered()
    assert await ask(storage, BOB, LATER, SOON) == Granted(LATER + HELD_FOR)
    assert await ask(storage, ALICE, LATER) == Refused(None)


async def test_right_that_was_not_used_is_free_at_once(storage: Storage) -> None:
    await joined(storage)
    await ask(storage)
    await storage.end_probes(ALICE, [ProbeEnd(LANE, RIGHT.until)], NOW)
    assert await ask(storage, BOB) == RIGHT


async def test_end_of_a_right_that_is_another_ones_by_now_tells_nothing(storage: Storage) -> None:
    await joined(storage)
    await ask(storage)
    await storage.sweep(ALICE, None, NOW)
    assert await ask(storage, BOB) == RIGHT
    end = ProbeEnd(LANE, RIGHT.until, NOW, is_answered=True)
    await storage.end_probes(ALICE, [end, end._replace(lane=OTHER)], NOW)
    assert await ask(storage, BOB) == RIGHT
    await storage.end_probes(BOB, [end], NOW)
    await storage.join(ALICE, NOW)
    assert await ask(storage, ALICE) == Answered()


async def test_rows_that_nobody_needs_are_pruned(storage: Storage) -> None:
    await joined(storage)
    wishes = [ProbeWish(lane, OPENED) for lane in (LANE, OTHER, FOREIGN)]
    await storage.ask_probes(ALICE, wishes, NOW)
    for lane in (LANE, OTHER):
        await storage.end_probes(ALICE, [ProbeEnd(lane, RIGHT.until, SOON)], SOON)
    assert await storage.prune_probes(SOON, 2) == 0
    cutoff = SOON + seconds(1)
    assert await storage.prune_probes(cutoff, 1) == 1
    assert await storage.prune_probes(cutoff, 2) == 1
    assert await storage.prune_probes(cutoff, 2) == 0
    verdicts = await storage.ask_probes(BOB, wishes, NOW)
    assert verdicts == {LANE: RIGHT, OTHER: RIGHT, FOREIGN: Refused(None)}
