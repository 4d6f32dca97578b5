from __future__ import annotations

import pytest
import trio

from timer_trio.alarm import TrioAlarm


class Rings:
    """Notes when an alarm rings."""

    def __init__(self) -> None:
        self.at_s: list[float] = []

    def __call__(self) -> None:
        self.at_s.append(trio.current_time())


async def rings_of(*seconds: float, nursery: trio.Nursery) -> list[float]:
    """Set an alarm to some seconds from now, and tell how many seconds from now it has rung."""
    alarm, rings = TrioAlarm(), Rings()
    nursery.start_soon(alarm.run, rings)
    began_s = trio.current_time()
    for in_s in seconds:
        alarm.set(began_s + in_s)
    await trio.sleep(60)
    nursery.cancel_scope.cancel()
    return [at_s - began_s for at_s in rings.at_s]


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize(
    ("seconds", "rung"),
    [((5,), 5), ((5, 1), 1), ((1, 5), 1), ((-3,), 0), ((0,), 0)],
    ids=str,
)
async def test_alarm_rings_once_and_as_soon_as_it_is_to(
    nursery: trio.Nursery, seconds: tuple[float, ...], rung: float
) -> None:
    assert await rings_of(*seconds, nursery=nursery) == [pytest.approx(rung)]


@pytest.mark.usefixtures("virtual_time")
async def test_alarm_that_was_set_before_anybody_listened_rings(nursery: trio.Nursery) -> None:
    alarm, rings = TrioAlarm(), Rings()
    alarm.set(trio.current_time() + 1)
    await trio.sleep(2)
    nursery.start_soon(alarm.run, rings)
    await trio.sleep(1)
    assert len(rings.at_s) == 1
    nursery.cancel_scope.cancel()
