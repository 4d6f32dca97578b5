from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from timer_trio.lifecycle import Lifecycle, ended_by

PHASES = ("handing_over", "draining", "giving_back", "closed")
ORDERS: list[Callable[[Lifecycle], None]] = [
    lambda _: None,
    Lifecycle.hand_over,
    Lifecycle.drain,
    Lifecycle.give_back,
    Lifecycle.close,
]


def reached(lifecycle: Lifecycle) -> list[bool]:
    return [getattr(lifecycle, phase).is_set() for phase in PHASES]


@pytest.mark.parametrize("steps", range(5))
def test_each_phase_comes_with_those_before_it(steps: int) -> None:
    lifecycle = Lifecycle()
    ORDERS[steps](lifecycle)
    assert reached(lifecycle) == [index < steps for index in range(4)]


@pytest.mark.parametrize("steps", range(5))
def test_phase_never_goes_back(steps: int) -> None:
    lifecycle = Lifecycle()
    lifecycle.close()
    ORDERS[steps](lifecycle)
    assert all(reached(lifecycle))


def test_first_stop_goes_in_order_and_the_second_hurries() -> None:
    lifecycle = Lifecycle()
    lifecycle.stop()
    assert reached(lifecycle) == [True, False, False, False]
    lifecycle.stop()
    assert all(reached(lifecycle))


def run(main: Callable[[], Awaitable[None]]) -> None:
    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_grace_begins_with_the_stop() -> None:
    async def main() -> None:
        lifecycle = Lifecycle()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lifecycle.close_after, 10.0)
            await trio.sleep(100)
            lifecycle.stop()
            await trio.sleep(9)
            assert not lifecycle.draining.is_set()
            await trio.sleep(2)
            assert all(reached(lifecycle))

    run(main)


def test_hurry_ends_the_grace() -> None:
    async def main() -> None:
        lifecycle = Lifecycle()
        lifecycle.stop()
        lifecycle.stop()
        await lifecycle.close_after(10.0)
        assert trio.current_time() < 10

    run(main)


def test_block_is_left_with_the_event_or_before_it() -> None:
    async def main() -> None:
        event = trio.Event()
        async with ended_by(event):
            await trio.sleep(1)
        async with trio.open_nursery() as nursery, ended_by(event):
            nursery.start_soon(trio.sleep, 5)
            event.set()
            await trio.sleep_forever()
        assert trio.current_time() < 10

    run(main)
