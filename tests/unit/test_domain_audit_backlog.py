"""Which entries of the audit wait: what adds up is one, and there are so many at most."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import count
from uuid import UUID

import pytest

from tests.audit import KEY, SOMEBODY
from tests.contract.timers import NOW, seconds
from timer_trio.domain.audit import Act, Action, Actor, AuditEntry, EntryId
from timer_trio.domain.audit_backlog import AuditBacklog
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.timer import JsonText

CREATED = Action.TIMER_CREATED
ONE = Act(CREATED, "one")


def backlog(most: int = 100) -> AuditBacklog:
    numbers = count(1)
    return AuditBacklog(lambda: EntryId(UUID(int=next(numbers))), most)


def told(entries: Iterable[AuditEntry]) -> list[tuple[str, str | None, int]]:
    return [(entry.action, entry.target, entry.count) for entry in entries]


def test_each_act_is_an_entry_in_the_order_in_which_they_came() -> None:
    waiting = backlog()
    for _ in range(2):
        waiting.add(SOMEBODY, Act(Action.TIMER_CANCELED, "it"), NOW)
    waiting.add(SOMEBODY, Act(Action.KEY_REVOKED, KEY), NOW)
    assert told(waiting.waiting()) == [
        ("timer.canceled", "it", 1),
        ("timer.canceled", "it", 1),
        ("key.revoked", KEY, 1),
    ]


def test_creations_of_a_minute_are_one_entry() -> None:
    waiting = backlog()
    waiting.add(SOMEBODY, ONE, NOW)
    waiting.add(SOMEBODY, Act(CREATED, None, 5), NOW + seconds(20))
    waiting.add(SOMEBODY, Act(CREATED, "two"), NOW + seconds(59.9))
    (entry,) = waiting.waiting()
    assert (entry.count, entry.target) == (7, None)
    assert (entry.at, entry.last_at) == (NOW, NOW + seconds(59.9))


def test_a_single_creation_has_its_target() -> None:
    waiting = backlog()
    waiting.add(SOMEBODY, ONE, NOW)
    assert told(waiting.waiting()) == [(CREATED, "one", 1)]


@pytest.mark.parametrize("at", [NOW + seconds(60), NOW - seconds(0.1), NOW + seconds(3600)])
def test_another_minute_is_another_entry(at: datetime) -> None:
    waiting = backlog()
    waiting.add(SOMEBODY, ONE, NOW)
    waiting.add(SOMEBODY, ONE, at)
    waiting.add(SOMEBODY, ONE, at)
    assert told(waiting.waiting()) == [(CREATED, "one", 1), (CREATED, "one", 2)]


@pytest.mark.parametrize(
    "other",
    [
        Actor(ProjectId(7), KEY, "10.0.0.7"),
        Actor(DEFAULT_PROJECT, None, "10.0.0.7"),
        Actor(DEFAULT_PROJECT, KEY, None),
    ],
)
def test_creations_of_others_are_entries_of_their_own(other: Actor) -> None:
    waiting = backlog()
    for actor in (SOMEBODY, other, SOMEBODY, other):
        waiting.add(actor, ONE, NOW)
    assert told(waiting.waiting()) == [(CREATED, "one", 2)] * 2


@pytest.mark.parametrize("action", [Action.TIMER_CHANGED, Action.TIMERS_BULK])
def test_equal_changes_add_up_and_others_do_not(action: Action) -> None:
    waiting = backlog()
    fields = JsonText('{"fields": ["delay"]}')
    for act in (Act(action, "a"), Act(action, "b"), Act(action, "a", 3, fields)):
        for _ in range(2):
            waiting.add(SOMEBODY, act, NOW)
    waiting.add(SOMEBODY, Act(action, "a"), NOW)
    assert [(each.target, each.count, each.details) for each in waiting.waiting()] == [
        ("a", 3, None),
        ("b", 2, None),
        ("a", 6, fields),
    ]


def test_what_is_written_is_forgotten() -> None:
    waiting = backlog()
    waiting.add(SOMEBODY, ONE, NOW)
    waiting.add(SOMEBODY, Act(Action.TIMER_CANCELED, "it"), NOW)
    waiting.forget(waiting.waiting())
    assert waiting.waiting() == []


def test_sum_that_grows_is_written_again_as_the_same_entry() -> None:
    waiting = backlog()
    waiting.add(SOMEBODY, ONE, NOW)
    (first,) = waiting.waiting()
    waiting.forget([first])
    waiting.add(SOMEBODY, ONE, NOW + seconds(1))
    (second,) = waiting.waiting()
    assert (second.id, second.at, second.count) == (first.id, first.at, 2)


def test_sum_that_has_grown_while_it_was_written_is_not_forgotten() -> None:
    waiting = backlog()
    waiting.add(SOMEBODY, ONE, NOW)
    written = waiting.waiting()
    waiting.add(SOMEBODY, ONE, NOW + seconds(1))
    assert [entry.count for entry in waiting.waiting()] == [2]
    waiting.forget(written)
    assert [entry.count for entry in waiting.waiting()] == [2]


def test_clock_that_steps_back_within_the_minute_does_not_turn_a_sum_around() -> None:
    waiting = backlog()
    waiting.add(SOMEBODY, ONE, NOW + seconds(9))
    waiting.add(SOMEBODY, ONE, NOW + seconds(3))
    (entry,) = waiting.waiting()
    assert entry.last_at == NOW + seconds(9)


def test_oldest_make_room_and_are_counted_once() -> None:
    waiting = backlog(most=3)
    for number in range(5):
        waiting.add(SOMEBODY, Act(Action.TIMER_CANCELED, str(number)), NOW)
    assert [entry.target for entry in waiting.waiting()] == ["2", "3", "4"]
    assert (waiting.take_dropped(), waiting.take_dropped()) == (2, 0)


def test_sums_are_no_more_than_entries_may_be() -> None:
    waiting = backlog(most=3)
    for number in range(50):
        waiting.add(Actor(ProjectId(number), None, None), ONE, NOW)
        assert len(waiting._sums) <= 3
    assert len(waiting.waiting()) == 3
    assert waiting.take_dropped() == 47
