"""A timer keeps the span in which it was created, whoever writes it; its result is of the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from tests.contract.test_storage_flow_keys import TARGET, WAYS, Write
from tests.contract.timers import FIRST, NOW, SECOND, SOON, ask, claimed, new_timer, spec
from timer_trio.domain.outcome import Delivered
from timer_trio.domain.query import TimerQuery
from timer_trio.domain.settlement import settlement_of
from timer_trio.domain.timer import ClaimedTimer, NewTimer
from timer_trio.storage import Storage

TRACEPARENT: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def traced(**changes: object) -> NewTimer:
    return replace(new_timer(), traceparent=TRACEPARENT, **changes)  # type: ignore[arg-type]  # of any field


async def result_of(storage: Storage, timer: ClaimedTimer) -> ClaimedTimer:
    settlement = settlement_of(timer, Delivered(200), SOON, SOON)
    assert settlement is not None
    assert await storage.settle([settlement], SOON) == [True]
    listed = (await storage.list(TimerQuery())).timers
    (result_id,) = [each.id for each in listed if each.parent_id == timer.id]
    return await claimed(storage, result_id, claim=SECOND)


@pytest.mark.parametrize("write", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("max_live", [None, 9])
async def test_span_is_kept_however_it_is_written(
    storage: Storage, write: Write, max_live: int | None
) -> None:
    timer, other = traced(max_live=max_live), replace(new_timer(), max_live=max_live)
    await write(storage, [timer, other])
    assert (await claimed(storage, timer.id)).traceparent == TRACEPARENT
    (plain,) = (await ask(storage, [other.id])).claimed
    assert plain.traceparent is None


async def test_result_is_of_the_same_trace(storage: Storage) -> None:
    timer = traced(spec=spec(on_completed=TARGET))
    await storage.create([timer], NOW)
    result = await result_of(storage, await claimed(storage, timer.id, claim=FIRST))
    assert result.traceparent == TRACEPARENT


async def test_change_leaves_it(storage: Storage) -> None:
    timer = traced()
    await storage.create([timer], NOW)
    await storage.update(timer.id, {"metadata": {"a": 1}}, SOON)
    assert (await claimed(storage, timer.id)).traceparent == TRACEPARENT
