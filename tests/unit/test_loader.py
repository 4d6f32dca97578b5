from __future__ import annotations

from typing import Final

import pytest
import trio

from tests.unit.parts import INTERVAL_S, SOON_S, WINDOW_S, Parts
from timer_trio.delivery import loader
from timer_trio.delivery.loader import HINTS_LOST_INTERVAL_S, NEAR_EDGE_INTERVALS
from timer_trio.domain.errors import ContentionError, StorageUnavailableError
from timer_trio.domain.shards import HANDOVER_S
from timer_trio.domain.timer import SHARDS
from timer_trio.storage.group_commit import RETRY_PAUSE_S

NEAR_S: Final = NEAR_EDGE_INTERVALS * INTERVAL_S


async def run(parts: Parts) -> None:
    """Run the loader, and forget what its first pass has read."""
    await parts.nursery.start(parts.loader.run)
    parts.database.read.clear()


def reaches_s(parts: Parts) -> list[float]:
    return [read.reach_s for read in parts.database.read]


async def test_first_pass_reads_the_window_of_all_own_shards(parts: Parts) -> None:
    near, far = await parts.create(1, shard=3), await parts.create(WINDOW_S - 1, shard=200)
    await parts.create(WINDOW_S + 1)
    await parts.nursery.start(parts.loader.run)
    (read,) = parts.database.read
    assert (read.shards, read.reach_s) == (set(range(SHARDS)), WINDOW_S)
    assert parts.on_agenda() == [near, far]


async def test_overdue_timer_is_read_however_old(parts: Parts) -> None:
    overdue = await parts.create(-1_000_000)
    await run(parts)
    assert parts.on_agenda() == [overdue]


async def test_it_has_started_once_a_pass_is_through(parts: Parts) -> None:
    parts.database.errors["load"] = [StorageUnavailableError("away"), ContentionError("busy")]
    began_s = trio.current_time()
    await parts.nursery.start(parts.loader.run)
    assert trio.current_time() - began_s == pytest.approx(2 * RETRY_PAUSE_S)
    assert reaches_s(parts) == [WINDOW_S] * 3


async def test_shard_that_cannot_be_read_costs_no_other(parts: Parts) -> None:
    damaged, near = await parts.create(1, shard=17), await parts.create(1, shard=18)
    parts.database.damaged = {17}
    await parts.nursery.start(parts.loader.run)
    assert parts.on_agenda() == [near]
    parts.database.damaged = set()
    await trio.sleep(INTERVAL_S + SOON_S)
    assert damaged in parts.on_agenda()


async def test_shards_of_others_are_left_to_them(parts: Parts) -> None:
    parts.share_shards()
    await parts.create(1, shard=parts.foreign_shard)
    own = await parts.create(1, shard=parts.own_shard)
    await parts.nursery.start(parts.loader.run)
    (read,) = parts.database.read
    assert read.shards == parts.agenda.shards.own
    assert parts.on_agenda() == [own]


async def test_near_edge_is_read_again_and_again(parts: Parts) -> None:
    await run(parts)
    await trio.sleep(3 * INTERVAL_S + SOON_S)
    assert [(round(read.at_s), read.reach_s) for read in parts.database.read] == [
        (30, NEAR_S),
        (60, NEAR_S),
        (90, NEAR_S),
    ]


async def test_timer_that_nobody_told_of_is_found_before_its_instant(parts: Parts) -> None:
    await run(parts)
    unseen = await parts.create(INTERVAL_S + 5)
    await trio.sleep(INTERVAL_S + SOON_S)
    assert parts.on_agenda() == [unseen]


async def test_next_window_is_read_before_the_last_one_ends(parts: Parts) -> None:
    await run(parts)
    beyond = await parts.create(WINDOW_S + 10)
    await trio.sleep(WINDOW_S - INTERVAL_S)
    assert parts.on_agenda() == [beyond]


@pytest.mark.parametrize("shard", [0, 17, SHARDS - 1])
async def test_shard_that_fills_its_part_of_a_page_is_read_to_its_end(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, shard: int
) -> None:
    monkeypatch.setattr(loader, "PAGE_ROWS", 2 * SHARDS)
    timers = [await parts.create(1 + n, shard=shard) for n in range(5)]
    await parts.nursery.start(parts.loader.run)
    assert parts.on_agenda() == timers
    assert [len(read.shards) for read in parts.database.read] == [SHARDS, 1, 1]


async def test_near_edge_that_is_asked_for_is_read_at_once(parts: Parts) -> None:
    await run(parts)
    await trio.sleep(5)
    parts.agenda.refill.ask_near()
    await trio.sleep(SOON_S)
    assert reaches_s(parts) == [NEAR_S]


async def test_window_that_is_asked_for_is_read_at_once(parts: Parts) -> None:
    await run(parts)
    await trio.sleep(5)
    parts.agenda.refill.ask_window()
    await trio.sleep(SOON_S)
    assert reaches_s(parts) == [WINDOW_S]


async def test_shards_that_are_asked_for_are_read_up_to_the_horizon(parts: Parts) -> None:
    parts.share_shards()
    await run(parts)
    await trio.sleep(5)
    parts.agenda.refill.ask_shards({parts.own_shard, parts.foreign_shard})
    await trio.sleep(SOON_S)
    (read,) = parts.database.read
    assert read.shards == {parts.own_shard}
    assert read.reach_s == pytest.approx(WINDOW_S - 5, abs=0.2)


async def test_look_that_fails_is_made_again_as_far_as_it_was_to_go(parts: Parts) -> None:
    await run(parts)
    parts.database.errors["load"] = [StorageUnavailableError("no connection")]
    await trio.sleep(INTERVAL_S + 1)
    assert reaches_s(parts) == [NEAR_S, NEAR_S]
    failed, again = parts.database.read
    assert again.at_s - failed.at_s == pytest.approx(RETRY_PAUSE_S)


async def test_what_was_asked_for_is_kept_when_its_look_fails(parts: Parts) -> None:
    await run(parts)
    parts.database.errors["load"] = [StorageUnavailableError("away"), ContentionError("busy")]
    parts.agenda.refill.ask_shards({3})
    await trio.sleep(RETRY_PAUSE_S / 2)
    parts.agenda.refill.ask_shards({4})
    await trio.sleep(2 * RETRY_PAUSE_S)
    assert [read.shards for read in parts.database.read] == [{3}, {3, 4}, {3, 4}]


async def test_window_is_kept_when_its_look_fails(parts: Parts) -> None:
    await run(parts)
    parts.database.errors["load"] = [StorageUnavailableError("away")]
    parts.agenda.refill.ask_window()
    await trio.sleep(2 * RETRY_PAUSE_S)
    assert reaches_s(parts) == [WINDOW_S, WINDOW_S]


async def test_looks_at_some_shards_do_not_put_off_the_next_at_the_near_edge(
    parts: Parts,
) -> None:
    await run(parts)
    for _ in range(4):
        await trio.sleep(INTERVAL_S / 4 - 0.5)
        parts.agenda.refill.ask_shards({3})
    await trio.sleep(2 + SOON_S)
    assert reaches_s(parts).count(NEAR_S) == 1


async def test_who_hears_no_hints_looks_every_second(parts: Parts) -> None:
    parts.share_shards()
    await run(parts)
    parts.agenda.refill.note_hints_lost()
    await trio.sleep(5 * HINTS_LOST_INTERVAL_S + SOON_S)
    assert reaches_s(parts) == [NEAR_EDGE_INTERVALS * HINTS_LOST_INTERVAL_S] * 6
    assert all(read.shards == parts.agenda.shards.own for read in parts.database.read)


async def test_who_is_alone_misses_no_hints(parts: Parts) -> None:
    await run(parts)
    parts.agenda.refill.note_hints_lost()
    await trio.sleep(INTERVAL_S - 1)
    assert parts.database.read == []


async def test_hints_that_are_heard_again_end_the_looks(parts: Parts) -> None:
    parts.share_shards()
    await run(parts)
    parts.agenda.refill.note_hints_lost()
    await trio.sleep(5)
    parts.database.read.clear()
    parts.agenda.refill.note_hints_heard()
    await trio.sleep(INTERVAL_S - 1)
    assert reaches_s(parts) == [WINDOW_S]


async def test_near_edge_is_read_in_time_while_looks_are_made_every_second(parts: Parts) -> None:
    parts.share_shards()
    await run(parts)
    parts.agenda.refill.note_hints_lost()
    await trio.sleep(3 * INTERVAL_S + SOON_S)
    assert reaches_s(parts).count(NEAR_S) == 3


async def test_what_others_fire_now_is_let_go_but_for_what_is_due_at_once(parts: Parts) -> None:
    shards = range(0, SHARDS, 16)
    soon = [await parts.create(HANDOVER_S - 1, shard=shard) for shard in shards]
    later = [await parts.create(HANDOVER_S + 1, shard=shard) for shard in shards]
    await run(parts)
    parts.share_shards()
    await trio.sleep(SOON_S)
    still_own = [timer for timer in later if parts.agenda.shards.owns(timer.id)]
    assert 0 < len(still_own) < len(later)
    assert sorted(parts.on_agenda()) == sorted(soon + still_own)


async def test_shards_that_were_gained_are_read(parts: Parts) -> None:
    parts.share_shards()
    await run(parts)
    gained = [await parts.create(100 + n, shard=parts.foreign_shard) for n in range(3)]
    parts.membership.divide(parts.heartbeat.replica, {parts.heartbeat.replica})
    await trio.sleep(SOON_S)
    assert parts.on_agenda() == gained
