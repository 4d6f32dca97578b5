"""Several cells answer as one storage would, and one that is away costs only what needs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from secrets import randbits
from typing import Any, Final, NoReturn, cast
from uuid import UUID

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.audit import entry
from tests.contract.cells import HALVES
from tests.contract.test_storage_agreement import queries
from tests.contract.test_storage_destinations import A, B, C, counted, page, tell
from tests.contract.test_storage_projects import api_key
from tests.contract.timers import ALICE, BOB, LATER, NOW, SOON, keyed, new_timer, seconds
from tests.schedules import EVERY_MINUTE, schedule_of, schedule_spec
from timer_trio.domain.api_key import digest
from timer_trio.domain.audit import AuditQuery
from timer_trio.domain.bulk import Bulk, BulkAction, BulkPage
from timer_trio.domain.cells import Cell, CellMap, CellNumber, KeptMap, SeveralCellsError
from timer_trio.domain.errors import (
    ApiKeyNotFoundError,
    JustDividedError,
    ProjectNameTakenError,
    QuotaUsedUpError,
    RowRefusedError,
    StorageUnavailableError,
    TimerNotFoundError,
)
from timer_trio.domain.flow import FlowId, FlowKey, flow_shard
from timer_trio.domain.keys import key_shard
from timer_trio.domain.project import DEFAULT_PROJECT, Live, ProjectId
from timer_trio.domain.query import TimerFilter, TimerPage, TimerQuery
from timer_trio.domain.rules import FlowQuery
from timer_trio.domain.sample import Span
from timer_trio.domain.schedule import (
    NewOccurrence,
    PendingFate,
    Schedule,
    ScheduleChange,
    ScheduleId,
    ScheduleQuery,
    Standing,
)
from timer_trio.domain.signing import new_secret, rotated
from timer_trio.domain.timer import NewTimer, Status, TimerId
from timer_trio.storage import Storage
from timer_trio.storage.memory import MemoryStorage
from timer_trio.storage.postgres import PostgresStorage
from timer_trio.storage.routed import RoutedStorage
from timer_trio.storage.routed.common import Common, read_common

FIRST, SECOND = CellNumber(0), CellNumber(1)
THIRDS: Final = CellMap([Cell(0, 9), Cell(10, 199), Cell(200, 255)])
SHOP: Final = ProjectId(1)
CANCEL_ALL: Final = Bulk(action=BulkAction.CANCEL, wanted=TimerFilter(), as_of=LATER)
AWAY: Final = "cell 128-255 is away: no connection"


def memory() -> MemoryStorage:
    return MemoryStorage(lambda: NOW)


def routed(*storages: Storage, cells: CellMap = HALVES, away: Sequence[int] = ()) -> RoutedStorage:
    return RoutedStorage(cells, storages, lambda cell: cell not in away)


class Away:
    """The storage of a cell that is away; it remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, verb: str) -> Callable[..., Awaitable[NoReturn]]:
        async def fail(*_asked: object, **_how: object) -> NoReturn:
            await trio.lowlevel.checkpoint()
            self.asked.append(verb)
            raise StorageUnavailableError("no connection")

        return fail


class Failing:
    """A storage that does one verb, or does not, and does not answer, once."""

    def __init__(self, storage: Storage, verb: str, *, is_done: bool) -> None:
        self._storage = storage
        self._verb: str | None = verb
        self._is_done = is_done

    def __getattr__(self, verb: str) -> Any:
        known = getattr(self._storage, verb)
        if verb != self._verb:
            return known

        async def fail(*asked: object, **how: object) -> NoReturn:
            self._verb = None
            if self._is_done:
                await known(*asked, **how)
            raise StorageUnavailableError("the answer was lost")

        return fail


def named(cell: CellNumber, names: Sequence[str] = "abcdefghijklmnopqrstuvwxyz") -> str:
    """Return a name whose cell this is."""
    return next(n for n in names if HALVES.of_shard(key_shard(DEFAULT_PROJECT, n)) == cell)


# Any cells answer as one storage.

shards = st.sampled_from([0, 1, 127, 128, 129, 255])
several = st.lists(
    st.builds(
        lambda shard, created, execute, metadata, is_canceled: (
            new_timer(
                shard=shard,
                created_at=NOW + seconds(created),
                execute_at=NOW + seconds(execute),
                metadata=metadata,
            ),
            is_canceled,
        ),
        shards,
        st.integers(0, 4),
        st.integers(0, 4),
        st.sampled_from([None, {"a": 1}, {"a": "1"}]),
        st.booleans(),
    ),
    max_size=12,
)
maps = st.sampled_from([HALVES, THIRDS])


async def filled(timers: Sequence[tuple[NewTimer, bool]], storage: RoutedStorage | Storage) -> None:
    for timer, is_canceled in timers:
        await storage.create([timer], NOW)
        if is_canceled:
            await storage.cancel(timer.id, NOW)


async def both(
    timers: Sequence[tuple[NewTimer, bool]], cells: CellMap
) -> tuple[MemoryStorage, RoutedStorage]:
    one, several_cells = memory(), routed(*(memory() for _ in cells.cells), cells=cells)
    await filled(timers, one)
    await filled(timers, several_cells)
    return one, several_cells


@settings(max_examples=50, deadline=None)
@given(timers=several, cells=maps, query=queries)
def test_any_list_is_that_of_one_storage(
    timers: list[tuple[NewTimer, bool]], cells: CellMap, query: TimerQuery
) -> None:
    async def compare() -> None:
        one, several_cells = await both(timers, cells)
        asked: TimerQuery | None = query
        while asked is not None:
            expected, found = await one.list(asked), await several_cells.list(asked)
            assert _whole(found) == _whole(expected)
            following = expected.next
            asked = None if following is None else replace(query, offset=0, after=following)

    trio.run(compare)


def _whole(found: TimerPage) -> object:
    return list(found.timers), found.total, found.next


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(timers=several, cells=maps, query=queries, offset=st.integers(0, 14))
def test_any_page_behind_many_rows_is_that_of_one_storage(
    monkeypatch: pytest.MonkeyPatch,
    timers: list[tuple[NewTimer, bool]],
    cells: CellMap,
    query: TimerQuery,
    offset: int,
) -> None:
    monkeypatch.setattr("timer_trio.storage.routed.timers.ROUND_ROWS", 3)
    asked = replace(query, after=None, offset=offset)

    async def compare() -> None:
        one, several_cells = await both(timers, cells)
        assert _whole(await several_cells.list(asked)) == _whole(await one.list(asked))

    trio.run(compare)


async def test_offset_of_very_many_rows_is_refused_unless_there_are_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("timer_trio.storage.routed.timers.ROUND_ROWS", 2)
    monkeypatch.setattr("timer_trio.storage.routed.timers.MOST_SKIPPED", 5)
    storage = routed(memory(), memory())
    for number in range(7):
        await storage.create([new_timer(shard=number * 30)], NOW)
    assert len((await storage.list(TimerQuery(offset=5))).timers) == 2
    assert (await storage.list(TimerQuery(offset=7))).total == 7
    with pytest.raises(RowRefusedError, match="follow next_cursor"):
        await storage.list(TimerQuery(offset=6))


@settings(max_examples=50, deadline=None)
@given(
    timers=several,
    cells=maps,
    action=st.sampled_from(BulkAction),
    size=st.integers(1, 5),
    status=st.none() | st.sampled_from([Status.PENDING, Status.CANCELED]),
)
def test_any_bulk_action_does_what_it_does_in_one_storage(
    timers: list[tuple[NewTimer, bool]],
    cells: CellMap,
    action: BulkAction,
    size: int,
    status: Status | None,
) -> None:
    bulk = Bulk(action=action, wanted=TimerFilter(status=status), as_of=LATER)

    async def compare() -> None:
        one, several_cells = await both(timers, cells)
        expected, found = await walked(one, bulk, size), await walked(several_cells, bulk, size)
        assert found == expected
        listed = TimerQuery(limit=99)
        assert _whole(await several_cells.list(listed)) == _whole(await one.list(listed))

    trio.run(compare)


async def walked(
    storage: RoutedStorage | Storage, bulk: Bulk, size: int
) -> tuple[int, int, list[TimerId]]:
    matched = done = 0
    live: list[TimerId] = []
    asked: BulkPage | None = BulkPage(bulk=bulk, after=None, size=size, due_at=SOON)
    while asked is not None:
        reply = await storage.bulk(asked, LATER)
        assert reply.matched <= size
        matched, done = matched + reply.matched, done + reply.done
        live += [timer.id for timer in reply.due]
        asked = None if reply.next is None else replace(asked, after=reply.next)
    return matched, done, sorted(live)


@settings(max_examples=50, deadline=None)
@given(
    keys=st.lists(st.sampled_from([*"abcdefghijklmnZ", "aé", "a😀", "\uffff"]), max_size=9),
    cells=maps,
    limit=st.integers(1, 4),
)
def test_any_list_of_flows_is_that_of_one_storage(
    keys: list[str], cells: CellMap, limit: int
) -> None:
    async def compare() -> None:
        one, several_cells = await both([], cells)
        for key in keys:
            flow = FlowId(DEFAULT_PROJECT, FlowKey(key))
            await one.put_flow(flow, {"paused": True}, NOW)
            await several_cells.put_flow(flow, {"paused": True}, NOW)
        query = FlowQuery(limit=limit)
        while True:
            expected, found = await one.list_flows(query), await several_cells.list_flows(query)
            assert [*found.flows] == [*expected.flows]
            assert found.next == expected.next
            if expected.next is None:
                return
            query = replace(query, after=expected.next)

    trio.run(compare)


async def test_schedules_of_all_cells_are_listed_page_by_page() -> None:
    storage = routed(memory(), memory())
    made = [schedule_with(number) for number in range(5)]
    for schedule in made:
        await storage.create_schedule(schedule, [], NOW)
    first = await storage.schedules(ScheduleQuery(limit=3))
    assert first.next is not None
    rest = await storage.schedules(ScheduleQuery(limit=3, after=first.next))
    assert rest.next is None
    assert [*first.schedules, *rest.schedules] == made[::-1]


def schedule_with(number: int, name: str | None = None) -> Schedule:
    """Make a schedule, every second one of them in the second cell."""
    schedule = schedule_of(
        schedule_spec(rule=EVERY_MINUTE, name=name),
        schedule_id=ScheduleId(UUID(int=number * 128)),
    )
    return replace(schedule, created_at=NOW + seconds(number))


async def test_numbers_of_a_destination_are_added() -> None:
    first, second = memory(), memory()
    await first.join(ALICE, NOW)
    await second.join(BOB, NOW)
    await tell(first, counted(A, took_s=[1], delivered=1), counted(B, rejected=1), replica=ALICE)
    await tell(second, counted(A, took_s=[2], delivered=2), counted(C, delivered=3), replica=BOB)
    await routed(first, second).pause_destination(DEFAULT_PROJECT, A, NOW)
    storage = cast("Storage", routed(first, second))
    found = await page(storage, limit=2)
    assert [each.destination for each in found.destinations] == [A, B]
    assert found.next == B
    assert found.destinations[0].ends.delivered == 3
    assert sum(found.destinations[0].durations) == 2
    assert found.destinations[0].paused_at == NOW
    (last,) = (await page(storage, after=B)).destinations
    assert (last.destination, last.ends.delivered) == (C, 3)


async def test_samples_and_counts_are_added() -> None:
    storage = routed(memory(), memory())
    for shard in (0, 200, 201):
        await storage.create([new_timer(shard=shard, execute_at=NOW)], NOW)
    await storage.create_schedule(schedule_with(1), [], NOW)
    (found,) = await storage.samples([Span(NOW, SOON, 100)])
    assert found.counts == {Status.PENDING: 3}
    assert await storage.live_in(DEFAULT_PROJECT) == Live(timers=3, schedules=1)


async def test_no_more_is_emptied_than_asked_for() -> None:
    storage = routed(memory(), memory())
    for shard in (0, 1, 200, 201, 202):
        await storage.create([new_timer(shard=shard)], NOW)
    counts = [await storage.empty_project(DEFAULT_PROJECT, 3, NOW) for _ in range(3)]
    assert counts == [3, 2, 0]


async def test_replicas_of_all_cells_are_listed_as_they_started() -> None:
    first, second = memory(), memory()
    await first.join(ALICE, SOON)
    await second.join(BOB, NOW)
    found = await routed(first, second).replicas()
    assert [(each.id, str(each.cell)) for each in found] == [(BOB, "128-255"), (ALICE, "0-127")]


# What belongs together is in one cell.


async def test_timers_that_stay_together_are_in_one_cell() -> None:
    first, second = memory(), memory()
    storage = routed(first, second)
    mixed = [new_timer(shard=0), new_timer(shard=200)]
    key = named(FIRST)
    for call, error in (
        (storage.create_many(mixed, NOW), JustDividedError),
        (storage.create_named([replace(mixed[1], key=key)], {}, NOW), SeveralCellsError),
        (storage.create_keyed([keyed("k", *mixed)], NOW), JustDividedError),
        (storage.create_schedule(schedule_with(1, key), [], NOW), SeveralCellsError),
    ):
        with pytest.raises(error):
            await call
    assert [(await each.live_in(DEFAULT_PROJECT)) for each in (first, second)] == [(0, 0), (0, 0)]


async def test_schedule_gets_no_name_by_which_it_would_not_be_found() -> None:
    storage = routed(memory(), memory())
    schedule = schedule_with(0, named(FIRST))
    await storage.create_schedule(schedule, [], NOW)
    assert await storage.schedule_named(named(FIRST)) == schedule.id
    moved = replace(schedule, spec=replace(schedule.spec, name=named(SECOND)))

    def rename(_schedule: Schedule, _standing: Standing) -> ScheduleChange:
        return ScheduleChange(schedule=moved, pending=PendingFate.KEPT)

    with pytest.raises(SeveralCellsError):
        await storage.change_schedule(schedule.id, rename, NOW)
    assert await storage.schedule(schedule.id) == schedule


async def test_schedule_whose_name_is_of_another_cell_already_can_be_changed() -> None:
    first, second = memory(), memory()
    schedule = schedule_with(0, named(SECOND))
    await first.create_schedule(schedule, [], NOW)
    moved = replace(schedule, version=2)

    def decide(_schedule: Schedule, _standing: Standing) -> ScheduleChange:
        return ScheduleChange(schedule=moved, pending=PendingFate.KEPT)

    await routed(first, second).change_schedule(schedule.id, decide, NOW)
    assert await first.schedule(schedule.id) == moved


async def test_names_of_both_cells_are_found() -> None:
    storage = routed(memory(), memory())
    names = {named(FIRST): new_timer(shard=0), named(SECOND): new_timer(shard=200)}
    for name, timer in names.items():
        assert await storage.create_named([replace(timer, key=name)], {}, NOW)
    held = await storage.held_names([*names, "nobody's"])
    assert {name: held[name].timer_id for name in held} == {n: t.id for n, t in names.items()}
    for name, timer in names.items():
        holder = await storage.name_holder(name)
        assert holder is not None
        assert holder.timer_id == timer.id


@pytest.mark.parametrize("shard", [0, 200])
async def test_first_answer_is_found_where_a_flow_has_led_it(shard: int) -> None:
    storage = routed(memory(), memory())
    create = keyed("k", new_timer(shard=shard))
    assert await storage.create_keyed([create], NOW) == [create.answer]
    assert await storage.first_answer("k", NOW) == create.answer
    assert await storage.first_answer("another", NOW) is None


async def test_first_answer_that_may_be_in_a_cell_that_is_away_is_not_known() -> None:
    with pytest.raises(StorageUnavailableError, match=AWAY):
        await routed(memory(), cast("Storage", Away())).first_answer("k", NOW)


# Each cell has its part of a quota.


def counting(shard: int, most: int) -> NewTimer:
    return replace(new_timer(shard=shard), max_live=most)


async def test_each_cell_has_its_part_of_a_quota() -> None:
    storage = routed(memory(), memory())
    for shard in (0, 0, 200):
        await storage.create([counting(shard, 3)], NOW)
    for shard, cell in ((0, "0-127"), (200, "128-255")):
        words = f"as many as its part of max_live_timers allows in cell {cell}: "
        with pytest.raises(QuotaUsedUpError, match=words) as caught:
            await storage.create([counting(shard, 3)], NOW)
        assert str(caught.value.cell) == cell


async def test_a_batch_a_key_and_a_redrive_count_towards_that_part() -> None:
    storage = routed(memory(), memory())
    ended = new_timer(shard=200)
    await storage.create([ended], NOW)
    await storage.cancel(ended.id, NOW)
    bulk = Bulk(action=BulkAction.REDRIVE, wanted=TimerFilter(), as_of=NOW, max_live=2)
    asked = BulkPage(bulk=bulk, after=None, size=9, due_at=NOW)
    await storage.create([counting(200, 2)], NOW)

    async def redriven() -> object:
        reply = await storage.bulk(asked, NOW)
        return await storage.bulk(replace(asked, after=reply.next), NOW)

    schedule = schedule_with(1)
    await storage.create_schedule(schedule, [], NOW)
    beside = NewOccurrence(
        timer=counting(128, 2), schedule_id=schedule.id, version=None, instant=NOW
    )
    for call in (
        storage.create_many([counting(200, 2)], NOW),
        storage.create_keyed([keyed("k", counting(200, 2))], NOW),
        storage.create_named([replace(counting(200, 2), key=named(SECOND))], {}, NOW),
        storage.redrive(ended.id, NOW, NOW, max_live=2),
        storage.add_occurrences(schedule.id, [beside], NOW),
        redriven(),
    ):
        with pytest.raises(QuotaUsedUpError, match="in cell 128-255"):
            await call
    await storage.create([counting(0, 2)], NOW)


# A cell that is away costs only what needs it.


async def test_what_is_in_the_other_cell_does_not_ask_the_one_that_is_away() -> None:
    away = Away()
    storage = routed(memory(), cast("Storage", away), away=[SECOND])
    timer, name = new_timer(shard=0), named(FIRST)
    flow = FlowId(DEFAULT_PROJECT, FlowKey(name))
    await storage.create([timer], NOW)
    await storage.create_named([replace(new_timer(shard=1), key=name)], {}, NOW)
    await storage.create_keyed([keyed("k", new_timer(shard=2))], NOW)
    await storage.create_schedule(schedule_with(0, name), [], NOW)
    await storage.put_flow(flow, {"paused": True}, NOW)
    assert (await storage.get(timer.id)).id == timer.id
    assert await storage.attempts(timer.id) == []
    assert await storage.held_names([name])
    assert await storage.schedule_named(name) is not None
    assert (await storage.list(TimerQuery(flow_key=flow.key))).timers == []
    assert (await storage.get_flow(flow, NOW)).flow.key == flow.key
    await storage.cancel(timer.id, NOW)
    assert [each.name for each in await storage.projects()] == ["default"]
    assert away.asked == []


async def test_what_is_in_a_cell_that_is_away_says_which() -> None:
    storage = routed(memory(), cast("Storage", Away()))
    timer = new_timer(shard=200)
    flow = FlowId(DEFAULT_PROJECT, FlowKey(named(SECOND)))
    calls = (
        storage.create([timer], NOW),
        storage.get(timer.id),
        storage.update(timer.id, {}, NOW),
        storage.cancel(timer.id, NOW),
        storage.name_holder(named(SECOND)),
        storage.held_names([named(FIRST), named(SECOND)]),
        storage.get_flow(flow, NOW),
        storage.list(TimerQuery()),
        storage.schedules(ScheduleQuery()),
        storage.list_flows(FlowQuery()),
        storage.audit(AuditQuery()),
        storage.samples([]),
        storage.live_in(DEFAULT_PROJECT),
        storage.replicas(),
        page(cast("Storage", storage)),
    )
    for call in calls:
        with pytest.raises(StorageUnavailableError, match=AWAY):
            await call


@pytest.mark.parametrize("away", [[FIRST], []])
async def test_what_all_know_is_read_from_one_that_is_there(away: Sequence[int]) -> None:
    known = memory()
    await known.create_project("shop", NOW)
    await known.create_api_key(api_key(1, SHOP), digest("secret"))
    storage = routed(cast("Storage", Away()), known, away=away)
    assert await storage.known_key(api_key(1, SHOP).id) is not None
    assert await storage.project_named("shop") is not None
    assert await storage.api_keys(SHOP) == [api_key(1, SHOP)]
    assert await storage.key_seal() == await known.key_seal()
    await storage.note_key_uses({api_key(1, SHOP).id: NOW})


async def test_audit_goes_on_in_another_cell_and_is_read_of_all() -> None:
    first, second = memory(), memory()
    await routed(first, second).write_audit([entry(1, at=NOW, count=1)])
    await routed(first, second, away=[FIRST]).write_audit(
        [entry(1, at=NOW, count=2), entry(2, at=SOON)]
    )
    found = await routed(first, second).audit(AuditQuery(limit=1))
    assert found.entries == [entry(2, at=SOON)]
    assert found.next is not None
    rest = await routed(first, second).audit(AuditQuery(limit=1, behind=found.next))
    assert rest.entries == [entry(1, at=NOW, count=2)]
    assert rest.next is None


# What all know is changed in all, or is asked for again.

Change = Callable[[RoutedStorage], Awaitable[object]]
SECRET = new_secret(SHOP, SOON, randbits)
CHANGES: Final[dict[str, Change]] = {
    "create_project": lambda storage: storage.create_project("mill", NOW),
    "change_project": lambda storage: storage.change_project(SHOP, {"max_in_flight": 5}),
    "close_project": lambda storage: storage.close_project(SHOP, NOW),
    "open_project": lambda storage: storage.open_project(ProjectId(2)),
    "delete_project": lambda storage: storage.delete_project(ProjectId(2)),
    "create_api_key": lambda storage: storage.create_api_key(api_key(2, SHOP), digest("two")),
    "revoke_api_key": lambda storage: storage.revoke_api_key(SHOP, api_key(1, SHOP).id),
    "pause_destination": lambda storage: storage.pause_destination(SHOP, A, NOW),
    "resume_destination": lambda storage: storage.resume_destination(SHOP, B, SOON),
    "pause_project": lambda storage: storage.pause_project(SHOP, NOW),
    "resume_project": lambda storage: storage.resume_project(DEFAULT_PROJECT, SOON),
    "pause_all": lambda storage: storage.pause_all(NOW),
    "add_signing_secrets": lambda storage: storage.add_signing_secrets([SECRET]),
    "change_signing_secrets": lambda storage: storage.change_signing_secrets(
        DEFAULT_PROJECT,
        lambda known: rotated(known, replace(SECRET, project=DEFAULT_PROJECT), LATER, SOON),
    ),
}


@pytest.fixture(params=["memory", "postgres"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Storage, Storage]]:
    """Two cells that know nothing yet."""
    if request.param == "memory":
        yield memory(), memory()
        return
    names = ("clean_database_url", "second_clean_database_url")
    first, second = (PostgresStorage(request.getfixturevalue(name), pool_size=4) for name in names)
    with closing(first), closing(second):
        yield first, second


async def peopled(first: Storage, second: Storage) -> tuple[Storage, Storage]:
    """Have two cells know the same."""
    storage = routed(first, second)
    await storage.unite(SECOND)
    shop = (await storage.create_project("shop", NOW)).id
    closed = (await storage.create_project("closed", NOW)).id
    await storage.create_api_key(api_key(1, shop), digest("one"))
    await storage.close_project(closed, NOW)
    await storage.pause_destination(shop, B, NOW)
    await storage.pause_project(DEFAULT_PROJECT, NOW)
    await storage.add_signing_secrets([new_secret(DEFAULT_PROJECT, NOW, randbits)])
    assert await common_of(first) == await common_of(second)
    return first, second


async def common_of(storage: Storage) -> Common:
    """Read what all cells know, but for when a database was made."""
    common = await read_common(storage)
    projects = [
        replace(p, created_at=NOW) if p.id == DEFAULT_PROJECT else p for p in common.projects
    ]
    return replace(common, projects=projects)


async def number_of(name: str, storage: Storage) -> ProjectId:
    project = await storage.project_named(name)
    assert project is not None
    return project.id


@pytest.mark.parametrize("change", [each for each in CHANGES if each != "add_signing_secrets"])
@pytest.mark.parametrize("away", [FIRST, SECOND])
async def test_nothing_is_changed_unless_all_cells_are_there(change: str, away: CellNumber) -> None:
    cells = await peopled(memory(), memory())
    before = await common_of(cells[0])
    storage = routed(*cells, away=[away])
    words = f"cell {HALVES.cells[away]} is away: changes .* need all cells"
    with pytest.raises(StorageUnavailableError, match=words):
        await CHANGES[change](storage)
    assert [await common_of(each) for each in cells] == [before, before]


async def test_first_secret_of_a_project_waits_for_no_other_cell_than_the_first() -> None:
    first, second = await peopled(memory(), memory())
    await routed(first, second, away=[SECOND]).add_signing_secrets([SECRET])
    assert await first.signing_secrets([SHOP], NOW) == [SECRET]
    assert await second.signing_secrets([SHOP], NOW) == []
    await routed(first, second).unite(SECOND)
    assert await second.signing_secrets([SHOP], NOW) == [SECRET]
    with pytest.raises(StorageUnavailableError, match="cell 0-127 is away"):
        await routed(cast("Storage", Away()), second).add_signing_secrets([SECRET])


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("failing", [FIRST, SECOND])
@pytest.mark.parametrize("is_done", [False, True], ids=["not done", "done"])
async def test_change_that_ended_half_way_is_completed_by_the_same_again(
    change: str,
    failing: CellNumber,
    is_done: bool,  # noqa: FBT001 - a case of the test
) -> None:
    cells = await peopled(memory(), memory())
    before = await common_of(cells[0])
    asked: list[Storage] = [*cells]
    asked[failing] = cast("Storage", Failing(cells[failing], change, is_done=is_done))
    storage = routed(*asked)
    try:
        await CHANGES[change](storage)
    except StorageUnavailableError:
        try:
            await CHANGES[change](storage)
        except (ProjectNameTakenError, ApiKeyNotFoundError):
            assert change in {"create_project", "revoke_api_key"}
    after = [await common_of(each) for each in cells]
    assert after[0] == after[1]
    assert after[0] != before


class Meanwhile:
    """A storage to whose first change of a kind somebody else comes first with one of his own."""

    def __init__(
        self, storage: Storage, verb: str, change: Callable[[], Awaitable[object]]
    ) -> None:
        self._storage = storage
        self._verb: str | None = verb
        self._change = change

    def __getattr__(self, verb: str) -> Any:
        known = getattr(self._storage, verb)
        if verb != self._verb:
            return known

        async def change_first(*asked: object, **how: object) -> object:
            self._verb = None
            await self._change()
            return await known(*asked, **how)

        return change_first


@pytest.mark.parametrize("change", ["change_signing_secrets", "change_project"])
async def test_two_changes_at_once_leave_all_cells_alike(change: str) -> None:
    first, second = await peopled(memory(), memory())
    other_process = routed(first, second)

    async def change_otherwise() -> None:
        new = new_secret(DEFAULT_PROJECT, LATER, randbits)
        await other_process.change_project(SHOP, {"max_in_flight": 7})
        await other_process.change_signing_secrets(
            DEFAULT_PROJECT, lambda known: rotated(known, new, LATER, SOON)
        )

    storage = routed(first, cast("Storage", Meanwhile(second, change, change_otherwise)))
    await CHANGES[change](storage)
    assert await common_of(first) == await common_of(second)
    assert len((await common_of(first)).secrets[DEFAULT_PROJECT]) > 1


async def test_change_while_a_cell_is_told_is_not_undone() -> None:
    first, second = await peopled(memory(), memory())
    other_process = routed(first, second)

    async def change() -> None:
        await other_process.change_project(SHOP, {"max_in_flight": 7})
        await other_process.pause_destination(SHOP, C, NOW)

    asked = cast("Storage", Meanwhile(second, "create_project", change))
    await routed(first, asked).unite(SECOND)
    for storage in (first, second):
        known = await storage.project_named("shop")
        assert known is not None
        assert known.settings.max_in_flight == 7
        assert (await common_of(storage)).pauses[SHOP, C].paused_at == NOW


# A new cell.


async def test_new_cell_comes_to_know_what_all_know(pair: tuple[Storage, Storage]) -> None:
    first, new = pair
    await peopled(first, memory())
    await first.set_key_seal(b"s" * 32)
    new_one = new_secret(DEFAULT_PROJECT, SOON, randbits)
    await first.change_signing_secrets(
        DEFAULT_PROJECT, lambda known: rotated(known, new_one, LATER, SOON)
    )
    storage = routed(first, new)
    for _ in range(2):
        await storage.unite(FIRST)
        await storage.unite(SECOND)
        assert await common_of(new) == await common_of(first)
    known = await new.known_key(api_key(1, SHOP).id)
    assert known is not None
    assert known.has("one")
    mill = await storage.create_project("mill", NOW)
    assert await new.project_named("mill") == mill


async def test_cell_that_missed_changes_is_told(pair: tuple[Storage, Storage]) -> None:
    first, second = await peopled(*pair)
    shop, closed = await number_of("shop", first), await number_of("closed", first)
    await first.change_project(shop, {"max_in_flight": 9})
    await first.resume_destination(shop, B, SOON)
    await first.pause_destination(shop, C, SOON)
    await first.resume_project(DEFAULT_PROJECT, SOON)
    await first.open_project(closed)
    await first.change_signing_secrets(
        DEFAULT_PROJECT,
        lambda known: rotated(known, new_secret(DEFAULT_PROJECT, SOON, randbits), LATER, SOON),
    )
    await routed(first, second).unite(SECOND)
    assert await common_of(second) == await common_of(first)


async def test_key_is_written_where_its_project_had_not_come_to() -> None:
    first, second = await peopled(memory(), memory())
    mill = await first.create_project("mill", NOW)
    await routed(first, second).create_api_key(api_key(3, mill.id), digest("three"))
    assert await second.known_key(api_key(3, mill.id).id) is not None


async def test_cell_that_has_something_else_of_that_name_is_left_alone() -> None:
    first, second = memory(), memory()
    await second.create_project("other", NOW)
    await first.create_project("shop", NOW)
    with pytest.raises(ProjectNameTakenError):
        await routed(first, second).unite(SECOND)
    assert [each.name for each in await second.projects()] == ["default", "other"]


async def test_nothing_is_found_in_the_wrong_cell() -> None:
    first, second = memory(), memory()
    timer = new_timer(shard=200)
    await first.create([timer], NOW)
    with pytest.raises(TimerNotFoundError):
        await routed(first, second).get(timer.id)


async def test_flow_is_where_its_timers_are() -> None:
    first, second = memory(), memory()
    storage = routed(first, second)
    flow = FlowId(DEFAULT_PROJECT, FlowKey(named(SECOND)))
    shard = flow_shard(*flow)
    timer = replace(new_timer(shard=shard), flow_key=flow.key)
    await storage.create([timer], NOW)
    await storage.put_flow(flow, {"max_in_flight": 1}, NOW)
    assert (await storage.get_flow(flow, NOW)).waiting == 1
    assert (await second.list_flows(FlowQuery())).flows
    assert not (await first.list_flows(FlowQuery())).flows
    assert [each.id for each in (await storage.list(TimerQuery(flow_key=flow.key))).timers] == [
        timer.id
    ]


async def test_what_has_just_been_moved_away_is_not_said_to_be_missing() -> None:
    """Nobody knows yet that the first cell has been divided, and the second is not open."""
    cells = CellMap([Cell(0, 127), Cell(128, 255)])
    first, second = memory(), memory()
    cells.hold(FIRST, Cell(0, 255))
    storage = RoutedStorage(cells, [first, second], lambda cell: cell == FIRST)
    stays, goes = new_timer(shard=1), replace(new_timer(shard=200), key=named(SECOND))
    await storage.create_many([stays], NOW)
    await storage.create_named([goes], {}, NOW)
    assert (await storage.get(goes.id)).id == goes.id
    with pytest.raises(TimerNotFoundError):
        await storage.get(new_timer(shard=201).id)
    await first.keep_map(KeptMap("0-255", "0-255"))
    first._delete(goes.id)
    first._names.clear()
    first._cell = KeptMap(str(cells), "0-127")
    for call in (
        storage.get(goes.id),
        storage.cancel(goes.id, NOW),
        storage.name_holder(goes.key or ""),
        storage.held_names([goes.key or ""]),
        storage.first_answer("k", NOW),
        storage.list(TimerQuery()),
        storage.bulk(BulkPage(bulk=CANCEL_ALL, after=None, size=10, due_at=NOW), NOW),
        storage.live_in(DEFAULT_PROJECT),
    ):
        with pytest.raises(JustDividedError):
            await call
    assert (await storage.get(stays.id)).id == stays.id
    cells.hold(FIRST, Cell(0, 127))
    assert (await storage.list(TimerQuery())).total == 1
    assert await storage.name_holder(goes.key or "") is None


async def test_nor_is_it_if_that_becomes_known_while_a_cell_is_asked() -> None:
    cells = CellMap([Cell(0, 127), Cell(128, 255)])
    first = memory()

    class Dividing:
        """Its shards are gone, and this process has just noticed, when it answers."""

        def __getattr__(self, verb: str) -> Any:
            async def answer(*asked: object, **how: object) -> object:
                first._cell = KeptMap(str(cells), "0-127")
                cells.hold(FIRST, Cell(0, 127))
                return await getattr(first, verb)(*asked, **how)

            return answer

    storage = RoutedStorage(cells, [cast("Storage", Dividing()), memory()], lambda _: True)
    for call in (
        lambda: storage.get(new_timer(shard=200).id),
        lambda: storage.name_holder(named(SECOND)),
        lambda: storage.held_names([named(SECOND)]),
        lambda: storage.list(TimerQuery()),
    ):
        cells.hold(FIRST, Cell(0, 255))
        with pytest.raises(JustDividedError):
            await call()


async def test_creates_that_waited_while_a_cell_was_divided_go_where_they_are_now() -> None:
    first, second = memory(), memory()
    storage = routed(first, second)
    timers = [new_timer(shard=shard) for shard in (0, 200, 1)]
    await storage.create(timers, NOW)
    creates = [keyed(str(shard), new_timer(shard=shard)) for shard in (200, 0, 201)]
    answers = await storage.create_keyed(creates, NOW)
    assert answers == [create.answer for create in creates]
    assert [await each.live_in(DEFAULT_PROJECT) for each in (first, second)] == [(3, 0), (3, 0)]
