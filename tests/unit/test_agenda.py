from __future__ import annotations

from math import inf
from typing import Final

import pytest
import trio

from tests.contract.timers import FIRST
from tests.unit.parts import PROMPT, Parts, open_cache
from timer_trio.delivery.agenda import Agenda
from timer_trio.domain.pace import Pace
from timer_trio.domain.slots import TOP_UP_PAUSE_S
from timer_trio.domain.timer import DueTimer

PATIENCE_S: Final = 5.0


@pytest.fixture
def agenda(parts: Parts) -> Agenda:
    open_cache(parts.agenda)
    return parts.agenda


async def waited_s(agenda: Agenda, *, wants_any_slot: bool = False) -> float:
    """How long the claimer sleeps, who looks again after `PATIENCE_S` at the latest."""
    began_s = trio.current_time()
    await agenda.wait_changed(began_s + PATIENCE_S, wants_any_slot=wants_any_slot)
    return trio.current_time() - began_s


def first(agenda: Agenda) -> float | None:
    front = agenda.cache.peek()
    return None if front is None else front[0]


def stamp(timer: DueTimer) -> float:
    return timer.due_at.timestamp()


async def test_claimer_looks_again_when_nothing_changes(agenda: Agenda) -> None:
    assert await waited_s(agenda) == PATIENCE_S


async def test_first_timer_wakes_the_claimer(parts: Parts, agenda: Agenda) -> None:
    agenda.add([parts.due(10)])
    assert await waited_s(agenda) == 0


async def test_nearer_timer_wakes_the_claimer(parts: Parts, agenda: Agenda) -> None:
    agenda.add([parts.due(10)])
    agenda.begin_look()
    agenda.add([parts.due(9)])
    assert await waited_s(agenda) == 0


async def test_later_timer_lets_the_claimer_sleep(parts: Parts, agenda: Agenda) -> None:
    agenda.add([parts.due(10)])
    agenda.begin_look()
    agenda.add([parts.due(11)])
    assert await waited_s(agenda) == PATIENCE_S


async def test_change_during_a_look_is_not_lost(parts: Parts, agenda: Agenda) -> None:
    agenda.begin_look()
    agenda.add([parts.due(10)])
    assert await waited_s(agenda) == 0


async def test_change_wakes_who_sleeps(parts: Parts, agenda: Agenda) -> None:
    async def add() -> None:
        await trio.sleep(1)
        agenda.add([parts.due(10)])

    parts.nursery.start_soon(add)
    assert await waited_s(agenda) == 1


async def test_timer_that_was_moved_is_due_at_its_new_time(parts: Parts, agenda: Agenda) -> None:
    timer = parts.due(10)
    later = timer._replace(due_at=parts.due(20).due_at)
    agenda.add([timer])
    agenda.add([later])
    assert (first(agenda), len(agenda.cache)) == (stamp(later), 1)


async def test_reading_does_not_undo_a_move(parts: Parts, agenda: Agenda) -> None:
    moved = parts.due(5)
    agenda.add([moved])
    agenda.add_readings([moved._replace(due_at=parts.due(20).due_at)])
    assert first(agenda) == stamp(moved)


async def test_reading_of_another_replicas_timer_is_left_to_it(
    parts: Parts, agenda: Agenda
) -> None:
    parts.share_shards()
    own, foreign = parts.due(2, shard=parts.own_shard), parts.due(1, shard=parts.foreign_shard)
    agenda.add_readings([foreign, own])
    assert (first(agenda), len(agenda.cache)) == (stamp(own), 1)


async def test_timer_in_hand_is_not_read_again(parts: Parts, agenda: Agenda) -> None:
    timer = parts.due(1)
    agenda.take_in_hand(timer.id, FIRST)
    agenda.add_readings([timer])
    assert len(agenda.cache) == 0


async def test_timer_out_of_hand_is_read_again(parts: Parts, agenda: Agenda) -> None:
    timer = parts.due(1)
    agenda.take_in_hand(timer.id, FIRST)
    agenda.let_go(timer.id, FIRST)
    agenda.add_readings([timer])
    assert first(agenda) == stamp(timer)


async def test_freed_slot_for_which_nobody_waits_wakes_nobody(agenda: Agenda) -> None:
    agenda.note_slot_freed(PROMPT)
    assert await waited_s(agenda) == PATIENCE_S


async def test_freed_slot_wakes_the_claimer_when_its_destination_waits(agenda: Agenda) -> None:
    agenda.slots.waiting[PROMPT] = None
    agenda.note_slot_freed(PROMPT)
    assert await waited_s(agenda) == 0


async def test_one_look_serves_all_slots_that_come_free_for_a_pace(
    parts: Parts, agenda: Agenda
) -> None:
    agenda.slots.waiting[Pace.NEW] = None

    async def free_slots() -> None:
        for _ in range(10):
            agenda.note_slot_freed(PROMPT)
            await trio.sleep(TOP_UP_PAUSE_S / 20)

    parts.nursery.start_soon(free_slots)
    assert await waited_s(agenda) == pytest.approx(TOP_UP_PAUSE_S)


async def test_who_wants_any_slot_takes_those_of_the_next_milliseconds_too(agenda: Agenda) -> None:
    with trio.move_on_after(0):
        await agenda.wait_changed(inf, wants_any_slot=True)
    agenda.note_slot_freed(PROMPT)
    assert await waited_s(agenda, wants_any_slot=True) == pytest.approx(TOP_UP_PAUSE_S)


async def test_metrics_show_what_is_on_the_agenda(parts: Parts, agenda: Agenda) -> None:
    agenda.report(parts.metrics, parts.clock)
    assert parts.sample("oldest_overdue_seconds") == 0
    agenda.add([parts.due(-3), parts.due(10)])
    assert parts.sample("oldest_overdue_seconds") == pytest.approx(3, abs=0.001)
    assert parts.sample("cached") == 2
