"""What holds callbacks back: what is written of it, and what replicas are told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Final

import psycopg
import pytest
import trio

from tests.contract.timers import ALICE, FIRST, LATER, NOW, SOON, flow_rules, new_timer, seconds
from timer_trio.domain.breaker_policy import BreakerPolicy
from timer_trio.domain.errors import (
    ContentionError,
    FlowNotFoundError,
    RowRefusedError,
    TooManyPausesError,
)
from timer_trio.domain.flow import FlowId, FlowKey
from timer_trio.domain.project import DEFAULT_PROJECT, ProjectId
from timer_trio.domain.rules import (
    DELETED_FLOWS_KEPT,
    NOT_PAUSED,
    RESUMPTIONS_KEPT,
    DestinationPause,
    Flow,
    FlowQuery,
    FlowRules,
    FlowState,
    Pause,
    ProjectRules,
    Rate,
    RuleChanges,
)
from timer_trio.domain.timer import Destination, NewTimer, shard_of
from timer_trio.storage import Storage
from timer_trio.storage.postgres import PostgresStorage
from timer_trio.storage.postgres.queries import QUERIES

SHOP: Final = ProjectId(7)
NOBODYS: Final = ProjectId(999_999_999)
MAILS: Final = FlowId(DEFAULT_PROJECT, FlowKey("mails/ä b"))
SMS: Final = FlowId(DEFAULT_PROJECT, FlowKey("sms"))
THERE: Final = Destination("https://example.com:443")


async def version_of(storage: Storage) -> int:
    return (await storage.rules_since(0)).version


async def told(storage: Storage, version: int) -> RuleChanges:
    """Read what has changed, and check that it is told once and that a heartbeat has it."""
    changes = await storage.rules_since(version)
    assert (await storage.beat(ALICE)).rules_version == changes.version
    again = await storage.rules_since(changes.version)
    assert (again.version, again.projects, again.destinations, again.flows) == (
        changes.version,
        [],
        [],
        {},
    )
    return changes


async def keys(storage: Storage, **query: object) -> list[str]:
    asked = replace(FlowQuery(project=DEFAULT_PROJECT), **query)  # type: ignore[arg-type]
    return [flow.key for flow in (await storage.list_flows(asked)).flows]


def in_flow(flow: FlowId, due_s: float = 0) -> NewTimer:
    timer = new_timer(execute_at=NOW + seconds(due_s))
    return replace(timer, project=flow.project, flow_key=flow.key)


async def test_nothing_is_held_back_at_first(storage: Storage) -> None:
    changes = await told(storage, 0)
    assert changes.version > 0
    assert changes == RuleChanges(
        version=changes.version, projects=[], destinations=[], flows={}, others_exist=False
    )
    assert await storage.project_pause(DEFAULT_PROJECT) == NOT_PAUSED
    assert await flow_rules(storage, [MAILS]) == {}
    assert await flow_rules(storage, []) == {}
    assert await keys(storage) == []


async def test_flow_gets_its_settings_one_by_one(storage: Storage) -> None:
    version = await version_of(storage)
    flow = await storage.put_flow(MAILS, {}, NOW)
    assert flow == Flow(key=MAILS.key, created_at=NOW, updated_at=NOW)
    flow = await storage.put_flow(MAILS, {"max_in_flight": 3, "rate": Rate(10, 60)}, SOON)
    rules = FlowRules(max_in_flight=3, rate=Rate(10, 60))
    assert flow == Flow(key=MAILS.key, rules=rules, created_at=NOW, updated_at=SOON)
    flow = await storage.put_flow(MAILS, {"paused": True}, SOON)
    rules = replace(rules, paused_at=SOON)
    assert flow.rules == rules
    assert (await storage.put_flow(MAILS, {"paused": True}, LATER)).rules == rules
    assert await flow_rules(storage, [SMS, MAILS]) == {MAILS: rules}
    assert (await storage.get_flow(MAILS, LATER)).flow == replace(flow, updated_at=LATER)
    assert (await told(storage, version)).flows == {MAILS: rules}
    flow = await storage.put_flow(MAILS, {"rate": None, "paused": False}, LATER)
    assert flow.rules == FlowRules(max_in_flight=3, resumed_at=LATER)


async def test_flow_tells_of_its_timers(storage: Storage) -> None:
    other = FlowId(SHOP, SMS.key)
    due = [in_flow(SMS, -1), in_flow(SMS, -2), in_flow(SMS, 0)]
    await storage.create([*due, in_flow(SMS, 60), in_flow(other), new_timer()], NOW)
    nothing_set = Flow(key=SMS.key)
    state = await storage.get_flow(SMS, NOW)
    assert state == FlowState(flow=nothing_set, in_flight=0, waiting=3)
    await storage.join(ALICE, NOW)
    terms = await storage.take_terms(ALICE, [shard_of(due[0].id)])
    await storage.claim(ALICE, FIRST, [due[0].id], NOW, NOW, terms=terms)
    state = await storage.get_flow(SMS, NOW)
    assert state == FlowState(flow=nothing_set, in_flight=1, waiting=2)
    await storage.sweep(ALICE, None, NOW)
    state = await storage.get_flow(SMS, NOW)
    assert state == FlowState(flow=nothing_set, in_flight=0, waiting=3)


async def test_flow_is_there_while_it_has_settings_or_timers_that_live(storage: Storage) -> None:
    timer = in_flow(SMS, 3600)
    with pytest.raises(FlowNotFoundError):
        await storage.get_flow(SMS, NOW)
    await storage.create([timer], NOW)
    assert (await storage.get_flow(SMS, NOW)).waiting == 0
    await storage.cancel(timer.id, NOW)
    with pytest.raises(FlowNotFoundError):
        await storage.get_flow(SMS, NOW)
    await storage.put_flow(SMS, {}, NOW)
    assert (await storage.get_flow(SMS, NOW)).flow.has_settings
    await storage.delete_flow(SMS, NOW)
    with pytest.raises(FlowNotFoundError):
        await storage.get_flow(SMS, NOW)


async def test_flow_whose_only_timer_executes_is_there(storage: Storage) -> None:
    timer = in_flow(SMS)
    await storage.create([timer], NOW)
    await storage.join(ALICE, NOW)
    terms = await storage.take_terms(ALICE, [shard_of(timer.id)])
    await storage.claim(ALICE, FIRST, [timer.id], NOW, NOW, terms=terms)
    assert (await storage.get_flow(SMS, NOW)).in_flight == 1


async def test_deleted_settings_are_told_and_hold_nothing_back(storage: Storage) -> None:
    await storage.create([in_flow(SMS)], NOW)
    await storage.put_flow(SMS, {"max_in_flight": 1, "rate": Rate(1, 1), "paused": True}, NOW)
    version = await version_of(storage)
    await storage.delete_flow(SMS, SOON)
    assert (await told(storage, version)).flows == {SMS: FlowRules(resumed_at=SOON)}
    assert (await storage.get_flow(SMS, SOON)).flow == Flow(key=SMS.key)
    assert await keys(storage) == []
    with pytest.raises(FlowNotFoundError):
        await storage.delete_flow(SMS, LATER)
    flow = await storage.put_flow(SMS, {"max_in_flight": 2}, LATER)
    rules = FlowRules(max_in_flight=2, resumed_at=SOON)
    assert flow == Flow(key=SMS.key, rules=rules, created_at=LATER, updated_at=LATER)
    assert await keys(storage) == ["sms"]


async def test_flow_that_was_never_set_cannot_be_deleted(storage: Storage) -> None:
    await storage.create([in_flow(SMS)], NOW)
    with pytest.raises(FlowNotFoundError):
        await storage.delete_flow(SMS, NOW)


async def test_flows_are_listed_by_their_keys_page_by_page(storage: Storage) -> None:
    names = ["B", "a", "a/b", "b", "z", "ä", "ﬁ", "\U0001f600"]
    for name in reversed(names):
        flow = FlowId(DEFAULT_PROJECT, FlowKey(name))
        await storage.put_flow(flow, {"paused": name in {"a", "z"}}, NOW)
    await storage.put_flow(FlowId(SHOP, FlowKey("c")), {"paused": True}, NOW)
    assert await keys(storage) == names
    assert await keys(storage, is_paused=True) == ["a", "z"]
    assert await keys(storage, is_paused=False) == [n for n in names if n not in {"a", "z"}]
    assert await keys(storage, is_paused=True, after=FlowKey("a")) == ["z"]
    first = await storage.list_flows(FlowQuery(project=DEFAULT_PROJECT, limit=7))
    assert first.next == "ﬁ"
    last = await storage.list_flows(FlowQuery(project=DEFAULT_PROJECT, limit=7, after=first.next))
    assert ([flow.key for flow in last.flows], last.next) == (["\U0001f600"], None)
    whole = await storage.list_flows(FlowQuery(project=DEFAULT_PROJECT, limit=8))
    assert whole.next is None


async def test_flows_of_one_key_in_two_projects_are_two(storage: Storage) -> None:
    other = FlowId(SHOP, SMS.key)
    await storage.put_flow(SMS, {"max_in_flight": 1}, NOW)
    await storage.put_flow(other, {"max_in_flight": 2}, NOW)
    await storage.delete_flow(SMS, NOW)
    known = await flow_rules(storage, [SMS, other])
    assert known == {SMS: FlowRules(), other: FlowRules(max_in_flight=2)}


async def test_database_takes_no_flow_whose_key_is_too_long(postgres: PostgresStorage) -> None:
    for key in ("", "x" * 256):
        with pytest.raises(RowRefusedError):
            await postgres.put_flow(FlowId(DEFAULT_PROJECT, FlowKey(key)), {}, NOW)


async def test_destination_is_paused_and_resumed(storage: Storage) -> None:
    version = await version_of(storage)
    first = await storage.pause_destination(DEFAULT_PROJECT, THERE, NOW)
    assert first == DestinationPause(
        project=DEFAULT_PROJECT, destination=THERE, pause=Pause(NOW, None)
    )
    assert await storage.pause_destination(DEFAULT_PROJECT, THERE, SOON) == first
    assert (await told(storage, version)).destinations == [first]
    assert (await storage.rules_since(0)).destinations == [first]
    version = await version_of(storage)
    resumed = await storage.resume_destination(DEFAULT_PROJECT, THERE, LATER)
    assert resumed.pause == Pause(None, LATER)
    assert await storage.resume_destination(DEFAULT_PROJECT, THERE, LATER + seconds(1)) == resumed
    assert (await told(storage, version)).destinations == [resumed]
    assert (await storage.rules_since(0)).destinations == [resumed]


async def test_destination_that_was_never_paused_is_not_remembered(storage: Storage) -> None:
    version = await version_of(storage)
    never = await storage.resume_destination(DEFAULT_PROJECT, THERE, NOW)
    assert never.pause == NOT_PAUSED
    assert (await storage.rules_since(version)).destinations == []


async def test_destination_of_one_project_is_none_of_another(storage: Storage) -> None:
    mine = await storage.pause_destination(SHOP, THERE, NOW)
    assert (await storage.resume_destination(DEFAULT_PROJECT, THERE, SOON)).pause == NOT_PAUSED
    assert (await storage.rules_since(0)).destinations == [mine]


async def test_so_many_destinations_are_paused_and_no_more(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("memory", "postgres"):
        monkeypatch.setattr(f"timer_trio.storage.{place}.rules.MAX_PAUSED_DESTINATIONS", 2)
    first, *more = (Destination(f"https://{name}.example:443") for name in "abc")
    await storage.pause_destination(DEFAULT_PROJECT, first, NOW)
    await storage.pause_destination(DEFAULT_PROJECT, more[0], NOW)
    await storage.pause_destination(DEFAULT_PROJECT, more[0], NOW)
    await storage.pause_destination(SHOP, more[1], NOW)
    version = await version_of(storage)
    with pytest.raises(TooManyPausesError):
        await storage.pause_destination(DEFAULT_PROJECT, more[1], NOW)
    assert (await storage.rules_since(version)).destinations == []


async def test_project_is_paused_and_resumed(storage: Storage) -> None:
    version = await version_of(storage)
    assert await storage.pause_project(DEFAULT_PROJECT, NOW) == Pause(NOW, None)
    assert await storage.pause_project(DEFAULT_PROJECT, SOON) == Pause(NOW, None)
    assert await storage.project_pause(DEFAULT_PROJECT) == Pause(NOW, None)
    paused = ProjectRules(project=DEFAULT_PROJECT, pause=Pause(NOW, None))
    assert (await told(storage, version)).projects == [paused]
    assert (await storage.rules_since(0)).projects == [paused]
    (project,) = await storage.projects()
    assert project.paused_at == NOW
    resumed = await storage.resume_project(DEFAULT_PROJECT, SOON)
    assert resumed == Pause(None, SOON)
    assert await storage.resume_project(DEFAULT_PROJECT, LATER) == resumed
    assert (await storage.rules_since(0)).projects == [replace(paused, pause=resumed)]


async def test_project_that_is_not_there_is_not_paused(storage: Storage) -> None:
    assert await storage.pause_project(NOBODYS, NOW) == NOT_PAUSED
    assert await storage.resume_project(NOBODYS, NOW) == NOT_PAUSED
    assert await storage.project_pause(NOBODYS) == NOT_PAUSED
    assert (await storage.rules_since(0)).projects == []


async def test_all_projects_are_paused_at_once(storage: Storage) -> None:
    shop = (await storage.create_project("shop", NOW)).id
    mill = (await storage.create_project("mill", NOW)).id
    await storage.pause_project(mill, NOW)
    version = await version_of(storage)
    assert await storage.pause_all(SOON) == 2
    changed = (await told(storage, version)).projects
    assert {(each.project, each.pause) for each in changed} == {
        (DEFAULT_PROJECT, Pause(SOON, None)),
        (shop, Pause(SOON, None)),
    }
    assert await storage.project_pause(mill) == Pause(NOW, None)
    assert await storage.pause_all(LATER) == 0


async def test_settings_of_projects_are_rules(storage: Storage) -> None:
    shop = (await storage.create_project("shop", NOW)).id
    version = await version_of(storage)
    breaker = BreakerPolicy(failures=5, open_s=30)
    changed = await storage.change_project(shop, {"max_in_flight": 9, "breaker": breaker})
    assert (changed.settings.max_in_flight, changed.settings.breaker) == (9, breaker)
    rules = ProjectRules(project=shop, max_in_flight=9, breaker=breaker)
    assert (await told(storage, version)).projects == [rules]
    assert (await storage.rules_since(0)).projects == [rules]
    version = await version_of(storage)
    await storage.change_project(shop, {"max_in_flight": None, "breaker": None})
    assert (await told(storage, version)).projects == [ProjectRules(project=shop)]
    assert (await storage.rules_since(0)).projects == []


async def test_it_is_told_whether_there_are_other_projects(storage: Storage) -> None:
    version = await version_of(storage)
    shop = (await storage.create_project("shop", NOW)).id
    changes = await told(storage, version)
    assert (changes.projects, changes.others_exist) == ([ProjectRules(project=shop)], True)
    for change, exists in (
        (storage.close_project(shop, NOW), False),
        (storage.open_project(shop), True),
        (storage.close_project(shop, NOW), False),
        (storage.delete_project(shop), False),
    ):
        await change
        changes = await told(storage, changes.version)
        assert [each.project for each in changes.projects] == [shop]
        assert changes.others_exist is exists


async def test_rules_of_a_forgotten_project_go_with_it(storage: Storage) -> None:
    shop = (await storage.create_project("shop", NOW)).id
    await storage.put_flow(FlowId(shop, SMS.key), {"max_in_flight": 1}, NOW)
    await storage.put_flow(SMS, {"max_in_flight": 2}, NOW)
    await storage.pause_destination(shop, THERE, NOW)
    mine = await storage.pause_destination(DEFAULT_PROJECT, THERE, NOW)
    await storage.close_project(shop, NOW)
    await storage.delete_project(shop)
    await storage.forget_project(shop)
    known = await flow_rules(storage, [FlowId(shop, SMS.key), SMS])
    assert known == {SMS: FlowRules(max_in_flight=2)}
    assert (await storage.rules_since(0)).destinations == [mine]


async def test_whoever_reads_a_version_has_all_that_is_older(storage: Storage) -> None:
    """Many change rules at once while somebody reads: what he has read once he is told no more."""
    seen: dict[FlowId, FlowRules] = {}
    flows = [FlowId(DEFAULT_PROJECT, FlowKey(f"flow-{n}")) for n in range(6)]
    version = await version_of(storage)
    is_over = False

    async def change(flow: FlowId) -> None:
        for count in range(1, 9):
            await storage.put_flow(flow, {"max_in_flight": count}, NOW)

    async def read() -> None:
        nonlocal version
        while not is_over:
            changes = await storage.rules_since(version)
            assert changes.version >= version
            seen.update(changes.flows)
            version = changes.version

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        async with trio.open_nursery() as changing:
            for flow in flows:
                changing.start_soon(change, flow)
        is_over = True
    seen.update((await storage.rules_since(version)).flows)
    assert seen == dict.fromkeys(flows, FlowRules(max_in_flight=8))


async def test_each_change_has_a_version_of_its_own(storage: Storage) -> None:
    version = await version_of(storage)
    async with trio.open_nursery() as nursery:
        for count in range(1, 9):
            nursery.start_soon(partial(storage.put_flow, SMS, {"max_in_flight": count}, NOW))
            change = partial(storage.change_project, DEFAULT_PROJECT, {"max_in_flight": count})
            nursery.start_soon(change)
    assert await version_of(storage) == version + 16


async def test_a_change_waits_for_the_one_before_it(
    postgres: PostgresStorage, clean_database_url: str
) -> None:
    version = await version_of(postgres)
    refused = []

    async def wait_in_vain(change: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(ContentionError):
            await change()
        refused.append(change)

    with psycopg.connect(clean_database_url) as stranger:
        stranger.execute("UPDATE rule_changes SET version = version + 1")
        async with trio.open_nursery() as nursery:
            for change in (
                partial(postgres.put_flow, SMS, {}, NOW),
                partial(postgres.pause_destination, DEFAULT_PROJECT, THERE, NOW),
                partial(postgres.change_project, DEFAULT_PROJECT, {}),
                partial(postgres.create_project, "shop", NOW),
            ):
                nursery.start_soon(wait_in_vain, change)
        await postgres.join(ALICE, NOW)
        assert (await postgres.beat(ALICE)).rules_version == version
    assert len(refused) == 4
    changes = await postgres.rules_since(version)
    assert (changes.version, changes.projects, changes.flows) == (version + 1, [], {})


async def test_settings_that_cannot_be_followed_hide_no_pause(
    postgres: PostgresStorage, sql: psycopg.Connection
) -> None:
    await postgres.pause_project(DEFAULT_PROJECT, NOW)
    for settings in ('{"max_in_flight": "9"}', '{"breaker": 5}'):
        sql.execute("UPDATE projects SET settings = %s", [settings])
        rules = ProjectRules(project=DEFAULT_PROJECT, pause=Pause(NOW, None))
        assert (await postgres.rules_since(0)).projects == [rules]


async def test_deleted_flows_are_forgotten_after_a_while(storage: Storage) -> None:
    await storage.put_flow(SMS, {"max_in_flight": 1}, NOW)
    await storage.put_flow(MAILS, {"max_in_flight": 1}, NOW)
    await storage.delete_flow(SMS, NOW)
    assert await storage.prune_rules(NOW + DELETED_FLOWS_KEPT - seconds(1), 10) == 0
    assert await flow_rules(storage, [SMS]) == {SMS: FlowRules()}
    assert await storage.prune_rules(NOW + DELETED_FLOWS_KEPT, 10) == 1
    assert await flow_rules(storage, [SMS, MAILS]) == {MAILS: FlowRules(max_in_flight=1)}


async def test_what_was_paused_is_remembered_for_longer(storage: Storage) -> None:
    await storage.put_flow(SMS, {"paused": True}, NOW)
    await storage.delete_flow(SMS, NOW)
    await storage.pause_destination(DEFAULT_PROJECT, THERE, NOW)
    await storage.resume_destination(DEFAULT_PROJECT, THERE, NOW)
    still = Destination("https://example.org:443")
    await storage.pause_destination(DEFAULT_PROJECT, still, NOW)
    assert await storage.prune_rules(NOW + RESUMPTIONS_KEPT - seconds(1), 10) == 0
    assert await storage.prune_rules(NOW + RESUMPTIONS_KEPT, 1) == 2
    assert await flow_rules(storage, [SMS]) == {}
    (left,) = (await storage.rules_since(0)).destinations
    assert left.destination == still


async def test_pages_of_a_prune_are_no_greater_than_asked_for(storage: Storage) -> None:
    for name in "abc":
        flow = FlowId(DEFAULT_PROJECT, FlowKey(name))
        await storage.put_flow(flow, {}, NOW)
        await storage.delete_flow(flow, NOW)
    assert await storage.prune_rules(NOW + DELETED_FLOWS_KEPT, 2) == 2
    assert await storage.prune_rules(NOW + DELETED_FLOWS_KEPT, 2) == 1


async def test_changes_are_found_by_their_indexes_whatever_the_statistics_say(
    postgres: PostgresStorage, sql: psycopg.Connection
) -> None:
    for number in range(50):
        await postgres.put_flow(FlowId(SHOP, FlowKey(f"flow-{number}")), {"paused": True}, NOW)
    explain = b"EXPLAIN " + QUERIES["rules_since"]
    for statistics in ("", "ANALYZE flows"):
        sql.execute(statistics)
        rows = await postgres._stages.run(
            lambda connection: connection.execute(
                explain, {"version": 1, "is_first": False}, prepare=False
            ).fetchall()
        )
        plan = "\n".join(row["QUERY PLAN"] for row in rows)
        assert "flows_changed" in plan, plan
        assert "paused_destinations_changed" in plan, plan


async def test_timers_of_a_flow_are_counted_by_its_indexes(
    postgres: PostgresStorage, sql: psycopg.Connection
) -> None:
    ended = [in_flow(SMS) for _ in range(500)]
    await postgres.create([in_flow(SMS), *ended], NOW)
    sql.execute(
        "UPDATE timers SET status = 'canceled', due_at = NULL WHERE id = ANY (%s)",
        [[timer.id for timer in ended]],
    )
    sql.execute("VACUUM ANALYZE timers")
    parameters = {"project": DEFAULT_PROJECT, "key": SMS.key, "now": NOW}
    rows = await postgres._api.run(
        lambda connection: connection.execute(
            b"EXPLAIN " + QUERIES["flow_state"], parameters, prepare=False
        ).fetchall()
    )
    plan = "\n".join(row["QUERY PLAN"] for row in rows)
    assert "Seq Scan on timers" not in plan, plan
    assert plan.count("timers_flow_due") == 2, plan
