from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from timer_trio.access.recent import MAX_AGE_S, Recent
from timer_trio.domain.errors import StorageUnavailableError


class Shelf:
    """Values that are there, and how often each was asked for."""

    def __init__(self, *names: str, delay_s: float = 0) -> None:
        self.names = {*names}
        self.asked: list[str] = []
        self.error: Exception | None = None
        self._delay_s = delay_s

    async def read(self, name: str) -> str | None:
        self.asked.append(name)
        found = name.upper() if name in self.names else None
        await trio.sleep(self._delay_s)
        if self.error is not None:
            raise self.error
        return found


async def test_value_is_read_once_in_a_while(autojump_clock: MockClock) -> None:
    del autojump_clock
    shelf = Shelf("a")
    recent = Recent(shelf.read, most=10)
    for _ in range(3):
        assert [await recent.get("a"), await recent.get("b")] == ["A", None]
    assert shelf.asked == ["a", "b"]
    await trio.sleep(MAX_AGE_S)
    shelf.names = {"b"}
    assert [await recent.get("a"), await recent.get("b")] == [None, "B"]
    assert shelf.asked == ["a", "b"] * 2


async def test_what_is_forgotten_while_it_is_read_is_read_again(autojump_clock: MockClock) -> None:
    del autojump_clock
    shelf = Shelf("a", delay_s=1)
    recent = Recent(shelf.read, most=10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recent.get, "a")
        await trio.sleep(0.5)
        shelf.names.clear()
        recent.forget("a")
    assert await recent.get("a") is None
    recent.forget_all()
    shelf.names.add("a")
    assert await recent.get("a") == "A"


async def test_all_who_wait_hear_of_an_outage_at_once(autojump_clock: MockClock) -> None:
    del autojump_clock
    shelf = Shelf("a", delay_s=1)
    shelf.error = StorageUnavailableError("away")
    recent = Recent(shelf.read, most=10)
    told = []

    async def ask() -> None:
        with pytest.raises(StorageUnavailableError, match="away"):
            await recent.get("a")
        told.append(trio.current_time())

    began_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
    assert [round(told_s - began_s, 3) for told_s in told] == [1.0] * 5
    assert shelf.asked == ["a"]


async def test_memory_is_bounded_and_unknown_names_displace_no_others(
    autojump_clock: MockClock,
) -> None:
    del autojump_clock
    shelf = Shelf("a", "b", "c")
    recent = Recent(shelf.read, most=2)
    await recent.get("a")
    for number in range(1_000):
        await recent.get(str(number))
    assert len(recent) == 3
    await recent.get("a")
    assert shelf.asked.count("a") == 1
    for name in ("b", "c", "a"):
        await recent.get(name)
    assert (len(recent), shelf.asked.count("a")) == (4, 2)


async def test_value_that_comes_too_late_is_not_used(autojump_clock: MockClock) -> None:
    del autojump_clock
    shelf = Shelf("a", delay_s=MAX_AGE_S)
    with pytest.raises(StorageUnavailableError, match="longer than 5s"):
        await Recent(shelf.read, most=2).get("a")
