"""What is told of what somebody does."""

from __future__ import annotations

import json
from dataclasses import replace
from uuid import UUID

from tests.audit import SOMEBODY, entry
from tests.contract.timers import NOW, seconds
from timer_trio.domain.audit import (
    MAX_TARGET_LENGTH,
    MAX_TOLD_LENGTH,
    ON_PROJECTS,
    Act,
    Action,
    Actor,
    AuditQuery,
    EntryId,
    audit_page,
    details,
    new_entry,
    told_filter,
)
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.query import Position
from timer_trio.domain.timer import TimerId

ID = EntryId(UUID(int=1))
SHOP = ProjectId(7)


def test_entry_tells_who_did_what_and_when() -> None:
    act = Act(Action.TIMER_CANCELED, "it", details=details({"why": [1, "ä"]}))
    made = new_entry(ID, SOMEBODY, act, NOW)
    assert made == replace(entry(1), details=act.details)
    assert json.loads(made.details or "") == {"why": [1, "ä"]}


def test_target_is_cut_and_may_be_none() -> None:
    long = new_entry(ID, SOMEBODY, Act(Action.FLOW_CHANGED, "x" * 9_999), NOW)
    assert long.target == "x" * MAX_TARGET_LENGTH
    assert new_entry(ID, SOMEBODY, Act(Action.TIMER_CREATED, None, 5), NOW).target is None


def test_what_is_done_to_projects_as_such_is_told_in_the_default_one() -> None:
    actor = Actor(SHOP, None, None)
    of_default = {
        action
        for action in Action
        if new_entry(ID, actor, Act(action, "shop"), NOW).project == DEFAULT_PROJECT
    }
    assert of_default == ON_PROJECTS
    assert new_entry(ID, actor, Act(Action.PROJECT_CHANGED, "shop"), NOW).project == SHOP


def test_page_of_one_more_than_it_holds_is_followed_by_another() -> None:
    entries = [entry(number, at=NOW - seconds(number)) for number in range(3)]
    query = AuditQuery(limit=2)
    page = audit_page(entries, query)
    assert page.entries == entries[:2]
    assert page.next == Position(NOW - seconds(1), TimerId(entries[1].id))
    last = audit_page(entries[:2], query)
    assert (last.entries, last.next) == (entries[:2], None)
    assert audit_page([], query).next is None


def test_long_values_of_a_filter_are_cut() -> None:
    long = "x" * (MAX_TOLD_LENGTH + 1)
    cut = f"{'x' * MAX_TOLD_LENGTH}…"
    given = {"status": "failed", "http_status": 503, long: long, "key": "x" * MAX_TOLD_LENGTH}
    assert told_filter(given) == {
        "status": "failed",
        "http_status": 503,
        cut: cut,
        "key": "x" * MAX_TOLD_LENGTH,
    }
