from __future__ import annotations

from typing import Final

import pytest
import trio

from tests.unit.parts import SOON_S, WINDOW_S, Parts, open_cache
from timer_trio.cluster.hints import HINTS_LOST_RETRY_S, RETRY_S
from timer_trio.delivery.refill import Wants
from timer_trio.domain.errors import ContentionError, StorageUnavailableError
from timer_trio.domain.shards import HANDOVER_S
from timer_trio.domain.timer import SHARDS, DueTimer
from timer_trio.storage import HintsLostError
from timer_trio.storage.group_commit import RETRY_PAUSE_S

NEAR_S: Final = HANDOVER_S + 1
"""Far enough for the owner of a shard to fire it, and within the window."""


@pytest.fixture
async def pair(parts: Parts) -> Parts:
    """The parts of one of two replicas."""
    parts.share_shards()
    await parts.hints.tell()
    parts.database.told.clear()
    parts.agenda.refill.take()
    open_cache(parts.agenda)
    return parts


def own(parts: Parts, in_s: float) -> DueTimer:
    return parts.due(in_s, shard=parts.own_shard)


def foreign(parts: Parts, in_s: float) -> DueTimer:
    return parts.due(in_s, shard=parts.foreign_shard)


async def test_own_timer_goes_on_the_agenda_and_is_told_to_nobody(pair: Parts) -> None:
    timer = own(pair, NEAR_S)
    pair.hints.offer([timer])
    await pair.hints.tell()
    assert (pair.on_agenda(), pair.database.told) == ([timer], [])


@pytest.mark.parametrize("shares", [False, True])
async def test_timer_that_was_moved_before_it_is_offered_again_keeps_the_earlier_time(
    parts: Parts,
    shares: bool,  # noqa: FBT001 - a parameter
) -> None:
    if shares:
        parts.share_shards()
    open_cache(parts.agenda)
    near, moved, far = own(parts, NEAR_S), own(parts, NEAR_S + 1), own(parts, NEAR_S + 2)
    parts.hints.offer([moved, far])
    parts.hints.offer_again([moved._replace(due_at=far.due_at), far._replace(due_at=near.due_at)])
    assert parts.on_agenda() == [far._replace(due_at=near.due_at), moved]


async def test_near_timer_of_another_is_told_and_left_to_it(pair: Parts) -> None:
    timer = foreign(pair, NEAR_S)
    pair.hints.offer([timer])
    await pair.hints.tell()
    assert (pair.on_agenda(), pair.database.told) == ([], [((timer,), set())])


async def test_timer_of_another_that_is_due_at_once_is_told_and_fired_here_too(
    pair: Parts,
) -> None:
    timer = foreign(pair, HANDOVER_S - 1)
    pair.hints.offer([timer])
    await pair.hints.tell()
    assert (pair.on_agenda(), pair.database.told) == ([timer], [((timer,), set())])


async def test_far_timer_of_another_is_left_to_its_loader(pair: Parts) -> None:
    pair.hints.offer([foreign(pair, WINDOW_S + 1)])
    await pair.hints.tell()
    assert (pair.on_agenda(), pair.database.told) == ([], [])


async def test_who_is_alone_tells_nothing(parts: Parts) -> None:
    open_cache(parts.agenda)
    timers = [parts.due(NEAR_S + shard, shard=shard) for shard in range(5)]
    parts.hints.offer(timers)
    await parts.hints.tell()
    assert (parts.on_agenda(), parts.database.told) == (timers, [])


async def test_timer_is_told_as_soon_as_it_is_offered(pair: Parts) -> None:
    pair.nursery.start_soon(pair.hints.tell_forever)
    await trio.sleep(1)
    timer = foreign(pair, NEAR_S)
    pair.hints.offer([timer])
    await trio.sleep(SOON_S)
    assert pair.database.told == [((timer,), set())]
    await trio.sleep(60)
    assert len(pair.database.told) == 1


async def test_all_that_waits_is_one_hint(pair: Parts) -> None:
    first, second = foreign(pair, NEAR_S), foreign(pair, NEAR_S + 1)
    pair.hints.offer([first])
    pair.hints.offer([second])
    pair.hints.hand_over({5, 6})
    await pair.hints.tell()
    assert pair.database.told == [((first, second), {5, 6})]


async def test_hint_is_repeated_until_the_database_takes_it(pair: Parts) -> None:
    pair.database.errors["hint"] = [StorageUnavailableError("away"), ContentionError("busy")]
    pair.hints.offer([foreign(pair, NEAR_S)])
    began_s = trio.current_time()
    await pair.hints.tell()
    assert trio.current_time() - began_s == pytest.approx(2 * RETRY_PAUSE_S)
    assert pair.database.told == [((), {pair.foreign_shard})]


async def test_shards_are_repeated_until_the_database_takes_them(pair: Parts) -> None:
    pair.database.errors["hint"] = [StorageUnavailableError("away")]
    pair.hints.hand_over({5, 6})
    await pair.hints.tell()
    assert pair.database.told == [((), {5, 6})]


async def test_hint_whose_reply_was_lost_is_repeated(pair: Parts) -> None:
    pair.database.lost_replies["hint"] = 1
    timer = foreign(pair, NEAR_S)
    pair.hints.offer([timer])
    await pair.hints.tell()
    assert pair.database.told == [((timer,), set()), ((), {pair.foreign_shard})]


async def test_what_is_offered_while_a_hint_is_under_way_is_in_the_next(pair: Parts) -> None:
    pair.database.delay_s["hint"] = 1
    first, second = foreign(pair, NEAR_S + 5), foreign(pair, NEAR_S + 6)
    pair.hints.offer([first])
    pair.nursery.start_soon(pair.hints.tell_forever)
    await trio.sleep(0.5)
    pair.hints.offer([second])
    await pair.hints.tell()
    assert pair.database.told == [((first,), set()), ((second,), set())]
    assert pair.database.most_at_once["hint"] == 1


async def test_last_hint_is_taken_when_tell_returns(pair: Parts) -> None:
    pair.database.delay_s["hint"] = 1
    pair.nursery.start_soon(pair.hints.tell_forever)
    pair.hints.offer([foreign(pair, NEAR_S)])
    await trio.sleep(0.5)
    await pair.hints.tell()
    assert len(pair.database.told) == 1


async def test_no_shard_is_nothing_to_tell(pair: Parts) -> None:
    pair.hints.hand_over(())
    await pair.hints.tell()
    assert pair.database.told == []


async def listen(parts: Parts) -> None:
    parts.nursery.start_soon(parts.hints.listen_forever)
    await trio.sleep(SOON_S)


async def test_who_begins_to_listen_reads_what_was_told_before(pair: Parts) -> None:
    await listen(pair)
    assert pair.agenda.refill.take() == Wants(window=True)
    assert not pair.hints.are_lost
    assert pair.breaks == []


async def test_own_timer_that_is_told_goes_on_the_agenda(pair: Parts) -> None:
    await listen(pair)
    timer = own(pair, NEAR_S)
    await pair.database.hint([timer, foreign(pair, NEAR_S)])
    assert pair.on_agenda() == [timer]


async def test_hint_that_comes_late_does_not_undo_a_move(pair: Parts) -> None:
    await listen(pair)
    timer = own(pair, NEAR_S)
    pair.hints.offer([timer])
    await pair.database.hint([timer._replace(due_at=own(pair, NEAR_S + 60).due_at)])
    assert pair.on_agenda() == [timer]


async def test_own_shards_that_are_told_are_read(pair: Parts) -> None:
    await listen(pair)
    pair.agenda.refill.take()
    await pair.database.hint([], {pair.foreign_shard})
    assert pair.agenda.refill.take() == Wants()
    await pair.database.hint([], set(range(SHARDS)))
    assert pair.agenda.refill.take() == Wants(shards=set(pair.agenda.shards.own))


@pytest.mark.parametrize(
    ("error", "pause_s"),
    [
        (StorageUnavailableError("away"), RETRY_S),
        (ContentionError("busy"), RETRY_S),
        (HintsLostError("a pooler"), HINTS_LOST_RETRY_S),
    ],
)
async def test_who_cannot_hear_says_so_and_tries_again(
    pair: Parts, error: Exception, pause_s: float
) -> None:
    pair.database.errors["listen"] = [error]
    await listen(pair)
    assert (pair.hints.are_lost, pair.agenda.refill.hints_are_lost) == (True, True)
    await trio.sleep(pause_s - 2 * SOON_S)
    assert pair.hints.are_lost
    assert len(pair.breaks) == 1
    await trio.sleep(2 * SOON_S)
    assert len(pair.breaks) == 2
    assert (pair.hints.are_lost, pair.agenda.refill.hints_are_lost) == (False, False)
    assert pair.agenda.refill.take().window is True


async def test_lost_hints_have_the_loader_look_every_second(pair: Parts) -> None:
    await pair.nursery.start(pair.loader.run)
    pair.database.errors["listen"] = [HintsLostError("a pooler")]
    await listen(pair)
    pair.database.read.clear()
    await trio.sleep(5)
    assert len(pair.database.read) == 5


async def test_what_is_moved_to_another_database_is_neither_told_nor_fired(parts: Parts) -> None:
    open_cache(parts.agenda)
    parts.agenda.shards.keep(range(128), of=range(SHARDS))
    stays, goes = (parts.due(SOON_S, shard=shard) for shard in (127, 128))
    parts.hints.offer([goes, stays])
    await parts.hints.tell()
    assert (parts.on_agenda(), parts.database.told) == ([stays], [])
