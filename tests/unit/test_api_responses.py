from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta, timezone
from uuid import UUID

import pytest

from tests.contract.timers import LATER, NOW, new_timer
from timer_trio.api.responses import summary_data, summary_json
from timer_trio.domain.timer import Status, TimerId, TimerSummary
from timer_trio.intake.intake import new_summary

SUMMARY = new_summary(new_timer())
EAST = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    "summary",
    [
        SUMMARY,
        replace(SUMMARY, callback_url='https://example.com/ü?a="\\"&b=\x1f\U0001f600'),
        replace(
            SUMMARY, created_at=NOW.replace(microsecond=1200), execute_at=LATER.astimezone(EAST)
        ),
        replace(SUMMARY, status=Status.COMPLETED, executed_at=LATER),
        replace(SUMMARY, parent_id=TimerId(UUID(int=7))),
    ],
    ids=["new", "odd URL", "other instants", "executed", "result"],
)
def test_summary_is_written_as_a_library_writes_it(summary: TimerSummary) -> None:
    assert summary_json(summary) == json.dumps(summary_data(summary), ensure_ascii=False)
