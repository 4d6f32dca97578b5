from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.contract.timers import EPOCH, NOW, SOON, created, due, new_timer
from timer_trio.callback_url import read_url
from timer_trio.domain.errors import RowRefusedError, TimerNotFoundError
from timer_trio.domain.timer import Delivery, JsonText, Method, SpecChange, Status, Timer
from timer_trio.storage import Storage

ODD: list[SpecChange] = [
    {"callback_payload": None},
    {"callback_payload": JsonText("null")},
    {"callback_payload": JsonText('{"b": 1, "a": 12345678901234567890123, "b": "\\u0000"}')},
    {"callback_payload": JsonText('"ünïcödé 🎈 \' \\" \\\\ %s {}"')},
    {"callback_headers": {"X-B": "2", "X-A": "1", "Authorization": "a, b"}},
    {"metadata": {}},
    {"metadata": {"a": [1, 2.5, None, True, {"b": "ü"}], "": "empty", "n": 2**70}},
    {"misfire_grace_s": None, "timeout_s": 0.1, "delivery": Delivery.AT_MOST_ONCE},
    {"callback_method": Method.DELETE},
    {"callback_url": read_url("http://[::1]:8080/a?b=%20c#d")},
    {"execute_at": EPOCH},
    {"execute_at": datetime.max.replace(tzinfo=UTC)},
    {"execute_at": NOW.replace(microsecond=1)},
]


@pytest.mark.parametrize("changes", ODD, ids=",".join)
async def test_what_was_created_is_read_back(storage: Storage, changes: SpecChange) -> None:
    timer = new_timer(**changes)
    await storage.create([timer], SOON)
    assert await storage.get(timer.id) == Timer(
        id=timer.id,
        created_at=NOW,
        updated_at=SOON,
        spec=timer.spec,
        status=Status.PENDING,
        executed_at=None,
        attempt=0,
        last_error=None,
    )


async def test_nobody_has_what_was_never_created(storage: Storage) -> None:
    with pytest.raises(TimerNotFoundError):
        await storage.get(new_timer().id)


async def test_creating_again_changes_nothing(storage: Storage) -> None:
    first, second = new_timer(), new_timer()
    await storage.create([first], NOW)
    await storage.cancel(first.id, SOON)
    before = await storage.get(first.id)
    await storage.create([second, first], SOON)
    assert await storage.get(first.id) == before
    assert await due(storage) == [second.id]


async def test_creating_one_twice_in_a_batch_makes_one(storage: Storage) -> None:
    timer = new_timer()
    await storage.create([timer, timer], NOW)
    assert await due(storage) == [timer.id]


async def test_creating_nothing_does_nothing(storage: Storage) -> None:
    await storage.create([], NOW)


REFUSED: list[SpecChange] = [
    {"callback_payload": JsonText('"\0"')},
    {"callback_payload": JsonText('"\ud800"')},
    {"callback_url": read_url("https://example.com/")._replace(text="https://example.com/\0")},
    {"metadata": {"a": ["\0"]}},
    {"metadata": {"\0": 1}},
    {"metadata": {"a": "\ud800"}},
    {"execute_at": datetime(1969, 12, 31, tzinfo=UTC)},
    {"timeout_s": 0.0},
    {"timeout_s": float("inf")},
    {"misfire_grace_s": -1.0},
]


@pytest.mark.parametrize("changes", REFUSED, ids=",".join)
async def test_one_bad_row_keeps_the_whole_batch_out(storage: Storage, changes: SpecChange) -> None:
    good = [new_timer(), new_timer()]
    with pytest.raises(RowRefusedError) as refusal:
        await storage.create([good[0], new_timer(**changes), good[1]], NOW)
    assert "INSERT" not in str(refusal.value)
    assert await due(storage) == []
    await storage.create(good, NOW)
    assert len(await due(storage)) == 2


async def test_refused_words_show_no_value(storage: Storage) -> None:
    with pytest.raises(RowRefusedError) as refusal:
        await created(storage, callback_payload=JsonText('"s3cret \0"'))
    assert "s3cret" not in repr(refusal.value)
    assert refusal.value.__cause__ is None
