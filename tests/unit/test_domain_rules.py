from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import inf, nan

import pytest

from timer_trio.domain.breaker_policy import BreakerPolicy
from timer_trio.domain.flow import FlowKey
from timer_trio.domain.rules import NO_FLOW_RULES, NOT_PAUSED, Flow, FlowRules, Pause, Rate

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("failures", "open_s"),
    [(0, 1), (1_001, 1), (-1, 1), (1, 0), (1, 0.9), (1, 3_601), (1, inf), (1, nan)],
)
def test_breaker_has_numbers_that_can_be_followed(failures: int, open_s: float) -> None:
    with pytest.raises(ValueError, match="no breaker"):
        BreakerPolicy(failures=failures, open_s=open_s)


@pytest.mark.parametrize(("failures", "open_s"), [(1, 1), (1_000, 3_600), (5, 2.5)])
def test_breaker_may_have_any_other(failures: int, open_s: float) -> None:
    policy = BreakerPolicy(failures=failures, open_s=open_s)
    assert (policy.failures, policy.open_s) == (failures, open_s)


def test_pause_counts_from_when_it_began() -> None:
    assert NOT_PAUSED.begun(NOW) == Pause(NOW, None)
    assert NOT_PAUSED.begun(NOW).begun(LATER) == Pause(NOW, None)


def test_resumption_counts_from_the_end_of_the_pause() -> None:
    assert Pause(NOW).ended(LATER) == Pause(None, LATER)
    assert Pause(None, NOW).ended(LATER) == Pause(None, NOW)
    assert NOT_PAUSED.ended(NOW) == NOT_PAUSED


def test_pause_remembers_the_resumption_before_it() -> None:
    assert Pause(None, NOW).begun(LATER) == Pause(LATER, NOW)


def test_change_of_a_flow_leaves_what_it_does_not_name() -> None:
    rules = FlowRules(max_in_flight=3, rate=Rate(10, 60), paused_at=NOW)
    assert rules.changed({}, LATER) == rules
    assert rules.changed({"max_in_flight": None}, LATER) == FlowRules(
        rate=Rate(10, 60), paused_at=NOW
    )
    assert rules.changed({"rate": None, "paused": False}, LATER) == FlowRules(
        max_in_flight=3, resumed_at=LATER
    )


def test_flow_is_paused_by_a_change() -> None:
    assert NO_FLOW_RULES.changed({"paused": True}, NOW).pause == Pause(NOW)


def test_deleted_settings_resume_what_was_paused() -> None:
    limits = FlowRules(max_in_flight=3, rate=Rate(10, 60))
    assert limits.deleted(NOW) == NO_FLOW_RULES
    assert limits.changed({"paused": True}, NOW).deleted(LATER) == FlowRules(resumed_at=LATER)


def test_flow_has_settings_once_some_are_put_and_until_they_are_deleted() -> None:
    flow = Flow(key=FlowKey("mails"))
    assert not flow.has_settings
    put = flow.changed({"max_in_flight": 3}, NOW)
    assert put.has_settings
    assert (put.created_at, put.updated_at) == (NOW, NOW)
    assert put.changed({}, LATER).created_at == NOW
    deleted = put.deleted(LATER)
    assert not deleted.has_settings
    assert deleted.rules == NO_FLOW_RULES
    assert deleted.changed({}, LATER).created_at == LATER
