from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Final
from uuid import RFC_4122, UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.contract.timers import (
    ALICE,
    FIRST,
    NOW,
    SECOND,
    SOON,
    TRANSITIONS,
    ask,
    claimed,
    completed,
    created,
    failed,
    given_back,
    new_timer,
    retrying,
    seconds,
    spec,
)
from timer_trio.callback_url import read_url
from timer_trio.domain.answer import StoreResponse
from timer_trio.domain.errors import NotEndedError, NotPendingError
from timer_trio.domain.retry import RetryPolicy
from timer_trio.domain.signing import Signing
from timer_trio.domain.timer import (
    NEW_COLUMNS,
    SHARDS,
    Claim,
    ClaimedTimer,
    ResultTarget,
    SpecChange,
    Status,
    TimerId,
    asks_for_results,
    due_timer,
    held_until,
    new_timer_id,
    rfc3339,
    shard_of,
)
from timer_trio.storage.memory import MemoryStorage

INSTANTS: Final = st.datetimes(
    min_value=datetime(1970, 1, 1),  # noqa: DTZ001 - the strategy adds the time zone
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001 - the strategy adds the time zone
    timezones=st.just(UTC),
)
SHARD_NUMBERS: Final = st.integers(0, SHARDS - 1)


def new_id(now: datetime, shard: int = 0) -> TimerId:
    return new_timer_id(now, shard, random.Random(shard).getrandbits)


# What is asked for.


TOLD: Final = ResultTarget(url=read_url("https://example.org/"), headers={})


def test_only_what_asks_for_something_new_is_not_plain() -> None:
    assert spec(metadata={"a": 1}).is_plain
    new: list[SpecChange] = [
        {"retry": RetryPolicy()},
        {"store_response": StoreResponse.NONE},
        {"on_completed": TOLD},
        {"on_failed": TOLD},
        {"signing": Signing.NONE},
    ]
    assert not any(spec(**change).is_plain for change in new)
    assert {name for change in new for name in change} == NEW_COLUMNS


@pytest.mark.parametrize(
    ("change", "asks"),
    [
        ({}, False),
        ({"on_completed": None, "on_failed": None}, False),
        ({"on_completed": TOLD}, True),
        ({"on_completed": None, "on_failed": TOLD}, True),
    ],
)
def test_a_change_asks_for_results_that_names_somebody(change: SpecChange, *, asks: bool) -> None:
    assert asks_for_results(change) is asks


def test_what_the_cache_knows_of_a_new_timer() -> None:
    timer = new_timer()
    assert due_timer(timer) == (NOW, timer.id, ("https://example.com:443", 0), None)


# The way a timer may go.


def test_every_status_can_be_reached_from_pending() -> None:
    reached = {Status.PENDING}
    for _ in Status:
        reached |= {after for before in reached for after in TRANSITIONS[before]}
    assert reached == set(Status)


async def _make_pending(_: MemoryStorage, __: TimerId) -> None:
    return


async def _make_executing(storage: MemoryStorage, timer_id: TimerId) -> None:
    await claimed(storage, timer_id)


async def _make_unknown(storage: MemoryStorage, timer_id: TimerId) -> None:
    await claimed(storage, timer_id)
    await storage.sweep(ALICE, None, SOON)


async def _make_completed(storage: MemoryStorage, timer_id: TimerId) -> None:
    await claimed(storage, timer_id)
    await storage.settle([completed(timer_id)], SOON)


async def _make_failed(storage: MemoryStorage, timer_id: TimerId) -> None:
    await claimed(storage, timer_id)
    await storage.settle([failed(timer_id)], SOON)


async def _make_retrying(storage: MemoryStorage, timer_id: TimerId) -> None:
    await claimed(storage, timer_id)
    await storage.settle([retrying(timer_id)], SOON)


async def _make_canceled(storage: MemoryStorage, timer_id: TimerId) -> None:
    await storage.cancel(timer_id, NOW)


async def _update(storage: MemoryStorage, timer_id: TimerId) -> None:
    await storage.update(timer_id, {"timeout_s": 1.0}, SOON)


async def _cancel(storage: MemoryStorage, timer_id: TimerId) -> None:
    await storage.cancel(timer_id, SOON)


async def _claim(storage: MemoryStorage, timer_id: TimerId) -> None:
    await storage.join(ALICE, NOW)
    await ask(storage, [timer_id], ALICE, SECOND)


async def _settle(storage: MemoryStorage, timer_id: TimerId) -> None:
    await storage.settle([completed(timer_id)], SOON)


async def _settle_failed(storage: MemoryStorage, timer_id: TimerId) -> None:
    await storage.settle([failed(timer_id)], SOON)


async def _settle_retrying(storage: MemoryStorage, timer_id: TimerId) -> None:
    await storage.settle([retrying(timer_id)], SOON)


async def _give_back(storage: MemoryStorage, timer_id: TimerId) -> None:
    await storage.settle([given_back(timer_id)], SOON)


async def _redrive(storage: MemoryStorage, timer_id: TimerId) -> None:
    await storage.redrive(timer_id, SOON, SOON)


Step = Callable[[MemoryStorage, TimerId], Awaitable[None]]
BEGINNINGS: Final[tuple[Step, ...]] = (
    _make_pending,
    _make_executing,
    _make_unknown,
    _make_completed,
    _make_failed,
    _make_retrying,
    _make_canceled,
)
VERBS: Final[tuple[Step, ...]] = (
    _update,
    _cancel,
    _claim,
    _settle,
    _settle_failed,
    _settle_retrying,
    _give_back,
    _redrive,
)


async def _steps_seen(begin: Step, verb: Step) -> tuple[Status, Status]:
    storage = MemoryStorage(lambda: NOW)
    timer_id = await created(storage)
    await begin(storage, timer_id)
    before = (await storage.get(timer_id)).status
    with suppress(NotPendingError, NotEndedError):
        await verb(storage, timer_id)
    return before, (await storage.get(timer_id)).status


async def test_storage_goes_the_ways_of_the_table_and_no_other() -> None:
    seen = {await _steps_seen(begin, verb) for begin in BEGINNINGS for verb in VERBS}
    allowed = {(before, after) for before in Status for after in TRANSITIONS[before]}
    stays = {(status, status) for status in Status}
    assert seen | stays == allowed | stays


# Ids.


@given(INSTANTS, SHARD_NUMBERS, st.randoms())
def test_id_is_a_uuid_of_version_7(now: datetime, shard: int, source: random.Random) -> None:
    timer_id = new_timer_id(now, shard, source.getrandbits)
    assert (timer_id.version, timer_id.variant) == (7, RFC_4122)


@example(datetime(1970, 1, 1, 0, 0, 1, 1_000, tzinfo=UTC), 0)
@given(INSTANTS, SHARD_NUMBERS)
def test_id_tells_its_millisecond(now: datetime, shard: int) -> None:
    elapsed = now - datetime(1970, 1, 1, tzinfo=UTC)
    assert new_id(now, shard).int >> 80 == elapsed // timedelta(milliseconds=1)


@given(SHARD_NUMBERS)
def test_id_determines_the_shard_that_it_was_made_for(shard: int) -> None:
    assert shard_of(new_id(NOW, shard)) == shard


@given(INSTANTS, st.integers(1, 10**9), SHARD_NUMBERS, SHARD_NUMBERS)
def test_later_id_sorts_behind(now: datetime, later_ms: int, shard: int, other_shard: int) -> None:
    later = now + timedelta(milliseconds=later_ms)
    assert new_id(now, shard) < new_id(later, other_shard)


def test_every_other_bit_of_an_id_is_random() -> None:
    none = new_timer_id(NOW, 0, lambda _: 0)
    every = new_timer_id(NOW, 0, lambda bits: (1 << bits) - 1)
    assert (none.int ^ every.int).bit_count() == 12 + 54


# Instants.


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (datetime(2030, 1, 1, tzinfo=UTC), "2030-01-01T00:00:00Z"),
        (datetime(2030, 1, 1, 0, 0, 0, 120, tzinfo=UTC), "2030-01-01T00:00:00.000120Z"),
        (datetime(2030, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))), "2029-12-31T23:00:00Z"),
    ],
)
def test_instant_is_spelt_in_utc(instant: datetime, text: str) -> None:
    assert rfc3339(instant) == text


@given(INSTANTS)
def test_spelling_loses_nothing(instant: datetime) -> None:
    assert datetime.fromisoformat(rfc3339(instant)) == instant


@pytest.mark.parametrize(
    ("requested_at", "expected_at"),
    [(NOW, NOW), (NOW - timedelta(days=1), NOW), (SOON, SOON)],
)
def test_lateness_counts_from_the_later_of_instant_and_request(
    requested_at: datetime, expected_at: datetime
) -> None:
    timer = ClaimedTimer(
        id=TimerId(UUID(int=1)),
        claim=Claim(FIRST),
        attempt=1,
        requested_at=requested_at,
        spec=spec(execute_at=NOW),
    )
    assert timer.expected_at == expected_at


def test_waiting_is_not_missing() -> None:
    spec = new_timer().spec
    timer = ClaimedTimer(id=new_timer().id, claim=FIRST, attempt=1, requested_at=NOW, spec=spec)
    assert held_until(timer, NOW) is timer
    later = NOW + seconds(9)
    assert held_until(timer, later).expected_at == max(later, spec.execute_at)
